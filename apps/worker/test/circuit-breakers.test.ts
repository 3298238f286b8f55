import { setTimeout as sleep } from 'node:timers/promises'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  DELIVERED,
  type FleetMember,
  OUR_FAULT,
  openCircuit,
  REFUSED,
  startFleet,
} from './circuit-fleet-bench.ts'

const WORKERS = 4
const TIMEOUT_MS = 5_000

let redis: OwnRedis
let fleet: FleetMember[]
/** Requests that were really made, with the time. */
let sentAtMs: number[]

beforeAll(async () => {
  redis = await startOwnRedis()
})
afterAll(() => redis.stop())
beforeEach(async () => {
  await redis.flushAll()
  sentAtMs = []
  fleet = await startFleet(WORKERS, { redisUrl: redis.url })
})
afterEach(async () => {
  await Promise.all(fleet.map((member) => member.close()))
})

const member = (index: number): FleetMember => fleet[index] as FleetMember
const isOpen = ({ circuits }: FleetMember, id = 'dst_1'): boolean => circuits.holdMs(id) > 0
const all = (states: FleetMember[], state: 'open' | 'half_open' | 'closed'): boolean =>
  states.every(({ circuits }) => circuits.states()[state] === 1)

function sendsInMs(ms: number, result: AttemptResult): () => Promise<AttemptResult> {
  return async () => {
    sentAtMs.push(performance.now())
    await sleep(ms)
    return result
  }
}

function waitUntil(condition: () => boolean, what: string): Promise<unknown> {
  return waitFor(condition, { timeoutMs: TIMEOUT_MS, everyMs: 5, what })
}

/** Tries every few ms on all workers, as deliveries that wake up do, until the time is up. */
async function keepTrying(forMs: number, result: () => Promise<AttemptResult>): Promise<void> {
  const untilMs = performance.now() + forMs
  while (performance.now() < untilMs) {
    await Promise.all(fleet.map((one, index) => one.attempt(`dlv_${index}`, result)))
    await sleep(5)
  }
}

describe('failures are counted over the whole fleet', () => {
  it('so that eleven of three deliveries open the circuit, whichever workers saw them', async () => {
    for (let count = 0; count < 10; count += 1) {
      await member(count % WORKERS).attempt(`dlv_${count % 3}`, REFUSED)
    }
    expect(fleet.some((one) => isOpen(one))).toBe(false)
    await member(0).attempt('dlv_0', REFUSED)
    await waitUntil(() => fleet.every((one) => isOpen(one)), 'all to know')
    expect(fleet.flatMap(({ changes }) => changes)).toMatchObject([
      { destinationId: 'dst_1', kind: 'opened', pauseMs: 500 },
    ])
  })

  it('and those of two deliveries never open it', async () => {
    for (let count = 0; count < 60; count += 1) {
      await member(count % WORKERS).attempt(`dlv_${count % 2}`, REFUSED)
    }
    expect(fleet.some((one) => isOpen(one))).toBe(false)
  })

  it('and so are successes, of workers that saw nothing else', async () => {
    for (let count = 0; count < 20; count += 1) await member(1).attempt('dlv_ok', DELIVERED)
    for (let count = 0; count < 19; count += 1) {
      await member(0).attempt(`dlv_${count % 3}`, REFUSED)
    }
    expect(isOpen(member(0))).toBe(false)
    await member(0).attempt('dlv_0', REFUSED)
    expect(isOpen(member(0))).toBe(true)
  })

  it('and what is our own fault is not', async () => {
    for (let count = 0; count < 60; count += 1) {
      await member(count % WORKERS).attempt(`dlv_${count}`, OUR_FAULT)
    }
    expect(fleet.some((one) => isOpen(one))).toBe(false)
  })

  it('for each destination alone', async () => {
    await openCircuit(member(0))
    expect(isOpen(member(0), 'dst_2')).toBe(false)
    expect(await member(0).attempt('dlv_1', DELIVERED, 'dst_2')).toBe(DELIVERED)
  })
})

it.each([
  ['fails at once', 0],
  ['fails after a while', 100],
])(
  'a destination that %s gets less than 100 requests of 4 workers with 200 slots each',
  async (_how, ms) => {
    const tried = fleet.flatMap((one, worker) =>
      Array.from({ length: 200 }, (_, index) =>
        one.attempt(`dlv_${worker}_${index}`, sendsInMs(ms, REFUSED)),
      ),
    )
    const results = await Promise.all(tried)
    // 8 under way in each worker, and one more for each failure but the last that was not yet one too many.
    expect(sentAtMs.length).toBeLessThanOrEqual(WORKERS * 8 + 10)
    expect(sentAtMs.length).toBeGreaterThan(10)
    expect(results.filter((result) => result === 'held')).toHaveLength(800 - sentAtMs.length)
    await waitUntil(() => all(fleet, 'open'), 'all to know')
  },
)

describe('an opening', () => {
  it('is known to every worker within 100 ms', async () => {
    const opened = openCircuit(member(0))
    await waitUntil(() => isOpen(member(0)), 'the first to know')
    const openedAtMs = performance.now()
    await waitUntil(() => fleet.every((one) => isOpen(one)), 'all to know')
    expect(performance.now() - openedAtMs).toBeLessThan(100)
    await opened
  })
})

describe('an open circuit', () => {
  it('lets nothing through before its probe is due, then one request of the whole fleet, and twice as late the next', async () => {
    await openCircuit(member(0))
    await waitUntil(() => fleet.every((one) => isOpen(one)), 'all to know')
    const startMs = performance.now()
    await keepTrying(1_900, sendsInMs(20, REFUSED))
    const offsets = sentAtMs.map((atMs) => atMs - startMs)
    expect(offsets).toHaveLength(2)
    expect(offsets[0]).toBeGreaterThan(400)
    expect(offsets[0]).toBeLessThan(700)
    expect((offsets[1] ?? 0) - (offsets[0] ?? 0)).toBeGreaterThanOrEqual(1_000)
    const kinds = fleet.flatMap(({ changes }) => changes).toSorted((a, b) => a.atMs - b.atMs)
    expect(kinds.map(({ kind, pauseMs }) => [kind, pauseMs])).toEqual([
      ['opened', 500],
      ['probe_failed', 1_000],
      ['probe_failed', 2_000],
    ])
  })

  it('is half open for all while it is probed, and closed for all when that succeeds', async () => {
    await openCircuit(member(0))
    await waitUntil(() => all(fleet, 'open'), 'all to know')
    const probe = Promise.withResolvers<AttemptResult>()
    await waitUntil(() => fleet.every((one) => !isOpen(one)), 'the probe to be due')
    const probing = member(2).attempt('dlv_probe', () => probe.promise)
    await waitUntil(() => all(fleet, 'half_open'), 'all to know of the probe')
    const held = await Promise.all(fleet.map((one) => one.attempt('dlv_other', DELIVERED)))
    expect(held).toEqual(Array(WORKERS).fill('held'))
    probe.resolve(DELIVERED)
    expect(await probing).toBe(DELIVERED)
    await waitUntil(() => fleet.every((one) => one.circuits.states().open === 0), 'all to close')
    await waitUntil(() => fleet.every((one) => one.circuits.states().half_open === 0), 'it')
    expect(await member(0).attempt('dlv_other', DELIVERED)).toBe(DELIVERED)
    expect(member(2).changes).toMatchObject([{ kind: 'closed', nextProbeAtMs: null }])
  })

  it('is not made to wait longer by a probe that failed by our own fault', async () => {
    await openCircuit(member(0))
    await waitUntil(() => fleet.every((one) => !isOpen(one)), 'the probe to be due')
    expect(await member(0).attempt('dlv_1', OUR_FAULT)).toBe(OUR_FAULT)
    expect(member(0).circuits.holdMs('dst_1')).toBeGreaterThan(4_000)
    expect(member(0).circuits.holdMs('dst_1')).toBeLessThanOrEqual(5_000)
    expect(member(0).changes.map(({ kind }) => kind)).toEqual(['opened'])
  })
})

describe('deliveries that wait', () => {
  it('have a turn of their own each, over the whole fleet: one at the probe, then more and more', async () => {
    await openCircuit(member(0))
    await waitUntil(() => fleet.every((one) => isOpen(one)), 'all to know')
    const destination = { id: 'dst_1', rateLimitPerSecond: null }
    const turns = await Promise.all(
      Array.from({ length: 400 }, (_, index) =>
        member(index % WORKERS).circuits.turnMs(destination),
      ),
    )
    const base = Math.min(...turns)
    expect(base).toBeLessThan(550)
    const perSecond = Array.from(
      { length: 9 },
      (_, second) => turns.filter((ms) => Math.floor((ms - base) / 1000 + 0.001) === second).length,
    )
    expect(perSecond[0]).toBeLessThanOrEqual(2)
    for (let second = 1; second < 9; second += 1) {
      expect(perSecond[second]).toBeLessThanOrEqual(2 * (perSecond[second - 1] ?? 0) + 2)
    }
    expect(perSecond.reduce((sum, count) => sum + count, 0)).toBe(400)
  })

  it('cost one command for many turns', async () => {
    await openCircuit(member(0))
    const before = await member(0).countScripts()
    const destination = { id: 'dst_1', rateLimitPerSecond: 10 }
    await Promise.all(Array.from({ length: 400 }, () => member(0).circuits.turnMs(destination)))
    expect((await member(0).countScripts()) - before).toBeLessThanOrEqual(2)
  })
})

it('a success costs no command', async () => {
  const before = await member(0).countScripts()
  for (let count = 0; count < 2_000; count += 1) await member(0).attempt('dlv_1', DELIVERED)
  expect((await member(0).countScripts()) - before).toBe(0)
})
