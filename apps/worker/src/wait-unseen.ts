import type { Destination } from '@switchhook/core/event'
import type { DeliveryRun, JobStep } from '@switchhook/core/queue'
import type { Gates } from './gates.ts'
import { type CircuitHoldDeps, waitForCircuit } from './hold-delivery.ts'

export type WaitUnseenDeps = CircuitHoldDeps & {
  readonly findDestination: (id: string) => Promise<Destination | undefined>
  readonly gates: Pick<Gates, 'check' | 'queueIfFull'>
}

/** Of the waits for a slot or behind a circuit one in so many looks, should nobody have been able to mark it. */
const LOOK_EVERY = 4

/**
 * Before it is sent or ended, Postgres is asked what became of a delivery that was moved or requeued; if it only has to
 * wait, which in the slow lane is nearly always so, that is not worth a round trip. Undefined: look, and go on. One that
 * was interrupted or taken away is looked for at once, and a paused destination's, which wakes up seldom, each time.
 */
export async function waitUnseen(
  deps: WaitUnseenDeps,
  run: DeliveryRun,
): Promise<JobStep | undefined> {
  const { data: job } = run
  if (run.interrupted || job.removed) return undefined
  if (run.waits % LOOK_EVERY === LOOK_EVERY - 1) return undefined
  const destination = await deps.findDestination(job.destinationId)
  if (destination?.status !== 'active') return undefined
  // Too old to be sent.
  if ((await deps.gates.check(destination, run)) !== undefined) return undefined
  if (deps.circuits.holdMs(destination.id) > 0) {
    return waitForCircuit(deps, run, job.priorAttempts + run.run - 1, destination)
  }
  const waitMs = deps.gates.queueIfFull(destination, run)
  return waitMs === undefined ? undefined : defer(waitMs)
}

const defer = (delayMs: number): JobStep => ({ kind: 'defer', delayMs })
