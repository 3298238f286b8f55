import { isUtf8 } from 'node:buffer'
import { parse } from 'node:querystring'
import type { WebhookLog } from '@switchhook/core/store/webhook-log-queries'
import { z } from 'zod'
import { toIso } from './list-query.ts'

/** Deeper JSON would overflow the stack of JSON.stringify long before it is of use to a reader. */
const MAX_DEPTH = 100

/** Burki's WebhookLogResponse, but that a message has no call and a call may have no assistant. */
export const webhookLogSchema = z.object({
  id: z.int(),
  call_id: z.int().nullable(),
  assistant_id: z.int().nullable(),
  webhook_url: z.string(),
  webhook_type: z.string(),
  request_payload: z.record(z.string(), z.unknown()).nullable(),
  response_status_code: z.int().nullable(),
  response_body: z.string().nullable(),
  response_time_ms: z.int().nullable(),
  attempted_at: z.iso.datetime(),
  success: z.boolean(),
  error_message: z.string().nullable(),
  retry_count: z.int(),
  webhook_metadata: z.record(z.string(), z.unknown()),
})

function isShallow(root: unknown): boolean {
  let level: unknown[] = [root]
  for (let depth = 0; depth < MAX_DEPTH && level.length > 0; depth += 1) {
    level = level.flatMap((value) =>
      typeof value === 'object' && value !== null ? Object.values(value) : [],
    )
  }
  return level.length === 0
}

function parseJsonObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
    return isShallow(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** What was sent, as an object: JSON as it is, the fields of a form, any other text under `body`; null when it was not kept. */
export function showRequest(
  contentType: string,
  body: Buffer | null,
): Record<string, unknown> | null {
  if (body === null || !isUtf8(body)) return null
  const text = body.toString('utf8')
  const type = contentType.split(';', 1)[0]?.trim().toLowerCase()
  if (type === 'application/x-www-form-urlencoded') return { ...parse(text) }
  return parseJsonObject(text) ?? { body: text }
}

/** One attempt in the 14 fields of Burki's webhook-logs. */
export function showWebhookLog(log: WebhookLog): z.infer<typeof webhookLogSchema> {
  return {
    id: log.id,
    call_id: log.callId,
    assistant_id: log.assistantId,
    webhook_url: log.url,
    webhook_type: log.webhookType,
    request_payload: showRequest(log.requestContentType, log.requestBody),
    response_status_code: log.statusCode,
    response_body: log.responseBody,
    response_time_ms: log.responseTimeMs,
    attempted_at: toIso(log.attemptedAtMs),
    success: log.outcome === 'delivered',
    error_message: log.error,
    // Burki counts what came after the first attempt.
    retry_count: log.attempt - 1,
    webhook_metadata: {
      delivery_id: log.deliveryId,
      event_id: log.eventId,
      destination_id: log.destinationId,
      attempt: log.attempt,
      outcome: log.outcome,
    },
  }
}
