import type { SharedCircuits } from '@switchhook/core/circuits'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { silentLogger } from '@switchhook/core/log'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type CircuitBreakers, createCircuitBreakers } from './circuit-breakers.ts'

// What one worker does while Redis does not answer. With Redis: test/circuit-breakers.test.ts.

const facts = { statusCode: null, responseBody: null, responseTimeMs: 1, retryAfterMs: null }
const DELIVERED: AttemptResult = { ...facts, outcome: 'delivered', error: null }
const REFUSED: AttemptResult = { ...facts, outcome: 'refused', error: 'no' }

let isAway = false
const away = () => Promise.reject(new Error('Redis is away'))
const answering =
  <T>(answer: T) =>
  async (): Promise<T> =>
    isAway ? away() : answer
const shared: SharedCircuits = {
  ...{ report: away, takeProbe: away, settleProbe: away, probeNow: away },
  takeTurns: away,
  list: answering({ version: 0, nowMs: 0, circuits: [] }),
  version: answering(0),
}

let circuits: CircuitBreakers
/** Attempts that were really made. */
let sent = 0

beforeEach(async () => {
  vi.useFakeTimers()
  isAway = false
  circuits = createCircuitBreakers({
    ...{ shared, subscribe: () => undefined, onChange: () => undefined, log: silentLogger },
    ...{ firstPauseMs: 30_000, maxPauseMs: 900_000 },
  })
  await circuits.waitUntilLoaded()
  isAway = true
  sent = 0
})
afterEach(() => {
  circuits.close()
  vi.useRealTimers()
})

function attempt(delivery: string, result: AttemptResult, id = 'dst_1') {
  return circuits.run({ id, timeoutMs: 10_000 }, delivery, async () => {
    sent += 1
    return result
  })
}

async function open(id = 'dst_1'): Promise<void> {
  for (let index = 0; index < 11; index += 1) await attempt(`dlv_${index % 3}`, REFUSED, id)
}

describe('a circuit that a worker opened alone', () => {
  it('sends nothing before its pause is over, and says how long that is', async () => {
    await open()
    expect(circuits.states()).toEqual({ closed: 0, open: 1, half_open: 0 })
    sent = 0
    await vi.advanceTimersByTimeAsync(29_000)
    expect(circuits.holdMs('dst_1')).toBeCloseTo(1_000, -1)
    expect(await attempt('dlv_1', DELIVERED)).toBe('held')
    expect(sent).toBe(0)
    expect(circuits.holdMs('dst_2')).toBe(0)
  })

  it('then lets exactly one attempt through', async () => {
    await open()
    await vi.advanceTimersByTimeAsync(30_001)
    expect(circuits.holdMs('dst_1')).toBe(0)
    sent = 0
    const probe = Promise.withResolvers<AttemptResult>()
    const probing = circuits.run({ id: 'dst_1', timeoutMs: 10_000 }, 'dlv_1', () => {
      sent += 1
      return probe.promise
    })
    const others = Array.from({ length: 50 }, (_, index) => attempt(`dlv_${index}`, DELIVERED))
    expect(await Promise.all(others)).toEqual(Array(50).fill('held'))
    expect(circuits.holdMs('dst_1')).toBeGreaterThan(0)
    await vi.advanceTimersByTimeAsync(10)
    expect(sent).toBe(1)
    probe.resolve(DELIVERED)
    expect(await probing).toBe(DELIVERED)
    expect(circuits.states()).toEqual({ closed: 1, open: 0, half_open: 0 })
  })

  it('waits twice as long after each probe in vain, up to 15 minutes', async () => {
    await open()
    const pauses: number[] = []
    for (let round = 0; round < 8; round += 1) {
      const pauseMs = circuits.holdMs('dst_1')
      pauses.push(Math.round(pauseMs / 1000))
      await vi.advanceTimersByTimeAsync(pauseMs + 1)
      sent = 0
      expect(await attempt('dlv_1', REFUSED)).toBe(REFUSED)
      expect(sent).toBe(1)
    }
    expect(pauses).toEqual([30, 60, 120, 240, 480, 900, 900, 900])
  })

  it('is not closed by an attempt that began before it opened', async () => {
    const slow = Promise.withResolvers<AttemptResult>()
    const early = circuits.run({ id: 'dst_1', timeoutMs: 10_000 }, 'dlv_early', () => slow.promise)
    await open()
    slow.resolve(DELIVERED)
    expect(await early).toBe(DELIVERED)
    expect(circuits.holdMs('dst_1')).toBeGreaterThan(29_000)
  })

  it('spreads those who wait for it over two seconds', async () => {
    await open()
    const destination = { id: 'dst_1', rateLimitPerSecond: null }
    const waits = await Promise.all(Array.from({ length: 50 }, () => circuits.turnMs(destination)))
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(30_000)
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(500)
    expect(Math.max(...waits)).toBeLessThan(32_100)
  })
})

describe('the breakers', () => {
  it('count no attempt that a stopping worker cut off', async () => {
    const cutOff = { ...REFUSED, outcome: 'unreachable', wasCutOff: true } as const
    for (let index = 0; index < 30; index += 1) await attempt(`dlv_${index}`, cutOff)
    expect(circuits.holdMs('dst_1')).toBe(0)
    expect(sent).toBe(30)
  })

  it('pass on what an attempt throws, rather than take it for a full circuit', async () => {
    const fault = new TypeError('a bug')
    const run = circuits.run({ id: 'dst_1', timeoutMs: 1 }, 'dlv_1', () => Promise.reject(fault))
    await expect(run).rejects.toBe(fault)
  })

  it('keep no timer once they are closed', async () => {
    await open()
    await open('dst_2')
    circuits.close()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(vi.getTimerCount()).toBe(0)
  })
})
