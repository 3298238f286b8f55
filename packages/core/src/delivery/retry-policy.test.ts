import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RetryPolicy } from '../event.ts'
import {
  DEFAULT_RETRY,
  parseRetryAfter,
  retryDelayMs,
  slowDownMs,
  wholeScheduleMs,
} from './retry-policy.ts'

const HOUR_MS = 3_600_000
const WEEK_MS = 7 * 86_400_000

/** What the API admits, and what a person at the database could write. */
const anyNumber = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(Number.NaN, -1, Infinity, 0))
const anyPolicy: fc.Arbitrary<RetryPolicy> = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 50 }),
  delaysSeconds: fc.array(anyNumber, { maxLength: 12 }),
  jitter: fc.boolean(),
})
const sanePolicy: fc.Arbitrary<RetryPolicy> = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 50 }),
  delaysSeconds: fc.array(fc.double({ min: 0, max: 86_400, noNaN: true }), { minLength: 1 }),
  jitter: fc.boolean(),
})
const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const attempt = fc.integer({ min: 1, max: 60 })

describe('the wait before the next attempt', () => {
  it('is a whole number of milliseconds between 0 and a week, whatever the policy holds', () => {
    const odd = fc.oneof(chance, fc.constantFrom(Number.NaN, 1, -1, Infinity))
    const asked = fc.option(anyNumber)
    fc.assert(
      fc.property(anyPolicy, fc.integer(), asked, odd, (policy, failed, retryAfter, random) => {
        const delayMs = retryDelayMs(policy, failed, retryAfter, random)
        expect(Number.isInteger(delayMs)).toBe(true)
        expect(delayMs).toBeGreaterThanOrEqual(0)
        expect(delayMs).toBeLessThanOrEqual(WEEK_MS)
      }),
      { numRuns: 500 },
    )
  })

  it('is at most 20 % off the plan, and reaches both ends', () => {
    fc.assert(
      fc.property(sanePolicy, attempt, chance, (policy, failed, random) => {
        const index = Math.min(failed, policy.delaysSeconds.length) - 1
        const plannedMs = (policy.delaysSeconds[index] ?? 0) * 1000
        const delayMs = retryDelayMs({ ...policy, jitter: true }, failed, null, random)
        expect(delayMs).toBeGreaterThanOrEqual(Math.floor(plannedMs * 0.8))
        expect(delayMs).toBeLessThanOrEqual(Math.ceil(plannedMs * 1.2))
      }),
    )
    expect(retryDelayMs(DEFAULT_RETRY, 1, null, 0)).toBe(4_000)
    expect(retryDelayMs(DEFAULT_RETRY, 1, null, 0.5)).toBe(5_000)
    expect(retryDelayMs(DEFAULT_RETRY, 1, null, 0.999_999)).toBe(6_000)
  })

  it('is exactly as given without jitter', () => {
    const policy = { maxAttempts: 4, delaysSeconds: [1, 2.5, 60], jitter: false }
    const waits = [1, 2, 3, 4, 99].map((failed) => retryDelayMs(policy, failed, null, 0.9))
    expect(waits).toEqual([1_000, 2_500, 60_000, 60_000, 60_000])
  })

  it('follows the published schedule by default', () => {
    const exact = { ...DEFAULT_RETRY, jitter: false }
    const waits = Array.from({ length: 9 }, (_, index) => retryDelayMs(exact, index + 1, null, 0))
    expect(waits.map((ms) => ms / 1000)).toEqual([5, 15, 45, 135, 405, 1215, 3600, 3600, 3600])
    expect(DEFAULT_RETRY.maxAttempts).toBe(10)
  })

  it('is lengthened by Retry-After up to an hour, and never shortened', () => {
    fc.assert(
      fc.property(sanePolicy, attempt, fc.integer(), chance, (policy, failed, asked, random) => {
        const own = retryDelayMs(policy, failed, null, random)
        const delayMs = retryDelayMs(policy, failed, asked, random)
        expect(delayMs).toBe(Math.max(own, Math.min(asked, HOUR_MS)))
      }),
    )
    expect(retryDelayMs(DEFAULT_RETRY, 1, 120_000, 0.5)).toBe(120_000)
    expect(retryDelayMs(DEFAULT_RETRY, 1, 1e15, 0.5)).toBe(HOUR_MS)
    expect(retryDelayMs(DEFAULT_RETRY, 1, 0, 0.5)).toBe(5_000)
  })
})

describe('the whole schedule', () => {
  it('is the longest that all waits together can take', () => {
    fc.assert(
      fc.property(sanePolicy, chance, (policy, random) => {
        let sumMs = 0
        for (let failed = 1; failed < policy.maxAttempts; failed += 1) {
          sumMs += retryDelayMs(policy, failed, null, random)
        }
        expect(sumMs).toBeLessThanOrEqual(wholeScheduleMs(policy) + policy.maxAttempts)
      }),
    )
  })

  it('is about three and a half hours by default, and nothing for a single attempt', () => {
    expect(wholeScheduleMs({ ...DEFAULT_RETRY, jitter: false })).toBe(12_620_000)
    expect(wholeScheduleMs(DEFAULT_RETRY)).toBe(15_144_000)
    expect(wholeScheduleMs({ maxAttempts: 1, delaysSeconds: [], jitter: true })).toBe(0)
  })
})

describe('a destination that wants less', () => {
  it.each([
    [429, null, 1_000],
    [429, 0, 1_000],
    [429, 30_000, 30_000],
    [429, HOUR_MS, 60_000],
    [503, 30_000, 0],
    [200, null, 0],
    [null, null, 0],
  ])('with %j and Retry-After of %j ms is given %i ms', (statusCode, retryAfterMs, expected) => {
    expect(slowDownMs({ statusCode, retryAfterMs })).toBe(expected)
  })
})

describe('Retry-After', () => {
  const nowMs = Date.UTC(2026, 10, 21, 1, 2, 3)

  it.each([
    ['120', 120_000],
    [' 7 ', 7_000],
    ['0', 0],
    ['1000000000', 1e12],
    ['Sat, 21 Nov 2026 01:03:03 GMT', 60_000],
    ['Saturday, 21-Nov-26 01:03:03 GMT', 60_000],
    ['Sat Nov 21 01:03:03 2026', 60_000],
    ['Sat, 21 Nov 2026 00:00:00 GMT', 0],
    ['-1', null],
    ['1e9', null],
    ['1.5', null],
    ['0x10', null],
    ['', null],
    ['soon', null],
    ['Someday, maybe', null],
    ['120, 240', null],
    ['2026-11-21T01:03:03Z', null],
    ['9'.repeat(400), Number.MAX_SAFE_INTEGER],
  ])('of %j is %j ms', (header, expected) => {
    expect(parseRetryAfter(header, nowMs)).toBe(expected)
  })

  it('is nothing when it is missing', () => {
    expect(parseRetryAfter(undefined, nowMs)).toBeNull()
  })

  it('is null or a whole number of milliseconds for any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const asked = parseRetryAfter(text, nowMs)
        expect(asked === null || (Number.isFinite(asked) && asked >= 0)).toBe(true)
      }),
    )
  })
})
