import type { RetryPolicy } from '../event.ts'
import type { AttemptResult } from './attempt.ts'
import { retryDelayMs } from './retry-policy.ts'

export type NextStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'retry'; readonly delayMs: number }
  | {
      readonly kind: 'give_up'
      readonly reason: string
      /** The destination says that it will never be there again: it is to be disabled. */
      readonly isGone: boolean
    }

/** RFC 9110 §15.5.11: not now, and not later either. */
const GONE = 410

/** What follows attempt number `attempt` (from 1): the one place where a delivery's fate is decided. */
export function nextStep(
  result: Pick<AttemptResult, 'outcome' | 'statusCode' | 'error' | 'retryAfterMs'> & {
    readonly wasClosedUnderUs?: boolean
  },
  attempt: number,
  policy: RetryPolicy,
  random: number,
): NextStep {
  if (result.outcome === 'delivered') return { kind: 'done' }
  const isGone = result.statusCode === GONE
  if (isGone || attempt >= policy.maxAttempts) {
    return { kind: 'give_up', reason: result.error ?? result.outcome, isGone }
  }
  // The first attempt alone: a destination that closes every kept-alive connection must not use up the others at once.
  if (result.wasClosedUnderUs === true && attempt === 1) return { kind: 'retry', delayMs: 0 }
  return { kind: 'retry', delayMs: retryDelayMs(policy, attempt, result.retryAfterMs, random) }
}
