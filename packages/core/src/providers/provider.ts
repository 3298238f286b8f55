import type { KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { EventType, ProviderName, StatusOrder } from '../event.ts'

/** One HTTP request from a provider, before we trust it. `url` is PUBLIC_BASE_URL + the request target, as the provider signed it. */
export type Webhook = {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Why a webhook is not believed; a label of a metric. */
export type VerifyFailure =
  | 'missing_signature'
  | 'malformed_signature'
  | 'wrong_signature'
  | 'stale_timestamp'
  | 'wrong_credentials'
  | 'address_not_allowed'
  | 'unknown_account'
  | 'unknown_number'

/** `detail` is a sentence a person can act on; it holds no secret and nothing of the body. */
export type Verification =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: VerifyFailure; readonly detail: string }

/** Kudosity's word for how far a message is (developers.kudosity.com, About webhooks). */
export type MessageStatus =
  | 'SENT'
  | 'ACCEPTED'
  | 'DELIVERED'
  | 'FAILED'
  | 'SOFT_BOUNCE'
  | 'HARD_BOUNCE'
  | 'REJECTED'
  | 'OTHER'

/** What the signed content says, in the product's words. Texts are as the provider sent them, empty when it sent none. */
export type EventContent = {
  readonly type: EventType
  /** Unique per event of this provider and account; equal for every copy of it. */
  readonly dedupeKey: string
  readonly messageId: string
  readonly from: string
  readonly to: string
  readonly body: string
  readonly mediaUrls: readonly string[]
  /** The tenant's own number: the receiver of what comes in, the sender of what a status is about. */
  readonly phoneNumber: string | null
  readonly peerNumber: string | null
  readonly callSid: string | null
  /** Other names of the call, under which later events of it may come. */
  readonly callAliases?: readonly string[]
  /** The provider's own word for a message's, call's or recording's status. */
  readonly status: string
  /** `status` in the words of all providers; null when the event is no message status. */
  readonly messageStatus: MessageStatus | null
  readonly errorCode: string
  readonly order: StatusOrder | null
  /** The sender's reference of the message it is about: of an incoming one, the message that it answers. */
  readonly messageRef: string
  readonly campaignId: string
  /** ISO 8601 in UTC; null when the provider does not say when it happened. */
  readonly occurredAt: string | null
  /**
   * What else there is to know of this type, as JSON with names in snake_case:
   * received: `last_message`, `routed_via`, `media` [{name, content (base64)}] · status: `description`, `routed_via` ·
   * link_hit: `hits`, `url`, `source_message` · opt_out: `source`, `source_message` ·
   * call_*: `customer_phone_number`, `direction`, `status`, `duration` (whole seconds), `hangup_cause`, … ·
   * recording_*: `recording_sid`, `recording_url`, `duration`, `channels`, … · platform: `data` as it was published.
   */
  readonly data: Readonly<Record<string, unknown>>
}

/** The events of a payload, never none: a STOP is a message and an `opt_out`, a group message one for each receiver. */
export type ReadContents = (payload: Buffer, contentType: string) => readonly EventContent[]

/** What the provider wants to hear once the events are durable, or were before. */
export type Answer = {
  readonly status: number
  readonly contentType: string | null
  readonly body: string
}

export type ProviderAdapter = {
  readonly name: ProviderName
  /** Throws `MalformedPayloadError` when the payload lacks what an event needs. */
  readonly read: ReadContents
}

/** What a webhook is verified with: Twilio's auth tokens, Telnyx's public key, Kudosity's API secret; none for a PBX. */
export type AccountKeys = { readonly verifyKeys: readonly KeyObject[] }

/** A webhook taken apart once. Nothing it says is authentic before `verify` holds. */
export type OpenedWebhook = {
  /** Twilio's AccountSid; null where a path token or a number tells whose it is. */
  readonly claimedAccountSid: string | null
  /** Numbers of which one may be a tenant's own, likeliest first; at most 50. */
  readonly claimedNumbers: readonly string[]
  /** Names of a call of which a tenant's may be one; only where there is no number. */
  readonly claimedCallIds?: readonly string[]
  /** Never throws, whatever the request holds. */
  verify(account: AccountKeys, nowMs: number): Verification
  /** What is kept, byte for byte: the body, or a GET's query string as a form. */
  readonly payload: Buffer
  readonly contentType: string
  /** As `read` of the payload. Throws `MalformedPayloadError`. */
  contents(): readonly EventContent[]
}

/** A provider that calls us. Adding one is one file, its known-answer tests, and one line in the registry. */
export type WebhookProvider = ProviderAdapter & {
  /** `{token}` in a path stands for the account's path token. */
  readonly routes: readonly { readonly method: 'get' | 'post'; readonly path: string }[]
  /** Paths where GET and HEAD are answered 200, nothing being stored: portals try a URL before they keep it. */
  readonly probes: readonly string[]
  /** What a POST may carry; anything else is a 415 with this list. */
  readonly mediaTypes: readonly string[]
  /** Whether a request of a listed method and media type can be this provider's at all; a 405 or 415 tells more than a 403. */
  readonly findMisfit?: (webhook: Webhook) => 'method' | 'media_type' | undefined
  /** The headers, in lower case, that verification reads; they are all that a quarantined webhook keeps. */
  readonly verifyHeaders: readonly string[]
  /** Never throws: what cannot be read is found by `contents`. */
  readonly open: (webhook: Webhook) => OpenedWebhook
  readonly answer: (type: EventType) => Answer
}

/** An authentic webhook that cannot be an event: the provider is told 400, nothing is stored. */
export class MalformedPayloadError extends Error {
  override readonly name = 'MalformedPayloadError'
}
