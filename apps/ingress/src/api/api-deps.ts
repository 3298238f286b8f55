import type { EgressRules } from '@switchhook/core/egress-rules'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import type { KeyRing } from '@switchhook/core/secrets'
import type { DatabaseHandle } from '@switchhook/core/store/database'

/** What became of an event that was handed over; `unavailable` is a 503: neither store took it. */
export type AcceptResult =
  | { readonly kind: 'accepted' | 'duplicate'; readonly deliveryIds: readonly string[] }
  | { readonly kind: 'unavailable' }

/** Everything the management API needs from the process around it. */
export type ApiDeps = {
  readonly database: DatabaseHandle
  readonly snapshot: Snapshot
  readonly ring: KeyRing
  readonly egress: EgressRules
  /** Without a slash at its end. */
  readonly publicBaseUrl: string
  /** Good for `POST /api/v1/organizations` only. */
  readonly adminApiKey: string
  /** Per API key. */
  readonly rateLimitPerSecond: number
  readonly log: Logger
  /** False while the snapshot is not loaded: every route answers 503. */
  readonly isReady: () => boolean
  /** After a committed change: refreshes this process's snapshot and tells the others. */
  readonly configChanged: () => Promise<void>
  /** Makes an event durable and owed to its destinations. */
  readonly accept: (event: AcceptedEvent) => Promise<AcceptResult>
}
