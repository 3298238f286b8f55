import {
  type DeliveryJob,
  decodeEvent,
  parseDeliveryJob,
} from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent, DeliveryState, Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import { bareContent, contentOf } from '@switchhook/core/providers/content-of'
import type { EventContent } from '@switchhook/core/providers/provider'
import type { FallbackJob, JobRun, JobStep } from '@switchhook/core/queue'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import type { MailSlot } from '@switchhook/core/store/mail-digests'
import { z } from 'zod'
import { createFallbackMail } from './fallback-mail.ts'
import type { LookUps } from './look-ups.ts'
import type { TellOperations } from './operational-events.ts'
import { toDeliveryRecord } from './prepare-request.ts'
import type { RecordDelivery } from './recorder.ts'
import type { ReplayLinks } from './send-fallback-links.ts'
import { mailRetryDelayMs } from './send-fallback-retry.ts'
import type { FindSlot } from './send-fallback-slot.ts'
import type { MailSender } from './send-mail.ts'

const jobSchema = z.object({
  deliveryId: z.string(),
  to: z.string(),
  reason: z.string(),
  attempts: z.number(),
  delivery: z.unknown().transform(parseDeliveryJob),
})

/** Throws for what this version did not write. */
export function parseFallbackJob(data: unknown): FallbackJob {
  return jobSchema.parse(data)
}

export type SendFallbackDeps = {
  readonly nowMs: () => number
  readonly snapshot: Pick<Snapshot, 'findPhoneNumber'>
  readonly findDestination: (id: string) => Promise<Destination | undefined>
  readonly findProgress: LookUps['findProgress']
  readonly findEvent: (job: DeliveryJob) => Promise<AcceptedEvent | undefined>
  readonly findSlot: FindSlot
  /** For a delivery whose mail is a digest: waits for it, or sends it. */
  readonly sendDigest: (slot: Extract<MailSlot, { kind: 'digest' }>) => Promise<JobStep>
  readonly links: ReplayLinks
  readonly tell: TellOperations
  readonly sender: Pick<MailSender, 'send'>
  /** Mails of this process that no store took note of yet; a few, and only while both are away. */
  readonly sentUnrecorded: Set<string>
  readonly record: RecordDelivery
  readonly publicBaseUrl: string
  readonly retryForMs: number
  readonly metrics: Pick<Metrics, 'fallbackEmails' | 'deliveries'>
  readonly log: Logger
}

const LOOK_AGAIN_MS = 5_000

async function settle(
  deps: SendFallbackDeps,
  job: FallbackJob,
  state: Extract<DeliveryState, 'emailed' | 'given_up'>,
  reason: string,
): Promise<JobStep> {
  const { attempts, delivery } = job
  const change = {
    state,
    attempts,
    dueAtMs: deps.nowMs(),
    fallbackAtMs: null,
    reason,
    attempt: null,
  }
  await deps.record(toDeliveryRecord(delivery, change))
  deps.metrics.deliveries.inc({ state })
  const { deliveryId: delivery_id, event } = delivery
  const fields = {
    delivery_id,
    event_id: event.id,
    destination_id: delivery.destinationId,
    attempts,
  }
  if (state === 'given_up') deps.log.error({ ...fields, reason }, 'delivery.given_up')
  else deps.log.info(fields, 'delivery.emailed')
  return { kind: 'done' }
}

/** A mail that went out is never sent again for want of a place to write that down. */
async function settleSent(deps: SendFallbackDeps, job: FallbackJob): Promise<JobStep> {
  deps.sentUnrecorded.add(job.deliveryId)
  try {
    const step = await settle(deps, job, 'emailed', job.reason)
    deps.sentUnrecorded.delete(job.deliveryId)
    return step
  } catch (error) {
    deps.log.error({ delivery_id: job.deliveryId, error }, 'fallback.unrecorded')
    return { kind: 'retry', delayMs: LOOK_AGAIN_MS, uncertain: true }
  }
}

async function tellFailed(
  deps: SendFallbackDeps,
  { deliveryId, delivery: { destinationId } }: FallbackJob,
  error: string,
): Promise<void> {
  await deps.tell([
    {
      ...{ name: 'mail.failed', destinationId, key: deliveryId, atMs: deps.nowMs() },
      message: `The mail of a delivery that could not be made failed: ${error}`,
      data: { delivery_id: deliveryId, deliveries: 1, reason: error },
    },
  ])
}

/** What cannot be read, which may be why there is a mail at all, is still in the attached payload. */
function readOrLeaveOut(event: AcceptedEvent): EventContent {
  try {
    return contentOf(event)
  } catch {
    return bareContent(event)
  }
}

/**
 * Sends the mail of one exhausted delivery. Looks first whether an earlier run sent it: the one gap left is a worker
 * that dies between the mail server's 250 and the commit of `emailed`, and there the Message-ID is the same.
 */
export async function sendFallback(
  deps: SendFallbackDeps,
  run: JobRun<FallbackJob>,
): Promise<JobStep> {
  const { delivery, reason } = run.data
  if (deps.sentUnrecorded.has(delivery.deliveryId)) return settleSent(deps, run.data)
  const found = await deps.findProgress(delivery)
  if (found === 'unknown' && delivery.removed) return { kind: 'defer', delayMs: LOOK_AGAIN_MS }
  const progress = found === 'unknown' ? undefined : found
  if (progress !== undefined && progress.state !== 'pending') return { kind: 'done' }
  // An earlier run may have sent it, and only Postgres can tell; but not for longer than a mail is tried.
  const ageMs = deps.nowMs() - delivery.createdAtMs
  if (progress === undefined && run.interrupted && ageMs < deps.retryForMs) {
    return { kind: 'defer', delayMs: LOOK_AGAIN_MS }
  }

  const slot = await deps.findSlot(run.data)
  if (slot === 'later') return { kind: 'defer', delayMs: LOOK_AGAIN_MS }
  if (slot.kind === 'digest') return deps.sendDigest(slot)

  const event = decodeEvent(delivery.event) ?? (await deps.findEvent(delivery))
  if (event === undefined) {
    return settle(deps, run.data, 'given_up', 'The payload is no longer kept.')
  }
  const destination = await deps.findDestination(delivery.destinationId)
  const number =
    event.phoneNumber === null
      ? undefined
      : deps.snapshot.findPhoneNumber(event.organizationId, event.phoneNumber)
  const link = deps.links(delivery.deliveryId, deps.nowMs())
  const mail = createFallbackMail({
    ...{
      deliveryId: delivery.deliveryId,
      to: slot.recipient,
      reason,
      attempts: run.data.attempts,
      event,
    },
    content: readOrLeaveOut(event),
    serviceId: number?.serviceId ?? '',
    webhookUrl: destination?.url ?? '',
    ...{ publicBaseUrl: deps.publicBaseUrl, replayUrl: link.url, replayUntilMs: link.expiresAtMs },
  })
  const result = await deps.sender.send(mail)
  deps.metrics.fallbackEmails.inc({ outcome: result.kind })
  if (result.kind === 'sent') return settleSent(deps, run.data)
  const owedSinceMs = progress?.fallbackAtMs ?? delivery.createdAtMs
  const isTooLate = progress !== undefined && deps.nowMs() - owedSinceMs > deps.retryForMs
  if (result.kind === 'rejected' || isTooLate) {
    await tellFailed(deps, run.data, result.error)
    return settle(deps, run.data, 'given_up', `${reason} The fallback mail failed: ${result.error}`)
  }
  deps.log.warn({ delivery_id: delivery.deliveryId, error: result.error }, 'fallback.failed')
  return { kind: 'retry', delayMs: mailRetryDelayMs(run.run) }
}
