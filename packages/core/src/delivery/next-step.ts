import type { RetryPolicy } from '../event.ts'
import type { AttemptResult } from './attempt.ts'
import { retryDelayMs } from './retry-policy.ts'

export type NextStep =
  | { readonly kind: 'done' }
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'give_up'; readonly reason: string }

/** What follows attempt number `attempt` (from 1): the one place where a delivery's fate is decided. */
export function nextStep(
  result: Pick<AttemptResult, 'outcome' | 'error' | 'retryAfterMs'>,
  attempt: number,
  policy: RetryPolicy,
  random: number,
): NextStep {
  if (result.outcome === 'delivered') return { kind: 'done' }
  if (attempt >= policy.maxAttempts) {
    return { kind: 'give_up', reason: result.error ?? result.outcome }
  }
  return { kind: 'retry', delayMs: retryDelayMs(policy, attempt, result.retryAfterMs, random) }
}
