import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import {
  type DeliveryProgress,
  findDeliveryProgress,
  findEvents,
} from '@switchhook/core/store/owed-deliveries'
import type { StoreHealth } from '@switchhook/core/store-health'

export type LookUps = {
  findProgress(job: DeliveryJob): Promise<DeliveryProgress | undefined>
  findEvent(job: DeliveryJob): Promise<AcceptedEvent | undefined>
}

/** What the few jobs that need it ask Postgres: those of an interrupted or requeued delivery, and those with a large payload. */
export function createLookUps(pool: DatabaseHandle['pool'], postgres: StoreHealth): LookUps {
  return {
    async findProgress(job) {
      if (!postgres.isUp()) return undefined
      try {
        return await findDeliveryProgress(pool, job.deliveryId, job.createdAtMs)
      } catch (error) {
        // Not knowing may cost a duplicate; waiting would cost the delivery.
        postgres.reportFailure(error)
        return undefined
      }
    },
    async findEvent({ event }) {
      const ref = { eventId: event.id, eventReceivedAtMs: event.receivedAtMs }
      return (await findEvents(pool, [ref])).get(event.id)
    },
  }
}
