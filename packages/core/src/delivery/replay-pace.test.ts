import { expect, it } from 'vitest'
import { replayAllowance } from './replay-pace.ts'

/** How many are made in `forMs` when a step is taken every `everyMs`. */
function madeIn(ratePerSecond: number, forMs: number, everyMs: number): number {
  let made = 0
  let pacedAtMs = 0
  for (let nowMs = everyMs; nowMs <= forMs; nowMs += everyMs) {
    const allowance = replayAllowance(ratePerSecond, pacedAtMs, nowMs)
    made += allowance.count
    pacedAtMs = allowance.pacedAtMs
  }
  return made
}

it.each([
  [50, 10_000, 100, 500],
  [50, 10_000, 130, 500],
  [1_000, 10_000, 100, 10_000],
  [0.3, 60_000, 100, 18],
  [0.3, 60_000, 2_000, 18],
  [7, 10_000, 100, 70],
])('makes %d a second: in %d ms, a step every %d ms, %d', (rate, forMs, everyMs, expected) => {
  const made = madeIn(rate, forMs, everyMs)
  expect(made).toBeLessThanOrEqual(expected)
  expect(made).toBeGreaterThanOrEqual(expected * 0.9 - 1)
})

it('does not make up in a burst for an hour in which nothing was made', () => {
  expect(replayAllowance(50, 0, 3_600_000)).toEqual({ count: 50, pacedAtMs: 3_600_000 })
})

it('makes nothing while the clock is behind, and goes on from there', () => {
  expect(replayAllowance(50, 5_000, 1_000)).toEqual({ count: 0, pacedAtMs: 1_000 })
})

it('makes no more in one step than a transaction should hold', () => {
  expect(replayAllowance(100_000, 0, 1_000).count).toBe(200)
})
