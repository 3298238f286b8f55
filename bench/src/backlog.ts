import { createDeliveryJob, type DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import { deliveryId } from '@switchhook/core/ids'
import { silentLogger } from '@switchhook/core/log'
import { openQueues } from '@switchhook/core/queue'
import { writeJournal } from '@switchhook/core/store/journal'
import { Queue } from 'bullmq'
import { FLOOR_PREFIX, FLOOR_QUEUE } from './floor-queue.ts'
import type { Rig } from './rig.ts'
import { createWebhookBuilder } from './signed-webhooks.ts'
import { eventIdOf, TENANT } from './tenant.ts'

/** As many as the ingress takes into one journal write. */
const BATCH = 200

/** The nth message of a run, as the ingress accepts it. */
export function createEvent(run: string, sequence: number, form: string): AcceptedEvent {
  return {
    id: eventIdOf(run, sequence),
    organizationId: TENANT.organizationId,
    provider: 'twilio',
    type: 'sms_received',
    receivedAtMs: Date.now(),
    phoneNumber: TENANT.phoneNumber,
    peerNumber: '+14155550199',
    callSid: null,
    assistantId: null,
    order: null,
    isStale: false,
    contentType: 'application/x-www-form-urlencoded; charset=UTF-8',
    payload: Buffer.from(form),
  }
}

function jobOf(event: AcceptedEvent): DeliveryJob {
  const { destinationId } = TENANT
  const ref = { deliveryId: deliveryId(event.id, destinationId), destinationId }
  const created = { createdAtMs: event.receivedAtMs, priorAttempts: 0, requeued: false }
  return createDeliveryJob({ ...ref, ...created }, event, 'small')
}

async function addInBatches(
  run: string,
  count: number,
  add: (events: readonly AcceptedEvent[]) => Promise<void>,
): Promise<void> {
  const { formOf } = createWebhookBuilder(run)
  for (let from = 0; from < count; from += BATCH) {
    const length = Math.min(BATCH, count - from)
    await add(Array.from({ length }, (_, at) => createEvent(run, from + at, formOf(from + at))))
  }
}

/** Journals and enqueues as the ingress does, with its statements and its job format. */
export async function addBacklog(rig: Rig, count: number): Promise<void> {
  const queues = openQueues(rig.redis, 1, silentLogger)
  await addInBatches(rig.run, count, async (events) => {
    const jobs = events.map(jobOf)
    const entries = events.map((event, index) => {
      const { deliveryId: id = '', destinationId = '' } = jobs[index] ?? {}
      return { event, deliveries: [{ deliveryId: id, destinationId }] }
    })
    await writeJournal(rig.database.pool, entries)
    await Promise.all(jobs.map((job) => queues.addDelivery(job)))
  })
  await queues.close()
}

/** The same jobs in the floor's queue, in no other store. `run` makes their ids. */
export async function addFloorBacklog(rig: Rig, run: string, count: number): Promise<void> {
  const queue = new Queue(FLOOR_QUEUE, { connection: rig.redis, prefix: FLOOR_PREFIX })
  await addInBatches(run, count, async (events) => {
    const jobs = events.map(jobOf)
    await Promise.all(jobs.map((job) => queue.add('d', job, { jobId: job.deliveryId })))
  })
  await queue.close()
}
