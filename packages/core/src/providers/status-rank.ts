import type { EventType, StatusOrder } from '../event.ts'
import type { MessageStatus } from './provider.ts'

/** How far along a word stands (0 … 9), and what it is in the words of all providers. */
type Standing = readonly [rank: number, status: MessageStatus]

/**
 * twilio.com/docs/messaging, MessageStatus. Before `sent` a message is with Twilio, no more: ACCEPTED. Neither `failed`
 * nor `undelivered` says whether the number is dead or its phone was off: FAILED, since a HARD_BOUNCE makes senders drop it.
 */
const TWILIO = {
  scheduled: [0, 'ACCEPTED'],
  accepted: [0, 'ACCEPTED'],
  queued: [1, 'ACCEPTED'],
  sending: [1, 'ACCEPTED'],
  sent: [2, 'SENT'],
  partially_delivered: [4, 'OTHER'],
  delivered: [5, 'DELIVERED'],
  undelivered: [5, 'FAILED'],
  failed: [5, 'FAILED'],
  canceled: [5, 'OTHER'],
  read: [6, 'DELIVERED'],
} as const satisfies Record<string, Standing>

/** developers.telnyx.com, `to[].status`. A receipt may still come after `delivery_unconfirmed`. */
const TELNYX = {
  queued: [1, 'ACCEPTED'],
  sending: [1, 'ACCEPTED'],
  sent: [2, 'SENT'],
  delivery_unconfirmed: [4, 'OTHER'],
  delivered: [5, 'DELIVERED'],
  sending_failed: [5, 'FAILED'],
  delivery_failed: [5, 'FAILED'],
  expired: [5, 'FAILED'],
  read: [6, 'DELIVERED'],
} as const satisfies Record<string, Standing>

/** Kudosity V2 and, with hyphens, V1; the order is that of what was seen live. */
const KUDOSITY = {
  pending: [1, 'SENT'],
  queued: [1, 'ACCEPTED'],
  submitted: [2, 'SENT'],
  sent: [2, 'SENT'],
  accepted: [3, 'ACCEPTED'],
  soft_bounce: [4, 'SOFT_BOUNCE'],
  delivered: [5, 'DELIVERED'],
  failed: [5, 'FAILED'],
  rejected: [5, 'REJECTED'],
  undeliverable: [5, 'FAILED'],
  hard_bounce: [5, 'HARD_BOUNCE'],
  other: [5, 'OTHER'],
  read: [6, 'DELIVERED'],
} as const satisfies Record<string, Standing>

const TABLES = {
  twilio: new Map<string, Standing>(Object.entries(TWILIO)),
  telnyx: new Map<string, Standing>(Object.entries(TELNYX)),
  kudosity: new Map<string, Standing>(Object.entries(KUDOSITY)),
  /** The platform may speak as any of them; Kudosity's words are the product's own. */
  platform: new Map<string, Standing>(Object.entries({ ...TWILIO, ...TELNYX, ...KUDOSITY })),
} as const

const UNKNOWN: Standing = [0, 'OTHER']

/** What a status of a message says; `ids` name the message, and its recipient where it has several. */
export function messageStanding(
  provider: keyof typeof TABLES,
  word: string,
  ...ids: readonly string[]
): { readonly messageStatus: MessageStatus; readonly order: StatusOrder } {
  const key = word.toLowerCase().replaceAll('-', '_')
  const [rank, messageStatus] = TABLES[provider].get(key) ?? UNKNOWN
  return { messageStatus, order: { subject: `message.${ids.join('.')}`, rank } }
}

const CALL_RANKS: ReadonlyMap<EventType, number> = new Map([
  ['call_started', 1],
  ['call_answered', 2],
  ['call_ended', 3],
  ['call_failed', 3],
])

const RECORDING_RANKS: ReadonlyMap<EventType, number> = new Map([
  ['recording_started', 1],
  ['recording_completed', 2],
])

/** Null for what is no stage of a call, and for a call without a name. */
export function callOrder(type: EventType, callSid: string): StatusOrder | null {
  const rank = CALL_RANKS.get(type)
  return rank === undefined || callSid === '' ? null : { subject: `call.${callSid}`, rank }
}

/** Null for what is no stage of a recording, and for a recording without a name. */
export function recordingOrder(type: EventType, recordingSid: string): StatusOrder | null {
  const rank = RECORDING_RANKS.get(type)
  return rank === undefined || recordingSid === ''
    ? null
    : { subject: `recording.${recordingSid}`, rank }
}
