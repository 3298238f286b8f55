import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { silentLogger } from '@switchhook/core/log'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type CircuitBreakers, createCircuitBreakers } from './circuit-breakers.ts'

const facts = { statusCode: null, responseBody: null, responseTimeMs: 1, retryAfterMs: null }
const DELIVERED: AttemptResult = { ...facts, outcome: 'delivered', error: null }
const REFUSED: AttemptResult = { ...facts, outcome: 'refused', error: 'no' }

let circuits: CircuitBreakers
/** Attempts that were really made. */
let sent = 0

beforeEach(() => {
  vi.useFakeTimers()
  circuits = createCircuitBreakers(silentLogger)
  sent = 0
})
afterEach(() => {
  circuits.close()
  vi.useRealTimers()
})

function attempt(delivery: string, result: AttemptResult, destination = 'dst_1') {
  return circuits.run(destination, delivery, async () => {
    sent += 1
    return result
  })
}

async function fail(count: number, deliveries: number, destination = 'dst_1'): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    await attempt(`dlv_${index % deliveries}`, REFUSED, destination)
  }
}

const open = () => fail(11, 3)

describe('a circuit opens', () => {
  it('when more than ten attempts failed, of three deliveries, and not before', async () => {
    await fail(10, 3)
    expect(circuits.holdMs('dst_1')).toBe(0)
    await fail(1, 1)
    expect(circuits.holdMs('dst_1')).toBe(30_000)
    expect(circuits.states()).toEqual({ closed: 0, open: 1, half_open: 0 })
  })

  it('never by the failures of one delivery, or of two', async () => {
    await fail(60, 1)
    await fail(60, 2)
    expect(circuits.holdMs('dst_1')).toBe(0)
  })

  it('only when at least half of the attempts failed', async () => {
    for (let count = 0; count < 12; count += 1) await attempt('dlv_ok', DELIVERED)
    await fail(11, 3)
    expect(circuits.holdMs('dst_1')).toBe(0)
    await fail(1, 1)
    expect(circuits.holdMs('dst_1')).toBe(30_000)
  })

  it('only for failures within 60 s', async () => {
    await fail(10, 3)
    await vi.advanceTimersByTimeAsync(61_000)
    await fail(10, 3)
    expect(circuits.holdMs('dst_1')).toBe(0)
  })

  it('only for deliveries that failed within 60 s', async () => {
    await fail(2, 2)
    await vi.advanceTimersByTimeAsync(61_000)
    for (let count = 0; count < 20; count += 1) await attempt('dlv_9', REFUSED)
    expect(circuits.holdMs('dst_1')).toBe(0)
  })

  it('for its own destination alone', async () => {
    await open()
    expect(circuits.holdMs('dst_2')).toBe(0)
    expect(await attempt('dlv_1', DELIVERED, 'dst_2')).toBe(DELIVERED)
  })

  it('never by one delivery whose attempts take so long that they end in another window', async () => {
    for (let count = 0; count < 40; count += 1) {
      const result = circuits.run('dst_1', 'dlv_1', async () => {
        await new Promise((resolve) => setTimeout(resolve, 20_000))
        return REFUSED
      })
      await vi.advanceTimersByTimeAsync(50_000)
      expect(await result).toBe(REFUSED)
      expect(circuits.states().closed).toBe(1)
    }
  })
})

describe('an open circuit', () => {
  it('sends nothing before its pause is over, and says how long that is', async () => {
    await open()
    sent = 0
    await vi.advanceTimersByTimeAsync(29_000)
    expect(circuits.holdMs('dst_1')).toBe(1_000)
    expect(await attempt('dlv_1', DELIVERED)).toBe('held')
    expect(sent).toBe(0)
  })

  it('then lets exactly one attempt through', async () => {
    await open()
    await vi.advanceTimersByTimeAsync(30_000)
    expect(circuits.holdMs('dst_1')).toBe(0)
    expect(circuits.states().half_open).toBe(1)
    sent = 0
    const probe = Promise.withResolvers<AttemptResult>()
    const probing = circuits.run('dst_1', 'dlv_1', () => {
      sent += 1
      return probe.promise
    })
    const others = Array.from({ length: 50 }, (_, index) => attempt(`dlv_${index}`, DELIVERED))
    expect(await Promise.all(others)).toEqual(Array(50).fill('held'))
    expect(circuits.holdMs('dst_1')).toBe(2_000)
    expect(sent).toBe(1)
    probe.resolve(DELIVERED)
    expect(await probing).toBe(DELIVERED)
    expect(circuits.holdMs('dst_1')).toBe(0)
    expect(circuits.states()).toEqual({ closed: 1, open: 0, half_open: 0 })
  })

  it('waits twice as long after each probe in vain, up to 15 minutes', async () => {
    await open()
    const pauses: number[] = []
    for (let round = 0; round < 8; round += 1) {
      const pauseMs = circuits.holdMs('dst_1')
      pauses.push(pauseMs / 1000)
      await vi.advanceTimersByTimeAsync(pauseMs - 1)
      expect(await attempt('dlv_1', REFUSED)).toBe('held')
      await vi.advanceTimersByTimeAsync(1)
      sent = 0
      expect(await attempt('dlv_1', REFUSED)).toBe(REFUSED)
      expect(sent).toBe(1)
    }
    expect(pauses).toEqual([30, 60, 120, 240, 480, 900, 900, 900])
  })

  it('starts again with the first pause once it was closed', async () => {
    await open()
    await vi.advanceTimersByTimeAsync(30_000)
    await attempt('dlv_1', REFUSED)
    expect(circuits.holdMs('dst_1')).toBe(60_000)
    await vi.advanceTimersByTimeAsync(60_000)
    await attempt('dlv_1', DELIVERED)
    await vi.advanceTimersByTimeAsync(61_000)
    await open()
    expect(circuits.holdMs('dst_1')).toBe(30_000)
    await vi.advanceTimersByTimeAsync(30_000)
    expect(circuits.states().half_open).toBe(1)
  })

  it('is not closed by an attempt that began before it opened', async () => {
    const slow = Promise.withResolvers<AttemptResult>()
    const early = circuits.run('dst_1', 'dlv_early', () => slow.promise)
    await open()
    slow.resolve(DELIVERED)
    expect(await early).toBe(DELIVERED)
    expect(circuits.holdMs('dst_1')).toBe(30_000)
  })
})

describe('the breakers', () => {
  it('pass on what an attempt throws, rather than take it for a full circuit', async () => {
    const fault = new TypeError('a bug')
    await expect(circuits.run('dst_1', 'dlv_1', () => Promise.reject(fault))).rejects.toBe(fault)
  })

  it('keep no timer once they are closed', async () => {
    await open()
    await fail(11, 3, 'dst_2')
    circuits.close()
    expect(vi.getTimerCount()).toBe(0)
  })
})
