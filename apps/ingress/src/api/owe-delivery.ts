import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { StoredEvent } from '@switchhook/core/store/event-queries'
import type { NewDelivery } from '@switchhook/core/store/replays'
import type { ApiDeps } from './api-deps.ts'

/** A stored event as the workers want it. Where it stands among its statuses was settled when it came. */
export const toAccepted = ({
  deliveryCount,
  erasedAtMs,
  ...event
}: StoredEvent): AcceptedEvent => ({
  ...event,
  order: null,
})

/** Hands deliveries that Postgres owes by now to the workers. With Redis away the requeuer does so later. */
export async function enqueueNew(
  { enqueueDelivery, log }: Pick<ApiDeps, 'enqueueDelivery' | 'log'>,
  event: AcceptedEvent,
  deliveries: readonly NewDelivery[],
): Promise<void> {
  const jobs = deliveries.map((owed) =>
    createDeliveryJob({ ...owed, priorAttempts: 0, requeued: false }, event, 'small'),
  )
  try {
    await Promise.all(jobs.map((job) => enqueueDelivery(job)))
  } catch (error) {
    log.warn({ error, event_id: event.id }, 'delivery.not_enqueued')
  }
}
