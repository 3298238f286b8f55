/** The words of the product: what was accepted, where it goes. Everything else imports these types. */

export const PROVIDERS = ['twilio', 'telnyx', 'kudosity', 'pbx', 'platform'] as const
export type ProviderName = (typeof PROVIDERS)[number]

export const VOICE_EVENT_TYPES = [
  'call_started',
  'call_answered',
  'call_ended',
  'call_failed',
  'recording_started',
  'recording_completed',
  'transcript',
  'tool_call',
  'transfer_initiated',
] as const

export const MESSAGE_EVENT_TYPES = [
  'sms_received',
  'mms_received',
  'sms_status',
  'mms_status',
  'link_hit',
  'opt_out',
] as const

/** `operational`: of the gateway itself, for the one destination that the organization named (OPERATIONAL_EVENTS). */
export const EVENT_TYPES = [
  ...MESSAGE_EVENT_TYPES,
  ...VOICE_EVENT_TYPES,
  'unknown',
  'operational',
] as const
export type EventType = (typeof EVENT_TYPES)[number]

/** What an operational event tells; its name stands in `data.type`. */
export const OPERATIONAL_EVENTS = [
  'circuit.opened',
  'circuit.closed',
  'destination.disabled',
  'delivery.given_up',
  'mail.failed',
] as const
export type OperationalEventName = (typeof OPERATIONAL_EVENTS)[number]

/** A verified webhook, about to be made durable. `payload` is the body as it came, byte for byte. */
export type AcceptedEvent = {
  readonly id: string
  readonly organizationId: string
  readonly provider: ProviderName
  readonly type: EventType
  readonly receivedAtMs: number
  /** The tenant's own number. */
  readonly phoneNumber: string | null
  /** The other side's number. */
  readonly peerNumber: string | null
  readonly callSid: string | null
  readonly assistantId: number | null
  /** Where the event stands among the statuses of one message, call or recording; null for one that is no status. */
  readonly order: StatusOrder | null
  /** A later status of the same subject was accepted before this one. Known once the event is journaled. */
  readonly isStale: boolean
  readonly contentType: string
  readonly payload: Buffer
}

/** Statuses of one `subject` come in any order; a higher `rank` is further along (0 … 9). */
export type StatusOrder = { readonly subject: string; readonly rank: number }

export const FORMATS = ['burki', 'pbx', 'kudosity', 'standard', 'raw'] as const
export type FormatName = (typeof FORMATS)[number]

export const DELIVERY_STATES = [
  'pending',
  'delivered',
  'emailed',
  'given_up',
  'expired',
  'cancelled',
] as const
export type DeliveryState = (typeof DELIVERY_STATES)[number]

export const OUTCOMES = ['delivered', 'refused', 'timed_out', 'unreachable', 'blocked'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** When to try again: attempt n+1 follows attempt n after `delaysSeconds[n-1]`, ±20 % when `jitter`. */
export type RetryPolicy = {
  readonly maxAttempts: number
  readonly delaysSeconds: readonly number[]
  readonly jitter: boolean
}

/**
 * Which events of its types a destination wants, in Kudosity's words (developers.kudosity.com, About webhooks): any of
 * the values in a list, all of the lists. `sender` is the tenant's own number. `event_type` holds Kudosity's names as
 * they were given, for the drop-in to show again.
 */
export type DestinationFilter = {
  readonly event_type?: readonly string[] | undefined
  readonly sender?: readonly string[] | undefined
  readonly status?: readonly string[] | undefined
  readonly message_ref?: readonly string[] | undefined
  readonly campaign_id?: readonly string[] | undefined
}

export type Destination = {
  readonly id: string
  readonly organizationId: string
  readonly name: string
  readonly url: string
  readonly format: FormatName
  readonly eventTypes: readonly string[]
  readonly assistantId: number | null
  readonly phoneNumber: string | null
  readonly filter: DestinationFilter | null
  /** Leaves out statuses that came after a later one. */
  readonly skipStale: boolean
  readonly fallbackEmail: string | null
  readonly successRule: '2xx' | 'exact_200'
  readonly timeoutMs: number
  readonly retry: RetryPolicy
  /** Attempts at once, over all workers. */
  readonly maxConcurrency: number
  /** Attempts per second, over all workers; null: as many as come. */
  readonly rateLimitPerSecond: number | null
  /** What is older at the time of an attempt is not sent any more; null: sent whatever its age. */
  readonly freshnessSeconds: number | null
  /** In clear, from before they were sealed. */
  readonly headers: Readonly<Record<string, string>>
  /** Encrypted: JSON of its own headers, in place of `headers`. */
  readonly sealedHeaders: string | null
  readonly status: 'active' | 'paused' | 'disabled'
  /** Why the gateway disabled it; null when its owner did, or while it is not disabled. */
  readonly disabledReason: string | null
  /** Encrypted; opened only where a request is signed. */
  readonly secret: string
  readonly previousSecret: string | null
  readonly previousSecretExpiresAtMs: number | null
  /** Encrypted `whsk_…`, like `secret`; null until its owner asks for one. */
  readonly ed25519Key: string | null
  readonly previousEd25519Key: string | null
  readonly previousEd25519KeyExpiresAtMs: number | null
}
