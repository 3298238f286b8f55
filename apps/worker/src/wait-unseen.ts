import type { Destination } from '@switchhook/core/event'
import type { DeliveryRun, JobStep } from '@switchhook/core/queue'
import type { Gates } from './gates.ts'
import { type CircuitHoldDeps, waitForCircuit } from './hold-delivery.ts'

export type WaitUnseenDeps = CircuitHoldDeps & {
  readonly findDestination: (id: string) => Promise<Destination | undefined>
  readonly gates: Pick<Gates, 'check' | 'queueIfFull'>
}

/**
 * Before it is sent or ended, Postgres is asked what became of a delivery that was moved or requeued; if it only has to
 * wait, which in the slow lane is nearly always so, that is not worth a round trip. Undefined: look, and go on. One that
 * was interrupted or taken away is looked for at once.
 */
export async function waitUnseen(
  deps: WaitUnseenDeps,
  run: DeliveryRun,
): Promise<JobStep | undefined> {
  const { data: job } = run
  if (run.interrupted || job.removed) return undefined
  const destination = await deps.findDestination(job.destinationId)
  if (destination === undefined || destination.status === 'disabled') return undefined
  const held = await deps.gates.check(destination, run)
  if (held !== undefined) return held.kind === 'wait' ? defer(held.delayMs) : undefined
  if (deps.circuits.holdMs(destination.id) > 0) {
    return waitForCircuit(deps, run, job.priorAttempts + run.run - 1, destination)
  }
  const waitMs = deps.gates.queueIfFull(destination, run)
  return waitMs === undefined ? undefined : defer(waitMs)
}

const defer = (delayMs: number): JobStep => ({ kind: 'defer', delayMs })
