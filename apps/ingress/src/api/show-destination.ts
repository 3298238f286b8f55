import { EVENT_TYPES, FORMATS } from '@switchhook/core/event'
import type { DestinationRecord } from '@switchhook/core/store/destinations'
import { z } from 'zod'
import { auditOf } from './audit-change.ts'
import { CLOSED_CIRCUIT, circuitFields } from './circuits-shown.ts'
import { destinationSettings, retrySchema } from './destination-body.ts'
import { createdAtSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'

/** A destination as the API shows it: never its secrets. */
export const destinationSchema = z
  .object({
    id: z.string(),
    ...destinationSettings,
    format: z.enum(FORMATS),
    event_types: z.array(z.enum([...EVENT_TYPES, '*'])),
    retry: retrySchema,
    circuit: z.object(circuitFields),
    public_key: z
      .string()
      .nullable()
      .describe('whpk_…: of its ed25519 pair, where one was made by rotate-secret'),
    disabled_at: z.iso.datetime().nullable(),
    disabled_reason: z.string().nullable().describe('Null when you disabled it yourself'),
    implied_by: z
      .enum(['assistant_sms', 'assistant_voice', 'phone_number'])
      .nullable()
      .describe('Whose URL field it stands for; null for one made here'),
    created_at: createdAtSchema,
  })
  .meta({ id: 'Destination' })

export function showDestination(destination: DestinationRecord, circuit = CLOSED_CIRCUIT) {
  return {
    id: destination.id,
    name: destination.name,
    url: destination.url,
    format: destination.format,
    event_types: destination.eventTypes,
    assistant_id: destination.assistantId,
    phone_number: destination.phoneNumber,
    filter: destination.filter,
    skip_stale: destination.skipStale,
    fallback_email: destination.fallbackEmail,
    success_rule: destination.successRule,
    timeout_ms: destination.timeoutMs,
    retry: {
      max_attempts: destination.retry.maxAttempts,
      delays_seconds: destination.retry.delaysSeconds,
      jitter: destination.retry.jitter,
    },
    rate_limit_per_second: destination.rateLimitPerSecond,
    max_concurrency: destination.maxConcurrency,
    freshness_seconds: destination.freshnessSeconds,
    headers: destination.headers,
    status: destination.status,
    circuit,
    public_key: destination.ed25519PublicKey,
    disabled_at: destination.disabledAtMs === null ? null : toIso(destination.disabledAtMs),
    disabled_reason: destination.disabledReason,
    implied_by: destination.impliedBy,
    created_at: toIso(destination.createdAtMs),
  }
}

/** Writes down changes of destinations. Of the headers only the names: their values may be credentials. */
export const auditDestination = auditOf('destination', (destination: DestinationRecord) => {
  const { headers, circuit, ...shown } = showDestination(destination)
  return { ...shown, headers: Object.keys(headers) }
})
