import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { describe, expect, it } from 'vitest'
import { createDeliverBench, DELIVERED, NOW_MS } from '../test/deliver-bench.ts'
import { RECEIVED_AT_MS, sampleDestination, sampleJob } from '../test/sample-delivery.ts'
import type { Gates } from './gates.ts'

const open: Gates = {
  check: async () => undefined,
  takeSlot: async () => ({ kind: 'go', slot: { settle() {}, giveBack() {} } }),
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
