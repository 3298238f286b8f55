import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Failing, failingStep } from './failing-policy.ts'

const HOUR_MS = 3_600_000
const NOW_MS = Date.UTC(2026, 10, 21)

function failingFor(hours: number, facts: Partial<Failing> = {}): Failing {
  const failingSinceMs = NOW_MS - hours * HOUR_MS
  return { failingSinceMs, lastFailedAtMs: NOW_MS, warnings: 0, warnedAtMs: null, ...facts }
}

const warned = (warnings: number, hoursAgo: number) => ({
  warnings,
  warnedAtMs: NOW_MS - hoursAgo * HOUR_MS,
})

describe('a destination from which nothing but failure comes', () => {
  it.each([
    ['for less than a day is left alone', failingFor(23), 'none'],
    ['for a day is warned of', failingFor(24), 'warn'],
    ['for three days is warned of once', failingFor(95, warned(1, 71)), 'none'],
    ['for four days is warned of again', failingFor(96, warned(1, 72)), 'warn'],
    ['for less than five days is not disabled', failingFor(119, warned(2, 23)), 'none'],
    ['for five days is disabled', failingFor(120, warned(2, 24)), 'disable'],
    ['for a month without one warning is warned of first', failingFor(720), 'warn'],
    ['that was warned of just now has time', failingFor(720, warned(2, 19)), 'none'],
  ] as const)('%s', (_what, failing, step) => {
    expect(failingStep(failing, NOW_MS)).toBe(step)
  })

  it('is left alone when nothing was sent to it for two days', () => {
    const silent = { ...warned(2, 49), lastFailedAtMs: NOW_MS - 48 * HOUR_MS - 1 }
    expect(failingStep(failingFor(240, silent), NOW_MS)).toBe('none')
  })

  it('is never disabled before two warnings, whatever the times', () => {
    const time = fc.integer({ min: 0, max: 100_000 * HOUR_MS })
    fc.assert(
      fc.property(time, time, fc.integer({ min: 0, max: 1 }), fc.option(time), (a, b, n, w) => {
        const failing = { failingSinceMs: a, lastFailedAtMs: b, warnings: n, warnedAtMs: w }
        expect(failingStep(failing, NOW_MS)).not.toBe('disable')
      }),
    )
  })
})
