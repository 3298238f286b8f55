import type { IncomingHttpHeaders } from 'node:http'
import type { EventType, ProviderName } from '../event.ts'

/** One HTTP request from a provider, before we trust it. `url` is PUBLIC_BASE_URL + the request target, as the provider signed it. */
export type Webhook = {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** Why a signature did not hold; each is a sentence a person can act on in `REASONS`. */
export type VerifyFailure = 'missing_signature' | 'malformed_signature' | 'wrong_signature'

export type Verification =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: VerifyFailure }

/** What the signed content says, in the product's words. Texts are as the provider sent them. */
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
}

export type ReadContent = (payload: Buffer, contentType: string) => EventContent

/** What the provider wants to hear once the event is durable, or was before. */
export type Answer = {
  readonly status: number
  readonly contentType: string | null
  readonly body: string
}

export type ProviderAdapter = {
  readonly name: ProviderName
  /** Throws `MalformedPayloadError` when the payload lacks what an event needs. */
  readonly read: ReadContent
  readonly answer: (type: EventType) => Answer
}

/** An authentic webhook that cannot be an event: the provider is told 400, nothing is stored. */
export class MalformedPayloadError extends Error {
  override readonly name = 'MalformedPayloadError'
}
