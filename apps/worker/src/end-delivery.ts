import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { FallbackJob, JobStep } from '@switchhook/core/queue'
import type { AttemptRecord } from '@switchhook/core/store/delivery-log'
import { toDeliveryRecord } from './prepare-request.ts'
import type { RecordDelivery } from './recorder.ts'

export type EndDeliveryDeps = {
  readonly nowMs: () => number
  readonly record: RecordDelivery
  readonly enqueueFallback: (job: FallbackJob) => Promise<void>
  readonly metrics: Pick<Metrics, 'deliveries'>
  readonly log: Logger
}

const DONE: JobStep = { kind: 'done' }

/** Ends a delivery without success: by mail where an address is known. Recorded first, so that a crash between the two is found. */
export async function giveUp(
  deps: EndDeliveryDeps,
  job: DeliveryJob,
  destination: Destination,
  attempts: number,
  reason: string,
  attempt: AttemptRecord | null,
): Promise<void> {
  const nowMs = deps.nowMs()
  const to = destination.fallbackEmail
  const change = { attempts, dueAtMs: nowMs, reason, attempt }
  if (to === null) {
    await deps.record(toDeliveryRecord(job, { ...change, state: 'given_up', fallbackAtMs: null }))
    deps.metrics.deliveries.inc({ state: 'given_up' })
    return
  }
  await deps.record(toDeliveryRecord(job, { ...change, state: 'pending', fallbackAtMs: nowMs }))
  await deps.enqueueFallback({ deliveryId: job.deliveryId, to, reason, attempts, delivery: job })
}

export async function cancel(
  deps: EndDeliveryDeps,
  job: DeliveryJob,
  attempts: number,
  reason: string,
  state: 'cancelled' | 'expired' = 'cancelled',
): Promise<JobStep> {
  const change = { attempts, dueAtMs: deps.nowMs(), fallbackAtMs: null, attempt: null }
  await deps.record(toDeliveryRecord(job, { ...change, state, reason }))
  deps.metrics.deliveries.inc({ state })
  deps.log.info({ ...idsOf(job), reason }, `delivery.${state}`)
  return DONE
}

export function idsOf(job: DeliveryJob): object {
  return {
    delivery_id: job.deliveryId,
    event_id: job.event.id,
    destination_id: job.destinationId,
    organization_id: job.event.organizationId,
    type: job.event.type,
  }
}
