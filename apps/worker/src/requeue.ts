import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { Queues } from '@switchhook/core/queue'
import type { Spool } from '@switchhook/core/spool'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import {
  cancelErasedDeliveries,
  findEvents,
  findOverdueDeliveries,
  type OverdueCursor,
  type OverdueDelivery,
} from '@switchhook/core/store/owed-deliveries'

export type RequeueDeps = {
  readonly pool: DatabaseHandle['pool']
  readonly queues: Pick<Queues, 'addDelivery' | 'addFallback' | 'findMissing'>
  readonly spool: Pick<Spool, 'length'>
  readonly findDestination: (id: string) => Promise<Destination | undefined>
  readonly metrics: Pick<Metrics, 'requeued'>
  readonly log: Logger
}

const PAGE = 500
/** Looking costs Redis two commands a delivery: a long healthy backlog is walked slowly, a lost one at once. */
const MAX_HEALTHY_PAGES = 4
const MAX_PAGES = 200
const ERASED = 'The event was erased.'

async function enqueue(deps: RequeueDeps, overdue: readonly OverdueDelivery[]): Promise<number> {
  const events = await findEvents(deps.pool, overdue)
  const unsendable = overdue.filter(({ eventId }) => !events.has(eventId))
  const cancelled = await cancelErasedDeliveries(deps.pool, unsendable, ERASED)
  if (cancelled > 0) deps.log.info({ count: cancelled }, 'deliveries.cancelled')
  let count = 0
  for (const delivery of overdue) {
    const event = events.get(delivery.eventId)
    // It was erased, its partition was dropped, or its journal entry still waits in the spool.
    if (event === undefined) continue
    const { deliveryId, destinationId, createdAtMs, attempts: priorAttempts } = delivery
    const ref = { deliveryId, destinationId, createdAtMs, priorAttempts, requeued: true }
    const job = createDeliveryJob(ref, event, 'small')
    const destination =
      delivery.fallbackAtMs === null ? undefined : await deps.findDestination(destinationId)
    const to = destination?.fallbackEmail
    if (to) {
      const reason = delivery.reason ?? ''
      await deps.queues.addFallback({
        deliveryId,
        to,
        reason,
        attempts: priorAttempts,
        delivery: job,
      })
    } else await deps.queues.addDelivery(job)
    deps.metrics.requeued.inc({ reason: to ? 'fallback_lost' : 'delivery_lost' })
    count += 1
  }
  return count
}

/**
 * One pass over what Postgres owes since before `beforeMs`, from the cursor on: every delivery without a job gets one.
 * Returns where to go on, or undefined at the end. While the spool holds records Postgres's word is old: the pass is
 * skipped. What is found wrongly all the same is noticed by the worker, which looks again before it sends.
 */
export async function requeue(
  deps: RequeueDeps,
  beforeMs: number,
  from: OverdueCursor | undefined,
): Promise<OverdueCursor | undefined> {
  let cursor = from
  let healthyPages = 0
  for (let page = 0; page < MAX_PAGES && healthyPages < MAX_HEALTHY_PAGES; page += 1) {
    const overdue = await findOverdueDeliveries(deps.pool, beforeMs, cursor, PAGE)
    const missing = await deps.queues.findMissing(overdue)
    if ((await deps.spool.length()) > 0) return cursor
    const lost = overdue.filter(({ deliveryId }) => missing.has(deliveryId))
    if (lost.length === 0) healthyPages += 1
    else {
      const count = await enqueue(deps, lost)
      deps.log.warn({ count }, 'deliveries.requeued')
    }
    const last = overdue.at(-1)
    if (last === undefined || overdue.length < PAGE) return undefined
    cursor = { dueAtMs: last.dueAtMs, deliveryId: last.deliveryId }
  }
  return cursor
}
