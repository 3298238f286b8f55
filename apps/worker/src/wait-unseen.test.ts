import { silentLogger } from '@switchhook/core/log'
import { openDatabase } from '@switchhook/core/store/database'
import type { DeliveryProgress } from '@switchhook/core/store/owed-deliveries'
import { describe, expect, it } from 'vitest'
import { createDeliverBench, NOW_MS } from '../test/deliver-bench.ts'
import { RECEIVED_AT_MS, sampleDestination, sampleJob } from '../test/sample-delivery.ts'
import type { DeliverDeps } from './deliver.ts'
import type { Gates } from './gates.ts'
import { createLookUps } from './look-ups.ts'

const requeued = sampleJob({ requeued: true })
const cancelled: DeliveryProgress = {
  ...{ state: 'cancelled', attempts: 0, fallbackAtMs: null, reason: null },
}

/** Notes each look into Postgres. */
function createBench(overrides: Partial<DeliverDeps> = {}) {
  const looks: string[] = []
  const findProgress = async ({ deliveryId }: { deliveryId: string }) => {
    looks.push(deliveryId)
    return cancelled
  }
  return { looks, ...createDeliverBench({ findProgress, ...overrides }) }
}

const go = { kind: 'go', slot: { settle() {}, giveBack() {} } } as const
const gatesWith = (own: Partial<Gates>): Gates => ({
  ...{ check: async () => undefined, takeSlot: async () => go, queueIfFull: () => undefined },
  ...own,
})
const openCircuit = {
  ...{ holdMs: () => 30_000, heldSinceMs: () => NOW_MS - 1_000, turnMs: async () => 31_000 },
  run: async () => 'held' as const,
}

describe('a requeued delivery that only has to wait', () => {
  it('is not looked for: for a slot, or behind an open circuit', async () => {
    const full = createBench({ gates: gatesWith({ queueIfFull: () => 2_500 }) })
    expect(await full.run({ data: requeued, lane: 'slow' })).toEqual({
      ...{ kind: 'defer', delayMs: 2_500 },
    })
    const held = createBench({ circuits: openCircuit })
    expect(await held.run({ data: requeued })).toMatchObject({ kind: 'defer' })
    for (const bench of [full, held]) {
      expect(bench.looks).toEqual([])
      expect(bench.happened).toEqual([])
    }
  })

  it('is looked for at once when it was interrupted, or taken away while a worker had it', async () => {
    const data = { ...requeued, removed: true }
    for (const run of [{ data }, { data: requeued, interrupted: true }]) {
      const bench = createBench({ circuits: openCircuit })
      expect(await bench.run(run)).toEqual({ kind: 'done' })
      expect(bench.looks).toEqual([data.deliveryId])
    }
  })
})

describe('a requeued delivery that waits for long', () => {
  it('is looked for at every fourth wait, and in a pause at each', async () => {
    const held = createBench({ circuits: openCircuit })
    const steps = []
    for (let waits = 0; waits < 4; waits += 1) {
      steps.push((await held.run({ data: requeued, waits })).kind)
    }
    expect(steps).toEqual(['defer', 'defer', 'defer', 'done'])
    const destination = sampleDestination({ status: 'paused' })
    const paused = createBench({ findDestination: async () => destination })
    expect(await paused.run({ data: requeued })).toEqual({ kind: 'done' })
    expect([...held.looks, ...paused.looks]).toEqual([requeued.deliveryId, requeued.deliveryId])
  })
})

describe('a delivery that Postgres cannot be asked of', () => {
  const away = { isUp: () => false, reportFailure: () => undefined, stop: () => undefined }
  // Connects only when it is used.
  const options = { applicationName: 'test', maxConnections: 1, queryTimeoutMs: 1 }
  const { pool } = openDatabase({ ...options, url: 'postgres://127.0.0.1:1/none' }, silentLogger)
  const { findProgress } = createLookUps(pool, away, { length: async () => 0 })

  it('waits a little for the answer, whether it was requeued or interrupted, and is sent then', async () => {
    const bench = createDeliverBench({ findProgress })
    for (const run of [{ data: requeued }, { run: 2, interrupted: true }]) {
      const steps = []
      for (let waits = 0; waits < 3; waits += 1) steps.push(await bench.run({ ...run, waits }))
      expect(steps).toEqual(Array(3).fill({ kind: 'defer', delayMs: 5_000 }))
      expect(bench.happened.splice(0)).toEqual([])
      await bench.run({ ...run, waits: 3 })
      expect(bench.happened.splice(0)).toContain('sent')
    }
  })

  it('waits on when it was taken away', async () => {
    const bench = createDeliverBench({ findProgress })
    expect(await bench.run({ data: { ...requeued, removed: true }, waits: 100 })).toEqual({
      ...{ kind: 'defer', delayMs: 5_000 },
    })
    expect(bench.happened).toEqual([])
  })
})

describe('a requeued delivery', () => {
  it('is looked for before it is sent, and before it is given up or ended', async () => {
    const overdue = {
      nowMs: () => RECEIVED_AT_MS + 86_400_000,
      circuits: { ...openCircuit, heldSinceMs: () => RECEIVED_AT_MS },
    }
    const disabled = sampleDestination({ status: 'disabled', disabledReason: 'It was failing.' })
    const expired = { kind: 'expired' } as const
    for (const deps of [
      {},
      overdue,
      { findDestination: async () => disabled },
      { findDestination: async () => undefined },
      { gates: gatesWith({ check: async () => expired }) },
    ]) {
      const bench = createBench(deps)
      await bench.run({ data: requeued })
      expect(bench.looks).toEqual([requeued.deliveryId])
      expect(bench.happened.filter((what) => what !== 'recorded cancelled')).toEqual([])
    }
  })
})
