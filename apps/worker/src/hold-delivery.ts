import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { staleAtMs, waitUntilStale } from '@switchhook/core/delivery/freshness'
import { wholeScheduleMs } from '@switchhook/core/delivery/retry-policy'
import type { Destination } from '@switchhook/core/event'
import type { Metrics } from '@switchhook/core/metrics'
import type { DeliveryRun, JobStep } from '@switchhook/core/queue'
import type { CircuitBreakers } from './circuit-breakers.ts'
import { type EndDeliveryDeps, giveUp, idsOf } from './end-delivery.ts'

export type HoldDeps = EndDeliveryDeps & { readonly random: () => number }

export type CircuitHoldDeps = HoldDeps & {
  readonly circuits: Pick<CircuitBreakers, 'holdMs' | 'heldSinceMs' | 'turnMs'>
  /** However short its schedule, an open circuit holds it so long before its first attempt: a probe may close it. */
  readonly firstAttemptGraceMs: number
}

const DONE: JobStep = { kind: 'done' }
/** Spreads what waits for the same moment, so that it does not all come at once. */
const SPREAD_MS = 2_000
/** Until the next try, after one that failed by our own fault; twice as long each time, and as much again is spread. */
const OWN_FAULT_WAIT_MS = 5_000
const MAX_OWN_FAULT_WAIT_MS = 300_000
/** However short its schedule: what we could not even try is not given up at once. */
const OWN_FAULT_GRACE_MS = 3_600_000

/** A wait of a delivery that ends when it is too old to be sent, if that comes first. */
export function capAtStale(
  { nowMs }: Pick<HoldDeps, 'nowMs'>,
  job: DeliveryJob,
  destination: Destination,
  delayMs: number,
): number {
  return waitUntilStale(delayMs, staleAtMs(job, destination), nowMs())
}

/** Undefined when its whole schedule would have run out since then: no delivery waits for ever. */
async function waitUnlessOverdue(
  deps: HoldDeps,
  job: DeliveryJob,
  destination: Destination,
  findWaitMs: () => Promise<number>,
  sinceMs: number,
  graceMs: number,
): Promise<JobStep | undefined> {
  const scheduleMs = Math.max(wholeScheduleMs(destination.retry), graceMs)
  const leftMs = Math.max(job.createdAtMs, sinceMs) + scheduleMs - deps.nowMs()
  if (leftMs < 0) return undefined
  const overdueMs = leftMs + 1 + deps.random() * SPREAD_MS
  const waitMs = Math.min(await findWaitMs(), overdueMs)
  return { kind: 'defer', delayMs: capAtStale(deps, job, destination, waitMs) }
}

/** How long an open circuit makes it wait, unless it gets too old before. */
export async function turnMs(
  deps: CircuitHoldDeps,
  { data, lane }: DeliveryRun,
  destination: Destination,
): Promise<number> {
  const { deliveryId } = data
  const delayMs = await deps.circuits.turnMs(destination, { deliveryId, lane })
  return capAtStale(deps, data, destination, delayMs)
}

/** The wait for an open circuit; undefined when it was too long already. */
export async function waitForCircuit(
  deps: CircuitHoldDeps,
  run: DeliveryRun,
  attempts: number,
  destination: Destination,
): Promise<JobStep | undefined> {
  const turn = () => turnMs(deps, run, destination)
  // Time before it opened, in a pause or a queue, is not the circuit's; and a probe may close it any moment.
  const sinceMs = deps.circuits.heldSinceMs(destination.id)
  if (sinceMs === undefined) return { kind: 'defer', delayMs: await turn() }
  const graceMs = attempts === 0 ? deps.firstAttemptGraceMs : 0
  return waitUnlessOverdue(deps, run.data, destination, turn, sinceMs, graceMs)
}

/** Charged to nobody; looked at again ever less often, and told in words on the delivery when it never mends. */
export async function holdForOwnFault(
  deps: HoldDeps & { readonly metrics: Pick<Metrics, 'ownFaults'> },
  run: DeliveryRun,
  attempts: number,
  destination: Destination,
  fault: string,
): Promise<JobStep> {
  deps.metrics.ownFaults.inc()
  deps.log.warn({ ...idsOf(run.data), reason: fault }, 'delivery.own_fault')
  const baseMs = Math.min(OWN_FAULT_WAIT_MS * 2 ** Math.min(run.waits, 10), MAX_OWN_FAULT_WAIT_MS)
  const waitMs = async () => baseMs * (1 + deps.random())
  const reason = `The gateway could not send it: ${fault}`
  const job = run.data
  const wait = await waitUnlessOverdue(deps, job, destination, waitMs, 0, OWN_FAULT_GRACE_MS)
  if (wait !== undefined) return wait
  await giveUp(deps, job, destination, attempts, reason, null)
  return DONE
}
