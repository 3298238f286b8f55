import type { OpenCircuit } from '@switchhook/core/circuits'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { EgressRules } from '@switchhook/core/egress-rules'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { EventContent } from '@switchhook/core/providers/provider'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import type { KeyRing } from '@switchhook/core/secrets'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import type { ProviderControl } from '../provider-control/provider-control.ts'

/** What became of an event that was handed over; `unavailable` is a 503: neither store took it. */
export type AcceptResult =
  | { readonly kind: 'accepted' | 'duplicate'; readonly deliveryIds: readonly string[] }
  | { readonly kind: 'unavailable' }

/** What became of a quarantined webhook that was looked at again. `verified` and `released` are for those that hold now. */
export type QuarantineResult =
  | { readonly kind: 'verified' }
  | { readonly kind: 'failed'; readonly reason: string; readonly detail: string }
  | {
      readonly kind: 'released'
      readonly eventIds: readonly string[]
      readonly deliveryIds: readonly string[]
    }
  | { readonly kind: 'unavailable' }

/** Undefined for a webhook that is not the organization's. */
export type Reexamine = (
  organizationId: string,
  id: string,
) => Promise<QuarantineResult | undefined>

export type QuarantineActions = {
  /** Verifies it again with today's accounts and numbers, and delivers nothing. */
  readonly reverify: Reexamine
  /** Verifies it again and accepts what holds. */
  readonly release: Reexamine
}

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
  /** Counts one use of an API key: see key-uses.ts. */
  readonly noteKeyUse: (apiKeyId: string) => void
  /** False while the snapshot is not loaded: every route answers 503. */
  readonly isReady: () => boolean
  /** After a committed change: refreshes this process's snapshot and tells the others. */
  readonly configChanged: () => Promise<void>
  /** Makes an event durable and owed to its destinations. */
  readonly accept: (event: AcceptedEvent, content: EventContent) => Promise<AcceptResult>
  /** Hands a delivery that Postgres owes already to the workers. A failure is no loss: the requeuer finds it. */
  readonly enqueueDelivery: (job: DeliveryJob) => Promise<void>
  /** Takes a delivery away from the workers: `removeDelivery` of queue.ts. Throws when Redis is away. */
  readonly dropDelivery: (deliveryId: string, destinationId: string) => Promise<void>
  /** The circuits of these that are not closed: `readCircuits` of core. Throws when Redis is away. */
  readonly readCircuits: (
    destinationIds: readonly string[],
  ) => Promise<ReadonlyMap<string, OpenCircuit>>
  readonly quarantine: QuarantineActions
  readonly providerControl: ProviderControl
}
