import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { Logger } from '@switchhook/core/log'
import type { Queues } from '@switchhook/core/queue'
import type { Spool } from '@switchhook/core/spool'
import { type DatabaseHandle, isDataError } from '@switchhook/core/store/database'
import { findEvents } from '@switchhook/core/store/owed-deliveries'
import { endReplay, findRunningReplays } from '@switchhook/core/store/replay-jobs'
import { advanceReplay, type ReplayedDelivery } from '@switchhook/core/store/replay-jobs-advance'

export type RunReplaysDeps = {
  readonly database: Pick<DatabaseHandle, 'db' | 'pool'>
  readonly queues: Pick<Queues, 'addDelivery'>
  readonly spool: Pick<Spool, 'length'>
  readonly log: Logger
}

/** Of all organizations, a few of each; the others wait for one of these to end. */
const MAX_AT_ONCE = 1_000
/** A payload may have 2 MiB. */
const EVENTS_AT_ONCE = 20

async function enqueue(deps: RunReplaysDeps, owed: readonly ReplayedDelivery[]): Promise<void> {
  for (let from = 0; from < owed.length; from += EVENTS_AT_ONCE) {
    const some = owed.slice(from, from + EVENTS_AT_ONCE)
    const events = await findEvents(deps.database.pool, some)
    for (const { eventId, deliveryId, destinationId, createdAtMs } of some) {
      const event = events.get(eventId)
      if (event === undefined) continue
      // Looked at before it is sent: an erasure may end while the job is on its way.
      const ref = { deliveryId, destinationId, createdAtMs, priorAttempts: 0, requeued: true }
      await deps.queues.addDelivery(createDeliveryJob(ref, event, 'small'))
    }
  }
}

async function advance(deps: RunReplaysDeps, id: string): Promise<boolean> {
  const step = await advanceReplay(deps.database, id)
  if (step.kind === 'stopped' || step.kind === 'waiting') return false
  // Committed: should this process die now, the requeuer makes the jobs.
  await enqueue(deps, step.owed)
  if (step.kind === 'ended') {
    const { organizationId, destinationId, state, reason, done, skipped } = step.replay
    deps.log.info(
      {
        ...{ replay_id: id, organization_id: organizationId, destination_id: destinationId },
        ...{ state, reason, done, skipped },
      },
      'replay.ended',
    )
  }
  return true
}

/**
 * One step of every replay that runs, organizations by turns. Must run in one process at a time, else only the rate
 * suffers. Returns how many run: then the next step is due soon. Throws when a store is away, before anything is made.
 */
export async function runReplays(deps: RunReplaysDeps): Promise<number> {
  const running = await findRunningReplays(deps.database.db, MAX_AT_ONCE)
  if (running.length === 0) return 0
  // With Redis away the requeuer would hand over later, and all at once, what is made now.
  await deps.spool.length()
  for (const id of running) {
    try {
      await advance(deps, id)
    } catch (error) {
      if (!isDataError(error)) throw error
      deps.log.error({ replay_id: id, error }, 'replay.failed')
      await endReplay(deps.database.db, id, 'failed', 'A delivery could not be made again.')
    }
  }
  return running.length
}
