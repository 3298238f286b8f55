import type { Destination } from '@switchhook/core/event'
import { describe, expect, it } from 'vitest'
import { RECEIVED_AT_MS, sampleDestination, sampleRun } from '../test/sample-delivery.ts'
import { createGates, type GatesDeps } from './gates.ts'
import { createSlots } from './slots.ts'

/** Gates on slots of their own; `share` of the cap, `rateWaitMs` from the rate limit. */
function createBench(overrides: Partial<GatesDeps> = {}) {
  const nowMs = () => RECEIVED_AT_MS + 1_000
  const parked: unknown[] = []
  const gates = createGates({
    ...{ nowMs, random: () => 0.5 },
    slots: createSlots({
      ...{ concurrency: 100, nowMs, random: () => 0.5, shareOf: (_id, cap) => cap },
    }),
    fleet: { shareOf: (_id, cap) => cap, lease: async () => undefined },
    rateLimits: { waitMs: async () => 0 },
    parked: {
      note: async (destinationId, delivery) => void parked.push({ destinationId, ...delivery }),
    },
    ...overrides,
  })
  return { gates, parked }
}

const destination = (facts: Partial<Destination> = {}) => sampleDestination(facts)

describe('a paused destination', () => {
  it('has its deliveries noted, to be woken up, and looks again ever more seldom', async () => {
    const { gates, parked } = createBench()
    const paused = destination({ status: 'paused' })
    const delays: number[] = []
    for (const waits of [0, 1, 2, 4, 5, 60]) {
      const held = await gates.check(paused, sampleRun({ waits, lane: 'calls' }))
      expect(held).toMatchObject({ kind: 'wait', reason: 'paused' })
      if (held?.kind === 'wait') delays.push(held.delayMs)
    }
    expect(delays).toEqual([15_000, 30_000, 60_000, 240_000, 300_000, 300_000])
    expect(parked[0]).toEqual({
      ...{ destinationId: 'dst_sample', deliveryId: 'dlv_sample' },
      ...{ lane: 'calls', createdAtMs: RECEIVED_AT_MS },
    })
  })
})

describe('freshness', () => {
  it('lets pass what is younger, and nothing that is older', async () => {
    const { gates } = createBench()
    expect(await gates.check(destination({ freshnessSeconds: 2 }), sampleRun())).toBeUndefined()
    expect(await gates.check(destination({ freshnessSeconds: 1 }), sampleRun())).toEqual({
      kind: 'expired',
    })
    expect(await gates.check(destination(), sampleRun())).toBeUndefined()
  })

  it('ends in a pause, too, and is looked at again in time there', async () => {
    const { gates } = createBench()
    const paused = (freshnessSeconds: number) => destination({ status: 'paused', freshnessSeconds })
    expect(await gates.check(paused(1), sampleRun())).toEqual({ kind: 'expired' })
    const held = await gates.check(paused(3), sampleRun())
    expect(held).toEqual({ kind: 'wait', reason: 'paused', delayMs: 2_001 })
  })

  it('is looked at again in time by what waits for a slot', async () => {
    const { gates } = createBench({ rateLimits: { waitMs: async () => 60_000 } })
    const held = await gates.takeSlot(destination({ freshnessSeconds: 3 }), sampleRun())
    expect(held).toEqual({ kind: 'wait', reason: 'rate', delayMs: 2_001 })
  })
})

describe('a slot', () => {
  it('is not kept by what has to wait for its turn, or when that cannot be asked', async () => {
    const serial = destination({ maxConcurrency: 1 })
    const answers = [
      async () => 500,
      () => Promise.reject(new Error('Redis is away')),
      async () => 0,
    ]
    const { gates } = createBench({
      rateLimits: { waitMs: () => (answers.shift() ?? answers[0] ?? (async () => 0))() },
    })
    expect(await gates.takeSlot(serial, sampleRun())).toMatchObject({
      reason: 'rate',
      delayMs: 500,
    })
    await expect(gates.takeSlot(serial, sampleRun())).rejects.toThrow('Redis is away')
    expect(await gates.takeSlot(serial, sampleRun())).toMatchObject({ kind: 'go' })
    expect(await gates.takeSlot(serial, sampleRun())).toMatchObject({
      kind: 'wait',
      reason: 'slot',
    })
  })

  it('that is not free is queued for without being taken, and one that is free is left', async () => {
    const { gates } = createBench()
    const serial = destination({ maxConcurrency: 1 })
    expect(gates.queueIfFull(serial, sampleRun())).toBeUndefined()
    const first = await gates.takeSlot(serial, sampleRun())
    if (first.kind !== 'go') throw new Error('no slot')
    expect(gates.queueIfFull(serial, sampleRun())).toBeGreaterThan(0)
    first.slot.giveBack()
    expect(gates.queueIfFull(serial, sampleRun({ waits: 1 }))).toBeUndefined()
  })

  it('of a destination with fewer than there are workers is one of all of theirs', async () => {
    const leases: string[] = []
    const { gates } = createBench({
      fleet: {
        shareOf: (_id, cap) => cap / 4,
        async lease() {
          if (leases.length > 0) return undefined
          leases.push('taken')
          return async () => void leases.push('given back')
        },
      },
    })
    const serial = destination({ maxConcurrency: 1 })
    const first = await gates.takeSlot(serial, sampleRun())
    if (first.kind !== 'go') throw new Error('no slot')
    expect(
      await gates.takeSlot(destination({ id: 'dst_2', maxConcurrency: 1 }), sampleRun()),
    ).toMatchObject({
      kind: 'wait',
      reason: 'slot',
    })
    first.slot.settle()
    first.slot.giveBack()
    expect(leases).toEqual(['taken', 'given back'])
  })
})
