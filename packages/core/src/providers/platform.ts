import { z } from 'zod'
import { EVENT_TYPES } from '../event.ts'
import { type EventContent, MalformedPayloadError, type ProviderAdapter } from './provider.ts'

/** The payload of a platform event: what `POST /api/v1/events` took, as one JSON document. */
const platformPayload = z.object({
  type: z.enum(EVENT_TYPES),
  data: z.record(z.string(), z.unknown()),
  call_sid: z.string().optional(),
  phone_number: z.string().optional(),
  idempotency_key: z.string(),
  occurred_at: z.string().optional(),
})

export type PlatformPayload = z.infer<typeof platformPayload>

/** Throws `MalformedPayloadError`; only a payload that this product wrote itself gets here. */
export function parsePlatformPayload(payload: Buffer): PlatformPayload {
  try {
    return platformPayload.parse(JSON.parse(payload.toString('utf8')))
  } catch (cause) {
    throw new MalformedPayloadError('not a platform event', { cause })
  }
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function readPlatform(payload: Buffer): EventContent {
  const { type, data, call_sid, phone_number, idempotency_key } = parsePlatformPayload(payload)
  const urls = Array.isArray(data.media_urls) ? data.media_urls : []
  return {
    type,
    dedupeKey: idempotency_key,
    messageId: text(data.message_id),
    from: text(data.from),
    to: text(data.to),
    body: text(data.body),
    mediaUrls: urls.filter((url): url is string => typeof url === 'string'),
    phoneNumber: phone_number ?? null,
    peerNumber: text(data.customer_phone_number) || text(data.from) || null,
    callSid: call_sid ?? null,
  }
}

export const platform: ProviderAdapter = {
  name: 'platform',
  read: readPlatform,
  answer: () => ({ status: 202, contentType: 'application/json', body: '' }),
}
