import { isUtf8 } from 'node:buffer'
import { z } from 'zod'
import { type AcceptedEvent, EVENT_TYPES, PROVIDERS } from '../event.ts'

/** Larger payloads stay in Postgres and are read when the delivery is made (Redis is memory). */
const MAX_PAYLOAD_BYTES_IN_JOB = 16_384

const jobSchema = z.object({
  v: z.literal(1),
  deliveryId: z.string(),
  destinationId: z.string(),
  /** deliveries.created_at: the row's partition. */
  createdAtMs: z.number(),
  /** Attempts that Postgres knew of when the requeuer made this job; 0 for a job made at acceptance. */
  priorAttempts: z.number(),
  /** Made by the requeuer, or for a replay: somebody may have done or ended the work already, so look before sending. */
  requeued: z.boolean(),
  /** Somebody took it away while a worker had it in hand: what it is now stands in Postgres. */
  removed: z.boolean().default(false),
  event: z.object({
    id: z.string(),
    organizationId: z.string(),
    provider: z.enum(PROVIDERS),
    type: z.enum(EVENT_TYPES),
    receivedAtMs: z.number(),
    phoneNumber: z.string().nullable(),
    peerNumber: z.string().nullable(),
    callSid: z.string().nullable(),
    assistantId: z.number().nullable(),
    order: z.object({ subject: z.string(), rank: z.number() }).nullable().default(null),
    isStale: z.boolean().default(false),
    contentType: z.string(),
    payload: z.string().nullable(),
    encoding: z.enum(['utf8', 'base64']),
  }),
})

/** A delivery as it travels through Redis. */
export type DeliveryJob = z.infer<typeof jobSchema>

export type DeliveryRef = {
  readonly deliveryId: string
  readonly destinationId: string
  readonly createdAtMs: number
  readonly priorAttempts: number
  readonly requeued: boolean
}

type EventInJob = DeliveryJob['event']

/**
 * Bytes survive the JSON of Redis: valid UTF-8 as text, anything else as base64. `carry: 'all'` is for when
 * Postgres cannot be asked for a large payload later.
 */
export function encodeEvent(event: AcceptedEvent, carry: 'small' | 'all'): EventInJob {
  const { payload, ...facts } = event
  const encoding = isUtf8(payload) ? 'utf8' : 'base64'
  const fits = carry === 'all' || payload.length <= MAX_PAYLOAD_BYTES_IN_JOB
  return { ...facts, encoding, payload: fits ? payload.toString(encoding) : null }
}

/** The event with its bytes, or undefined when they have to be read from Postgres. */
export function decodeEvent(event: EventInJob): AcceptedEvent | undefined {
  const { payload, encoding, ...facts } = event
  return payload === null ? undefined : { ...facts, payload: Buffer.from(payload, encoding) }
}

export function createDeliveryJob(
  ref: DeliveryRef,
  event: AcceptedEvent,
  carry: 'small' | 'all',
): DeliveryJob {
  return { v: 1, ...ref, removed: false, event: encodeEvent(event, carry) }
}

/** Throws for what another version, or a person at a Redis prompt, put there. */
export function parseDeliveryJob(data: unknown): DeliveryJob {
  return jobSchema.parse(data)
}
