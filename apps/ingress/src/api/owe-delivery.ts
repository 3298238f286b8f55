import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { StoredEvent } from '@switchhook/core/store/event-queries'
import { EventNotKeptError, type NewDelivery } from '@switchhook/core/store/replays'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'

/** A stored event as the workers want it. Where it stands among its statuses was settled when it came. */
export const toAccepted = ({
  deliveryCount,
  erasedAtMs,
  ...event
}: StoredEvent): AcceptedEvent => ({
  ...event,
  order: null,
})

/** Throws `ApiError` 409 for a payload that is gone, also for one that an erasure took while its replay was made. */
export function refuseNotKept(error: unknown): never {
  if (error instanceof EventNotKeptError) throw new ApiError(409, 'Its payload is no longer kept')
  throw error
}

/**
 * Hands deliveries of a replay, which Postgres owes by now, to the workers. They look there before they send: an erasure
 * may end while a job is on its way. With Redis away the requeuer hands them over later.
 */
export async function enqueueNew(
  { enqueueDelivery, log }: Pick<ApiDeps, 'enqueueDelivery' | 'log'>,
  event: AcceptedEvent,
  deliveries: readonly NewDelivery[],
): Promise<void> {
  const jobs = deliveries.map((owed) =>
    createDeliveryJob({ ...owed, priorAttempts: 0, requeued: true }, event, 'small'),
  )
  try {
    await Promise.all(jobs.map((job) => enqueueDelivery(job)))
  } catch (error) {
    log.warn({ error, event_id: event.id }, 'delivery.not_enqueued')
  }
}
