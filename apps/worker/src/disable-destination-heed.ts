import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import type { NextStep } from '@switchhook/core/delivery/next-step'
import { slowDownMs } from '@switchhook/core/delivery/retry-policy'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { Disabling } from './disable-destination.ts'
import type { Slots } from './slots.ts'

/** What the answer to an attempt means for all that goes to the destination. Never throws. */
export type HeedAnswer = (
  destination: Destination,
  result: AttemptResult,
  step: NextStep,
) => Promise<void>

export type HeedDeps = {
  readonly slots: Pick<Slots, 'slowDown'>
  readonly disabling: Pick<Disabling, 'noteOutcome' | 'disableGone'>
  readonly log: Logger
}

export function createHeeding({ slots, disabling, log }: HeedDeps): HeedAnswer {
  return async function heedAnswer(destination, result, step) {
    disabling.noteOutcome(destination.id, result.outcome === 'delivered')
    const slowMs = slowDownMs(result)
    if (slowMs > 0) slots.slowDown(destination.id, slowMs)
    if (step.kind !== 'give_up' || !step.isGone) return
    try {
      await disabling.disableGone(destination)
    } catch (error) {
      // Postgres is away: its next 410 asks again.
      log.warn({ destination_id: destination.id, error }, 'destination.not_disabled')
    }
  }
}
