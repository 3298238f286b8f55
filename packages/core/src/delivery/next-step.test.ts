import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OUTCOMES } from '../event.ts'
import { nextStep } from './next-step.ts'

const policy = { maxAttempts: 3, delaysSeconds: [5, 15], jitter: false }
const failed = {
  outcome: 'refused',
  statusCode: 500,
  error: 'The destination answered 500.',
  retryAfterMs: null,
} as const
const delivered = {
  outcome: 'delivered',
  statusCode: 200,
  error: null,
  retryAfterMs: null,
} as const
const giveUp = { kind: 'give_up', isGone: false }

describe('after an attempt', () => {
  it('that delivered nothing follows, however many there were', () => {
    for (const attempt of [1, 3, 99]) {
      expect(nextStep(delivered, attempt, policy, 0)).toEqual({ kind: 'done' })
    }
  })

  it('that failed the next one follows after the planned wait', () => {
    expect(nextStep(failed, 1, policy, 0)).toEqual({ kind: 'retry', delayMs: 5_000 })
    expect(nextStep(failed, 2, policy, 0)).toEqual({ kind: 'retry', delayMs: 15_000 })
  })

  it('that asked for time the wait is longer', () => {
    const asking = { ...failed, retryAfterMs: 60_000 }
    expect(nextStep(asking, 1, policy, 0)).toEqual({ kind: 'retry', delayMs: 60_000 })
  })

  it('that failed as the last one, it is given up with what went wrong', () => {
    const reason = 'The destination answered 500.'
    expect(nextStep(failed, 3, policy, 0)).toEqual({ ...giveUp, reason })
    expect(nextStep(failed, 4, policy, 0)).toEqual({ ...giveUp, reason })
    expect(nextStep({ ...failed, error: null }, 3, policy, 0)).toEqual({
      ...giveUp,
      reason: 'refused',
    })
  })

  it('that was told 410 there is no other, and the destination is gone', () => {
    const reason = 'The destination answered 410.'
    const gone = { ...failed, statusCode: 410, error: reason }
    for (const attempt of [1, 3]) {
      expect(nextStep(gone, attempt, policy, 0)).toEqual({ kind: 'give_up', reason, isGone: true })
    }
  })

  it('whose kept-alive connection was closed under it the next one follows at once, but only the first time', () => {
    const closed = { ...failed, statusCode: null, wasClosedUnderUs: true }
    expect(nextStep(closed, 1, policy, 0)).toEqual({ kind: 'retry', delayMs: 0 })
    expect(nextStep(closed, 2, policy, 0)).toEqual({ kind: 'retry', delayMs: 15_000 })
    // It may have been read before the connection ended, so it is an attempt like any other.
    expect(nextStep(closed, 1, { ...policy, maxAttempts: 1 }, 0)).toMatchObject(giveUp)
  })

  it('no delivery is attempted more often than its policy says, nor given up earlier', () => {
    const outcome = fc.constantFrom(...OUTCOMES.filter((one) => one !== 'delivered'))
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), outcome, (maxAttempts, one) => {
        let attempt = 1
        const result = { ...failed, outcome: one }
        while (nextStep(result, attempt, { ...policy, maxAttempts }, 0.5).kind === 'retry') {
          attempt += 1
        }
        expect(attempt).toBe(maxAttempts)
      }),
    )
  })
})
