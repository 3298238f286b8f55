import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { describe, expect, it } from 'vitest'
import { createDeliverBench, DELIVERED, NOW_MS, REFUSED } from '../test/deliver-bench.ts'
import { RECEIVED_AT_MS, sampleDestination, sampleJob } from '../test/sample-delivery.ts'
import type { Gates } from './gates.ts'

const open: Gates = {
  check: async () => undefined,
  takeSlot: async () => ({ kind: 'go', slot: { settle() {}, giveBack() {} } }),
  queueIfFull: () => undefined,
}

describe('a delivery that a gate holds back', () => {
  it('waits as long as it is told, at no attempt', async () => {
    const wait = { kind: 'wait', delayMs: 1_234 } as const
    for (const gates of [
      { ...open, check: async () => ({ ...wait, reason: 'paused' }) as const },
      { ...open, takeSlot: async () => ({ ...wait, reason: 'slot' }) as const },
    ]) {
      const bench = createDeliverBench({ gates })
      expect(await bench.run()).toEqual({ kind: 'defer', delayMs: 1_234 })
      expect(bench.happened).toEqual([])
    }
  })

  it('because it is too old ends as expired, without attempt and mail, and is counted', async () => {
    const findDestination = async () => sampleDestination({ freshnessSeconds: 1 })
    const bench = createDeliverBench({ findDestination, nowMs: () => RECEIVED_AT_MS + 1_000 })
    expect(await bench.run({ run: 2 })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['recorded expired'])
    expect(bench.records).toMatchObject([{ state: 'expired', attempts: 1, attempt: null }])
    expect(await bench.registry.metrics()).toContain(
      'switchhook_deliveries_total{state="expired"} 1',
    )
    const fresh = createDeliverBench({ findDestination, nowMs: () => RECEIVED_AT_MS + 999 })
    await fresh.run()
    expect(fresh.happened).toEqual(['sent', 'recorded delivered'])
  })

  it('waits no longer than until it is too old, for a retry or for an open circuit', async () => {
    const retry = { maxAttempts: 3, delaysSeconds: [60], jitter: false }
    const findDestination = async () => sampleDestination({ freshnessSeconds: 4, retry })
    const delayMs = 3_001 // it is a second old
    const refused = createDeliverBench({ findDestination, post: async () => REFUSED })
    expect(await refused.run()).toEqual({ kind: 'retry', delayMs })
    expect(refused.records).toMatchObject([{ state: 'pending', dueAtMs: NOW_MS + delayMs }])
    const circuit = {
      ...{ holdMs: () => 60_000, heldSinceMs: (): number | undefined => NOW_MS },
      ...{ turnMs: async () => 61_000, run: async () => 'held' as const },
    }
    for (const circuits of [
      circuit,
      { ...circuit, heldSinceMs: () => undefined },
      { ...circuit, holdMs: () => 0 },
    ]) {
      const held = createDeliverBench({ findDestination, circuits })
      expect(await held.run()).toEqual({ kind: 'defer', delayMs })
    }
    const atFault = { ...REFUSED, isOurFault: true } as const
    const own = createDeliverBench({ findDestination, post: async () => atFault })
    expect(await own.run({ waits: 5 })).toEqual({ kind: 'defer', delayMs })
  })

  it('by an open circuit has twice the first pause before its first attempt, however short its schedule', async () => {
    const circuits = {
      ...{ holdMs: () => 30_000, heldSinceMs: () => RECEIVED_AT_MS + 5_000 },
      ...{ turnMs: async () => 31_000, run: async () => 'held' as const },
    }
    const retry = { maxAttempts: 1, delaysSeconds: [], jitter: false }
    const at = (ageMs: number) =>
      createDeliverBench({
        ...{ circuits, firstAttemptGraceMs: 60_000, nowMs: () => RECEIVED_AT_MS + ageMs },
        findDestination: async () => sampleDestination({ retry }),
      })
    expect(await at(5_001).run()).toEqual({ kind: 'defer', delayMs: 31_000 })
    expect(await at(65_000).run()).toMatchObject({ kind: 'defer' })
    expect(await at(65_001).run()).toEqual({ kind: 'done' })
    // Once tried it has no more than its schedule.
    const findDestination = async () => sampleDestination({ retry: { ...retry, maxAttempts: 2 } })
    const tried = createDeliverBench({
      ...{ circuits, findDestination, firstAttemptGraceMs: 60_000 },
      nowMs: () => RECEIVED_AT_MS + 5_001,
    })
    expect(await tried.run({ run: 2 })).toEqual({ kind: 'done' })
  })

  it('because its destination is slow goes on in the slow lane, its attempts counted, and looks there first', async () => {
    const moved: DeliveryJob[] = []
    const bench = createDeliverBench({
      gates: { ...open, takeSlot: async () => ({ kind: 'slow_lane' }) as const },
      moveToSlowLane: async (job) => void moved.push(job),
    })
    const data = sampleJob({ priorAttempts: 2 })
    expect(await bench.run({ data, run: 1, lane: 'calls' })).toEqual({ kind: 'done' })
    expect(moved).toEqual([{ ...data, priorAttempts: 2, requeued: true }])
    expect(bench.happened).toEqual([])
  })
})

describe('a slot', () => {
  const noted: string[] = []
  const gates: Gates = {
    ...open,
    takeSlot: async () => ({
      kind: 'go',
      slot: {
        settle: () => void noted.push('settled'),
        giveBack: () => void noted.push('given back'),
      },
    }),
  }

  it('is free as soon as the answer is there, before the attempt is recorded', async () => {
    noted.length = 0
    const bench = createDeliverBench({
      ...{ gates, nowMs: () => NOW_MS },
      post: async () => {
        noted.push('sent')
        return DELIVERED
      },
      record: async () => void noted.push('recorded'),
    })
    await bench.run()
    expect(noted).toEqual(['sent', 'settled', 'recorded', 'given back'])
  })

  it('is given back when nothing could be sent', async () => {
    noted.length = 0
    const prepare = () => {
      throw new Error('no renderer')
    }
    await createDeliverBench({ gates, prepare }).run()
    expect(noted).toEqual(['given back'])
  })
})
