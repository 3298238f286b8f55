import { DELIVERY_STATES, EVENT_TYPES, OUTCOMES } from '@switchhook/core/event'
import type { StoredDelivery } from '@switchhook/core/store/delivery-queries'
import type { AttemptSummary, StoredAttempt } from '@switchhook/core/store/webhook-log-queries'
import { z } from 'zod'
import { toIso } from './list-query.ts'

const attemptSchema = z.object({
  attempt: z.int(),
  outcome: z.enum(OUTCOMES),
  attempted_at: z.iso.datetime(),
  url: z.string(),
  response_status_code: z.int().nullable(),
  response_time_ms: z.int(),
  error_message: z.string().nullable(),
})

/** A delivery as lists show it. `next_attempt_at` is null when no attempt is owed. */
export const deliverySchema = z.object({
  id: z.string(),
  event_id: z.string(),
  destination_id: z.string(),
  event_type: z.enum(EVENT_TYPES),
  phone_number: z.string().nullable(),
  call_sid: z.string().nullable(),
  state: z.enum(DELIVERY_STATES),
  reason: z.string().nullable(),
  replay_of: z.string().nullable().describe('The delivery that this one repeats'),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  next_attempt_at: z.iso.datetime().nullable(),
  fallback_at: z.iso.datetime().nullable(),
  attempt_count: z.int(),
  attempts: z.array(attemptSchema),
})

/** One delivery, with what the destination answered each time. */
export const deliveryDetailSchema = deliverySchema.extend({
  attempts: z.array(attemptSchema.extend({ response_body: z.string().nullable() })),
})

function showAttempt(attempt: AttemptSummary | StoredAttempt) {
  return {
    attempt: attempt.attempt,
    outcome: attempt.outcome,
    attempted_at: toIso(attempt.attemptedAtMs),
    url: attempt.url,
    response_status_code: attempt.statusCode,
    response_time_ms: attempt.responseTimeMs,
    error_message: attempt.error,
    ...('responseBody' in attempt ? { response_body: attempt.responseBody } : {}),
  }
}

/** The delivery as the API shows it; attempts with their response bodies when they are given with them. */
export function showDelivery(
  delivery: StoredDelivery,
  attempts: readonly (AttemptSummary | StoredAttempt)[],
) {
  const { fallbackAtMs } = delivery
  const isAttemptOwed = delivery.state === 'pending' && fallbackAtMs === null
  return {
    id: delivery.id,
    event_id: delivery.eventId,
    destination_id: delivery.destinationId,
    event_type: delivery.eventType,
    phone_number: delivery.phoneNumber,
    call_sid: delivery.callSid,
    state: delivery.state,
    reason: delivery.reason,
    replay_of: delivery.replayOf,
    created_at: toIso(delivery.createdAtMs),
    updated_at: toIso(delivery.updatedAtMs),
    next_attempt_at: isAttemptOwed ? toIso(delivery.dueAtMs) : null,
    fallback_at: fallbackAtMs === null ? null : toIso(fallbackAtMs),
    attempt_count: delivery.attempts,
    attempts: attempts.map(showAttempt),
  }
}
