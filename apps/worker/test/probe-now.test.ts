import {
  type OpenCircuit,
  openSharedCircuits,
  subscribeToCircuits,
} from '@switchhook/core/circuits'
import { turnOffsetMs } from '@switchhook/core/circuits-turn'
import type { Destination } from '@switchhook/core/event'
import { silentLogger } from '@switchhook/core/log'
import { createParkedDeliveries } from '@switchhook/core/parked-deliveries'
import { openQueues, type Queues, startDeliveryConsumer } from '@switchhook/core/queue'
import { closeRedis, openRedis, type RedisConnection } from '@switchhook/core/redis'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { createCircuitBreakers } from '../src/circuit-breakers.ts'
import { createGates } from '../src/gates.ts'
import { startResumingParked } from '../src/resume-parked.ts'
import { createSlots } from '../src/slots.ts'
import { PATIENCE_MS } from './circuit-fleet-bench.ts'
import { createDeliverBench, DELIVERED, REFUSED } from './deliver-bench.ts'
import { sampleDestination, sampleJob } from './sample-delivery.ts'

vi.setConfig({ testTimeout: 90_000 })

const ID = 'dst_sample'
/** Longer than any of these tests. */
const PAUSE_MS = 300_000
const PATIENCE = { timeoutMs: 60_000, everyMs: 20 }

let redis: OwnRedis
let connection: RedisConnection
let queues: Queues
let toClose: (() => Promise<unknown>)[]
let destination: Destination
/** How often each worker looked at the destination while its circuit was open. */
let looks: number[]
let sent: { readonly url: string; readonly atMs: number }[]
let answers: (url: string) => typeof DELIVERED

beforeAll(async () => {
  redis = await startOwnRedis({ settings: { appendonly: 'no' } })
})
afterAll(() => redis.stop())

const open = (kind: 'answering' | 'working'): RedisConnection => {
  const profile = kind === 'working' ? { kind } : { kind, commandTimeoutMs: 20_000 }
  const opened = openRedis({ url: redis.url, clusterNodes: [] }, profile, silentLogger)
  toClose.push(() => closeRedis(opened))
  return opened
}

beforeEach(async () => {
  await redis.flushAll()
  toClose = []
  connection = open('answering')
  await waitFor(() => connection.ping(), { ...PATIENCE, what: 'Redis' })
  queues = openQueues(connection, 1, silentLogger)
  toClose.push(() => queues.close())
  const retry = { maxAttempts: 10, delaysSeconds: [3600], jitter: false }
  destination = sampleDestination({ url: 'https://old.example/', retry })
  looks = []
  sent = []
  answers = () => DELIVERED
})
afterEach(async () => {
  for (const close of toClose.toReversed()) await close()
})

/** A whole worker but for Postgres and the network. */
function startWorker(worker: number) {
  const shared = openSharedCircuits(connection)
  const circuits = createCircuitBreakers({
    ...{ shared, firstPauseMs: PAUSE_MS, maxPauseMs: PAUSE_MS, log: silentLogger },
    answerTimeoutMs: PATIENCE_MS,
    subscribe: (hear) => subscribeToCircuits(open('working'), hear),
    onChange: () => undefined,
  })
  const parked = createParkedDeliveries(connection, queues)
  const chance = { nowMs: Date.now, random: () => 0.5 }
  const bench = createDeliverBench({
    ...{ ...chance, circuits, findDestination: async () => destination },
    gates: createGates({
      ...{ ...chance, parked },
      slots: createSlots({ ...chance, concurrency: 100, shareOf: () => 50 }),
      fleet: { shareOf: () => 50, lease: async () => undefined },
      rateLimits: { waitMs: async () => 0 },
    }),
    async post({ url }) {
      sent.push({ url, atMs: performance.now() })
      return answers(url)
    },
  })
  const consumer = startDeliveryConsumer(
    { connection: open('working'), concurrency: 20, shards: 1, lockMs: 30_000, log: silentLogger },
    bench.run,
  )
  const stopResuming = startResumingParked({
    ...{ parked, circuits, queues, probeNow: shared.probeNow, log: silentLogger },
    findDestination() {
      looks[worker] = (looks[worker] ?? 0) + 1
      return destination
    },
  })
  toClose.push(async () => {
    await stopResuming()
    await consumer.stop(20_000)
    circuits.close()
  })
  return circuits
}

async function startFleet() {
  const fleet = [startWorker(0), startWorker(1)] as const
  await Promise.all(fleet.map((circuits) => circuits.waitUntilLoaded()))
  for (let count = 0; count < 11; count += 1) {
    await fleet[0].run({ id: ID, timeoutMs: 1_000 }, `dlv_x${count % 3}`, async () => REFUSED)
  }
  const isOpen = () => fleet.every((circuits) => circuits.holdMs(ID) > 0)
  await waitFor(isOpen, { ...PATIENCE, what: 'the circuit to be open for all' })
  return fleet
}

async function totalOf(state: 'delayed' | 'active' | 'waiting'): Promise<number> {
  return [...(await queues.counts()).values()].reduce((sum, counts) => sum + counts[state], 0)
}

async function addWaiting(howMany: number): Promise<void> {
  for (let index = 0; index < howMany; index += 1) {
    await queues.addDelivery(sampleJob({ deliveryId: `dlv_${index}`, createdAtMs: Date.now() }))
  }
  const isHeld = async () => (await totalOf('delayed')) === howMany
  await waitFor(isHeld, { ...PATIENCE, what: 'all to wait' })
  expect(sent).toEqual([])
}

/** Until every worker knows it as it is now. */
async function waitUntilSeen(): Promise<void> {
  const before = [...looks]
  const isSeen = () => [0, 1].every((worker) => (looks[worker] ?? 0) >= (before[worker] ?? 0) + 3)
  await waitFor(isSeen, { ...PATIENCE, what: 'all to look' })
}

const waitUntilSent = (howMany: number) =>
  waitFor(() => sent.length >= howMany, { ...PATIENCE, what: `${howMany} requests` })

describe('an open circuit', () => {
  it('is probed at once when its destination gets another URL, and what waited follows, not as a burst', async () => {
    await startFleet()
    await addWaiting(30)
    await waitUntilSeen()
    const changedAtMs = performance.now()
    destination = { ...destination, url: 'https://new.example/' }
    await waitUntilSent(30)
    expect(sent.map(({ url }) => url)).toEqual(Array(30).fill('https://new.example/'))
    for (const [turn, { atMs }] of sent.entries()) {
      expect(atMs - changedAtMs).toBeGreaterThanOrEqual(turnOffsetMs(turn, null) - 1)
    }
  })

  it('is probed at once when its destination is resumed: by what was parked, or what waited before', async () => {
    await startFleet()
    destination = { ...destination, status: 'paused' }
    await addWaiting(3)
    await waitUntilSeen()
    destination = { ...destination, status: 'active' }
    await waitUntilSent(3)
    expect(sent).toHaveLength(3)
  })

  it('is probed once for one change, however many workers see it, and again for the next', async () => {
    const [circuits] = await startFleet()
    await addWaiting(3)
    await waitUntilSeen()
    answers = (url) => (url.includes('good') ? DELIVERED : REFUSED)
    destination = { ...destination, url: 'https://bad.example/' }
    await waitUntilSent(1)
    await waitFor(() => circuits.states().open === 1, { ...PATIENCE, what: 'the probe to fail' })
    await waitUntilSeen()
    destination = { ...destination, url: 'https://good.example/' }
    // The one that was the probe has its retry in an hour.
    await waitUntilSent(3)
    const urls = sent.map(({ url }) => new URL(url).hostname)
    expect(urls).toEqual(['bad.example', 'good.example', 'good.example'])
  })
})

describe('asking for a probe', () => {
  const limits = { maxPauseMs: PAUSE_MS, unknownWaitMs: 5_000 }

  it('is answered once for the same change, later while one is under way, and never for a closed circuit', async () => {
    await startFleet()
    destination = { ...destination, status: 'paused' }
    const shared = openSharedCircuits(connection)
    const waiting = [{ lane: 'calls', deliveryId: 'dlv_1' }] as const
    await shared.takeTurns(new Map([[ID, { count: 1, deliveries: waiting }]]))
    expect(await shared.probeNow(ID, 'a')).toEqual({ kind: 'due', waiting })
    expect(await shared.probeNow(ID, 'a')).toEqual({ kind: 'known', waiting: [] })
    const probe = await shared.takeProbe(ID, 'lease', 10_000)
    expect(probe.kind).toBe('granted')
    expect(await shared.probeNow(ID, 'b')).toEqual({ kind: 'probed', waiting: [] })
    const { nextProbeAtMs: dueAtMs } = probe.circuit as OpenCircuit
    const failed = await shared.settleProbe(
      ID,
      { lease: 'lease', dueAtMs, outcome: 'failed' },
      limits,
    )
    expect(failed.circuit?.nextProbeAtMs).toBeGreaterThan(failed.nowMs + 1_000)
    expect(await shared.probeNow(ID, 'a')).toMatchObject({ kind: 'known' })
    expect(await shared.probeNow(ID, 'b')).toEqual({ kind: 'due', waiting: [] })
    expect(await shared.probeNow('dst_closed', 'a')).toEqual({ kind: 'closed', waiting: [] })
  })

  it('is remembered of the last 10,000 that wait, and of none when it has closed', async () => {
    await startFleet()
    destination = { ...destination, status: 'paused' }
    const shared = openSharedCircuits(connection)
    for (let from = 0; from < 10_500; from += 500) {
      const deliveries = Array.from({ length: 500 }, (_, index) => ({
        ...{ lane: 'messages' as const, deliveryId: `dlv_${10_000 + from + index}` },
      }))
      await shared.takeTurns(new Map([[ID, { count: 500, deliveries }]]))
    }
    const key = `{switchhook:circuits}:waiting:${ID}`
    expect(await connection.zcard(key)).toBe(10_000)
    const { waiting } = await shared.probeNow(ID, 'a')
    expect(waiting).toHaveLength(10_000)
    expect(await connection.exists(key)).toBe(0)
    await shared.takeTurns(new Map([[ID, { count: 1, deliveries: waiting.slice(0, 1) }]]))
    const probe = await shared.takeProbe(ID, 'lease', 10_000)
    const { nextProbeAtMs: dueAtMs } = probe.circuit as OpenCircuit
    await shared.settleProbe(ID, { lease: 'lease', dueAtMs, outcome: 'delivered' }, limits)
    expect(await connection.exists(key)).toBe(0)
  })
})
