import { setTimeout as sleep } from 'node:timers/promises'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { Spool } from '@switchhook/core/spool'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import {
  type DeliveryProgress,
  findDeliveryProgress,
  findEvents,
} from '@switchhook/core/store/owed-deliveries'
import type { StoreHealth } from '@switchhook/core/store-health'

const SPOOL_WAIT_MS = 5_000
const SPOOL_POLL_MS = 200

/** Undefined when Postgres knows nothing of it, `unknown` when it cannot be asked. */
export type Progress = DeliveryProgress | 'unknown' | undefined

export type LookUps = {
  findProgress(job: DeliveryJob): Promise<Progress>
  findEvent(job: DeliveryJob): Promise<AcceptedEvent | undefined>
}

/** What the few jobs that need it ask Postgres: those of an interrupted or requeued delivery, and those with a large payload. */
export function createLookUps(
  pool: DatabaseHandle['pool'],
  postgres: StoreHealth,
  spool: Pick<Spool, 'length'>,
): LookUps {
  /** While records wait in the spool, Postgres's word is old. Waits for them a little: not knowing is no reason to stand still. */
  async function waitForSpool(): Promise<void> {
    const giveUpAtMs = performance.now() + SPOOL_WAIT_MS
    while (performance.now() < giveUpAtMs && (await spool.length().catch(() => 0)) > 0) {
      await sleep(SPOOL_POLL_MS)
    }
  }

  return {
    async findProgress(job) {
      if (!postgres.isUp()) return 'unknown'
      try {
        await waitForSpool()
        return await findDeliveryProgress(pool, job.deliveryId, job.createdAtMs)
      } catch (error) {
        postgres.reportFailure(error)
        return 'unknown'
      }
    },
    async findEvent({ event }) {
      const ref = { eventId: event.id, eventReceivedAtMs: event.receivedAtMs }
      return (await findEvents(pool, [ref])).get(event.id)
    },
  }
}
