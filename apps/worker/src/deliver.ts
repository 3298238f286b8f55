import { type AttemptResult, CUT_OFF } from '@switchhook/core/delivery/attempt'
import { type DeliveryJob, decodeEvent } from '@switchhook/core/delivery/delivery-job'
import { type NextStep, nextStep } from '@switchhook/core/delivery/next-step'
import type { AcceptedEvent, Destination } from '@switchhook/core/event'
import type { Metrics } from '@switchhook/core/metrics'
import type { DeliveryRun, JobStep } from '@switchhook/core/queue'
import { UnreadableSecretError } from '@switchhook/core/secrets'
import type { AttemptRecord } from '@switchhook/core/store/delivery-log'
import type { DeliveryProgress } from '@switchhook/core/store/owed-deliveries'
import type { CircuitBreakers } from './circuit-breakers.ts'
import type { HeedAnswer } from './disable-destination-heed.ts'
import { cancel, giveUp, idsOf } from './end-delivery.ts'
import type { Gates, Held } from './gates.ts'
import {
  type CircuitHoldDeps,
  capAtStale,
  holdForOwnFault,
  turnMs,
  waitForCircuit,
} from './hold-delivery.ts'
import type { LookUps } from './look-ups.ts'
import type { EventRequest } from './post-event.ts'
import { type PreparedRequest, toAttemptRecord, toDeliveryRecord } from './prepare-request.ts'
import type { Slot } from './slots.ts'
import { waitUnseen } from './wait-unseen.ts'

/** What delivering needs, and no more. */
export type DeliverDeps = CircuitHoldDeps & {
  /** Undefined when there is none, looked up in Postgres if need be; throws when that cannot be told now. */
  readonly findDestination: (id: string) => Promise<Destination | undefined>
  readonly findProgress: LookUps['findProgress']
  /** For payloads too large for a job. Throws when Postgres is away. */
  readonly findEvent: (job: DeliveryJob) => Promise<AcceptedEvent | undefined>
  readonly prepare: (
    event: AcceptedEvent,
    destination: Destination,
    nowMs: number,
  ) => PreparedRequest
  readonly post: (request: EventRequest) => Promise<AttemptResult>
  readonly heed: HeedAnswer
  readonly circuits: Pick<CircuitBreakers, 'run'>
  readonly gates: Gates
  /** Makes a job of it there; the one in hand is to end. */
  readonly moveToSlowLane: (job: DeliveryJob) => Promise<void>
  readonly metrics: Pick<
    Metrics,
    'attempts' | 'attemptDuration' | 'deliveryLatency' | 'deliveries' | 'ownFaults' | 'logRowsCut'
  >
}

const DONE: JobStep = { kind: 'done' }
const LOOK_LATER: JobStep = { kind: 'defer', delayMs: 5_000 }
/** So often Postgres is waited for. After that not knowing may cost a duplicate; waiting on would cost the delivery. */
const MAX_LATER_LOOKS = 3
/** After an attempt that no store took note of. */
const LOOK_AGAIN: JobStep = { kind: 'retry', delayMs: 5_000, uncertain: true }
const LOST_ATTEMPT: AttemptResult = {
  outcome: 'unreachable',
  error: CUT_OFF,
  ...{ statusCode: null, responseBody: null, responseTimeMs: 0, retryAfterMs: null },
}

/**
 * After a crash, or when the requeuer made the job: what an earlier run got done, as Postgres tells. True if nothing
 * is left to do. Attempts that were cut off are logged here, since nobody else can.
 */
async function resume(
  deps: DeliverDeps,
  job: DeliveryJob,
  attempt: number,
  destination: Destination,
  progress: DeliveryProgress,
): Promise<boolean> {
  if (progress.state !== 'pending') return true
  const to = destination.fallbackEmail
  if (progress.fallbackAtMs !== null && to !== null) {
    const { attempts, reason } = progress
    const fallback = { deliveryId: job.deliveryId, to, attempts, reason: reason ?? '' }
    await deps.enqueueFallback({ ...fallback, delivery: job })
    return true
  }
  const request = { url: destination.url, contentType: '', body: Buffer.alloc(0) }
  // More than one when a worker died again before it could say so.
  const last = Math.min(attempt - 1, destination.retry.maxAttempts)
  for (let lost = progress.attempts + 1; lost <= last; lost += 1) {
    const nowMs = deps.nowMs()
    const record = toAttemptRecord(lost, nowMs, job.event.type, request, LOST_ATTEMPT)
    const change = { state: 'pending', attempts: lost, dueAtMs: nowMs, fallbackAtMs: null } as const
    await deps.record(
      toDeliveryRecord(job, { ...change, reason: LOST_ATTEMPT.error, attempt: record }),
    )
    deps.metrics.attempts.inc({ format: destination.format, outcome: LOST_ATTEMPT.outcome })
  }
  return false
}

/** What a closed gate makes of a delivery: it waits, without a charge, or changes lanes, or is too old. */
async function holdBack(
  deps: DeliverDeps,
  job: DeliveryJob,
  attempts: number,
  held: Held,
): Promise<JobStep> {
  if (held.kind === 'wait') return { kind: 'defer', delayMs: held.delayMs }
  if (held.kind === 'expired') {
    return cancel(deps, job, attempts, 'It had become too old to be sent.', 'expired')
  }
  // Looks first: a crash between the two leaves two jobs, and somebody may cancel it meanwhile.
  await deps.moveToSlowLane({ ...job, priorAttempts: attempts, requeued: true })
  return DONE
}

/**
 * What cannot be rendered today cannot be rendered in an hour either, but a mail can still carry it. A secret that
 * cannot be opened is our own fault: thrown, so that the delivery waits until somebody mends the keys.
 */
function prepareOrFail(
  deps: DeliverDeps,
  job: DeliveryJob,
  event: AcceptedEvent,
  destination: Destination,
  nowMs: number,
): PreparedRequest | undefined {
  try {
    return deps.prepare(event, destination, nowMs)
  } catch (error) {
    if (error instanceof UnreadableSecretError) throw error
    deps.log.error({ ...idsOf(job), error }, 'delivery.unrenderable')
    return undefined
  }
}

/** Makes one attempt at one delivery and says what comes next. Throws only when the stores fail before the attempt. */
export async function deliver(deps: DeliverDeps, run: DeliveryRun): Promise<JobStep> {
  const job = run.data
  const mustLook = run.interrupted || job.requeued
  const wait = mustLook ? await waitUnseen(deps, run) : undefined
  if (wait !== undefined) return wait
  const found = mustLook ? await deps.findProgress(job) : undefined
  // What was taken away may not be sent any more, however long that cannot be told.
  if (found === 'unknown' && (job.removed || run.waits < MAX_LATER_LOOKS)) return LOOK_LATER
  const progress = found === 'unknown' ? undefined : found
  const step = await goOn(deps, run, progress)
  // What was cut off may have no row, and is not looked for any more: this run went on after it.
  if (progress === undefined && step.kind !== 'defer') deps.metrics.logRowsCut.inc(run.lostRuns)
  return step
}

async function goOn(
  deps: DeliverDeps,
  run: DeliveryRun,
  progress: DeliveryProgress | undefined,
): Promise<JobStep> {
  const job = run.data
  const attempt = Math.max(job.priorAttempts + run.run, (progress?.attempts ?? 0) + 1)

  const destination = await deps.findDestination(job.destinationId)
  if (destination === undefined) {
    return cancel(deps, job, attempt - 1, 'The destination was deleted.')
  }
  if (progress !== undefined && (await resume(deps, job, attempt, destination, progress))) {
    return DONE
  }
  if (destination.status === 'disabled') {
    const { disabledReason } = destination
    if (disabledReason === null) {
      return cancel(deps, job, attempt - 1, 'The destination is disabled.')
    }
    // Not what its owner decided: nothing of it is dropped without a mail.
    const reason = `The destination was disabled. ${disabledReason}`
    await giveUp(deps, job, destination, attempt - 1, reason, null)
    return DONE
  }
  if (job.event.isStale && destination.skipStale) {
    return cancel(deps, job, attempt - 1, 'A later status had come before this one.')
  }

  const { retry } = destination
  if (attempt > retry.maxAttempts) {
    const made = Math.max(progress?.attempts ?? 0, Math.min(attempt - 1, retry.maxAttempts))
    await giveUp(deps, job, destination, made, LOST_ATTEMPT.error ?? '', null)
    return DONE
  }
  const held = await deps.gates.check(destination, run)
  if (held !== undefined) return holdBack(deps, job, attempt - 1, held)
  if (deps.circuits.holdMs(job.destinationId) > 0) {
    const wait = await waitForCircuit(deps, run, attempt - 1, destination)
    if (wait !== undefined) return wait
    const reason = 'The destination was failing all the time.'
    await giveUp(deps, job, destination, attempt - 1, reason, null)
    return DONE
  }
  const gate = await deps.gates.takeSlot(destination, run)
  if (gate.kind !== 'go') return holdBack(deps, job, attempt - 1, gate)
  try {
    return await makeAttempt(deps, run, attempt, destination, gate.slot)
  } catch (error) {
    if (!(error instanceof UnreadableSecretError)) throw error
    deps.log.error({ ...idsOf(job), error }, 'secret.unreadable')
    const fault = 'its signing secret cannot be opened with ENCRYPTION_KEYS.'
    return holdForOwnFault(deps, run, attempt - 1, destination, fault)
  } finally {
    gate.slot.giveBack()
  }
}

async function makeAttempt(
  deps: DeliverDeps,
  run: DeliveryRun,
  attempt: number,
  destination: Destination,
  slot: Slot,
): Promise<JobStep> {
  const job = run.data
  const event = decodeEvent(job.event) ?? (await deps.findEvent(job))
  if (event === undefined) return cancel(deps, job, attempt - 1, 'The payload is no longer kept.')
  const attemptedAtMs = deps.nowMs()
  const request = prepareOrFail(deps, job, event, destination, attemptedAtMs)
  if (request === undefined) {
    const reason = `The event cannot be put into the format "${destination.format}".`
    await giveUp(deps, job, destination, attempt - 1, reason, null)
    return DONE
  }
  const result = await deps.circuits.run(destination, job.deliveryId, async () => {
    const answer = await deps.post(request)
    slot.settle()
    return answer
  })
  if (result === 'held') {
    return { kind: 'defer', delayMs: await turnMs(deps, run, destination) }
  }
  if (result.isOurFault === true) {
    return holdForOwnFault(deps, run, attempt - 1, destination, `${result.error}`)
  }

  const answeredAtMs = deps.nowMs()
  const planned = nextStep(result, attempt, destination.retry, deps.random())
  const step: NextStep =
    planned.kind === 'retry'
      ? { kind: 'retry', delayMs: capAtStale(deps, job, destination, planned.delayMs) }
      : planned
  if (result.wasCutOff !== true) await deps.heed(destination, result, step)
  const record = toAttemptRecord(attempt, attemptedAtMs, event.type, request, result)
  try {
    await recordStep(deps, job, destination, attempt, record, step)
  } catch (error) {
    // The attempt is made and counts; thrown on, it would be made again under the same number.
    deps.log.error({ ...idsOf(job), attempt, error }, 'delivery.unrecorded')
    return LOOK_AGAIN
  }
  count(deps, job, destination, result, step, answeredAtMs)
  deps.log.info(
    {
      ...idsOf(job),
      ...{ attempt, outcome: result.outcome, status_code: result.statusCode },
      ...{ response_time_ms: result.responseTimeMs, next: step.kind },
    },
    'delivery.attempted',
  )
  return step.kind === 'retry' ? step : DONE
}

async function recordStep(
  deps: DeliverDeps,
  job: DeliveryJob,
  destination: Destination,
  attempts: number,
  attempt: AttemptRecord,
  step: NextStep,
): Promise<void> {
  if (step.kind === 'give_up') {
    return giveUp(deps, job, destination, attempts, step.reason, attempt)
  }
  const isDone = step.kind === 'done'
  const change = {
    state: isDone ? 'delivered' : 'pending',
    dueAtMs: deps.nowMs() + (isDone ? 0 : step.delayMs),
    reason: attempt.error,
  } as const
  await deps.record(toDeliveryRecord(job, { ...change, attempts, attempt, fallbackAtMs: null }))
}

function count(
  deps: DeliverDeps,
  job: DeliveryJob,
  { format }: Destination,
  result: AttemptResult,
  step: NextStep,
  answeredAtMs: number,
): void {
  const { metrics } = deps
  metrics.attempts.inc({ format, outcome: result.outcome })
  metrics.attemptDuration.observe({ format }, result.responseTimeMs / 1000)
  if (step.kind !== 'done') return
  metrics.deliveries.inc({ state: 'delivered' })
  metrics.deliveryLatency.observe({ format }, (answeredAtMs - job.event.receivedAtMs) / 1000)
}
