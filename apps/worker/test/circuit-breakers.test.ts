import { setTimeout as sleep } from 'node:timers/promises'
import type { SharedCircuits } from '@switchhook/core/circuits'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  DELIVERED,
  type FleetMember,
  type FleetMemberOptions,
  OUR_FAULT,
  openCircuit,
  REFUSED,
  startFleet,
} from './circuit-fleet-bench.ts'

const WORKERS = 4
const TIMEOUT_MS = 20_000
/** Of a circuit that is to be probed; of the others none is due while a test runs. */
const PROBED = { firstPauseMs: 500, maxPauseMs: 8_000 }

let redis: OwnRedis
let fleet: FleetMember[] = []
/** Requests that were really made, with the time. */
let sentAtMs: number[]

beforeAll(async () => {
  redis = await startOwnRedis({ settings: { appendonly: 'no' } })
})
afterAll(() => redis.stop())
beforeEach(async () => {
  await redis.flushAll()
  sentAtMs = []
  await start()
})
afterEach(stop)

/** In place of the fleet there is. */
async function start(options: Partial<FleetMemberOptions> = {}): Promise<void> {
  await stop()
  fleet = await startFleet(WORKERS, { redisUrl: redis.url, ...options })
}

async function stop(): Promise<void> {
  await Promise.all(fleet.splice(0).map((member) => member.close()))
}

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

/** Tries every few ms on all workers, as deliveries that wake up do, until it is done. */
async function keepTrying(isDone: () => boolean, result: () => Promise<AttemptResult>) {
  while (!isDone()) {
    await Promise.all(fleet.map((one, index) => one.attempt(`dlv_${index}`, result)))
    await sleep(5)
  }
}

/** Scripts that Redis runs meanwhile. */
async function countScripts(work: () => Promise<unknown>): Promise<number> {
  const count = () => member(0).countScripts()
  let before = -1
  const isQuiet = async () => {
    const last = before
    before = await count()
    return before === last
  }
  // A worker that may have missed a change looks for it within a second.
  await waitFor(isQuiet, { timeoutMs: TIMEOUT_MS, everyMs: 1_500, what: 'the fleet to be quiet' })
  await work()
  return (await count()) - before
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
      { destinationId: 'dst_1', kind: 'opened', pauseMs: 60_000 },
    ])
  })

  it('and those of two deliveries never open it', async () => {
    for (let count = 0; count < 60; count += 1) {
      await member(count % WORKERS).attempt(`dlv_${count % 2}`, REFUSED)
    }
    expect(fleet.some((one) => isOpen(one))).toBe(false)
  })

  it('and so are successes, of workers that saw nothing else', async () => {
    // The others have 25 ms to tell theirs. Here they have the time that a machine needs that stands still.
    const told = Promise.withResolvers<void>()
    const intercept = (shared: SharedCircuits): SharedCircuits => ({
      ...shared,
      async report(reports, firstPauseMs) {
        const isAskedAgain = reports.every(
          ({ failedDelivery, successes }) => failedDelivery === '' && successes.length === 0,
        )
        if (isAskedAgain) await Promise.race([told.promise, isLate])
        const answer = await shared.report(reports, firstPauseMs)
        if (reports.some(({ successes }) => successes.length > 0)) told.resolve()
        return answer
      },
    })
    await start({ intercept })
    const isLate = sleep(10_000, undefined, { ref: false })
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
    // Of eleven the middle one: a machine that stands still now and then makes a few of them late.
    const tookMs: number[] = []
    for (let count = 0; count < 11; count += 1) {
      const id = `dst_${count}`
      const opened = openCircuit(member(0), id)
      await waitUntil(() => isOpen(member(0), id), 'the first to know')
      const openedAtMs = performance.now()
      await waitUntil(() => fleet.every((one) => isOpen(one, id)), 'all to know')
      tookMs.push(performance.now() - openedAtMs)
      await opened
    }
    expect(tookMs.toSorted((one, other) => one - other)[5]).toBeLessThan(100)
  })
})

describe('an open circuit', () => {
  it('lets nothing through before its probe is due, then one request of the whole fleet, and twice as late the next', async () => {
    await start(PROBED)
    const startMs = performance.now()
    await openCircuit(member(0))
    await waitUntil(() => all(fleet, 'open'), 'all to know')
    const changes = () => fleet.flatMap((one) => one.changes)
    await keepTrying(() => changes().length >= 3, sendsInMs(20, REFUSED))
    const [first = 0, second = 0] = sentAtMs
    expect(sentAtMs).toHaveLength(2)
    expect(first - startMs).toBeGreaterThanOrEqual(500)
    expect(second - first).toBeGreaterThanOrEqual(1_000)
    const inOrder = changes().toSorted((a, b) => a.atMs - b.atMs)
    expect(
      inOrder.map(({ kind, pauseMs, atMs, nextProbeAtMs }) => [
        ...[kind, pauseMs, (nextProbeAtMs ?? 0) - atMs],
      ]),
    ).toEqual([
      ['opened', 500, 500],
      ['probe_failed', 1_000, 1_000],
      ['probe_failed', 2_000, 2_000],
    ])
  })

  it('is half open for all while it is probed, and closed for all when that succeeds', async () => {
    await start(PROBED)
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
    await start(PROBED)
    await openCircuit(member(0))
    await waitUntil(() => !isOpen(member(0)), 'the probe to be due')
    const probedMs = performance.now()
    expect(await member(0).attempt('dlv_1', OUR_FAULT)).toBe(OUR_FAULT)
    const holdMs = member(0).circuits.holdMs('dst_1')
    expect(performance.now() + holdMs).toBeGreaterThanOrEqual(probedMs + 5_000)
    expect(holdMs).toBeLessThanOrEqual(5_000)
    expect(member(0).changes.map(({ kind }) => kind)).toEqual(['opened'])
  })
})

describe('deliveries that wait', () => {
  const destination = { id: 'dst_1', rateLimitPerSecond: null }

  it('have their turns from the probe on', async () => {
    await start(PROBED)
    const startMs = performance.now()
    await openCircuit(member(0))
    const turnMs = await member(0).circuits.turnMs(destination)
    expect(performance.now() + turnMs).toBeGreaterThanOrEqual(startMs + 500)
    expect(turnMs).toBeLessThan(550)
  })

  it('have a turn of their own each, over the whole fleet: one at the probe, then more and more', async () => {
    await start(PROBED)
    await openCircuit(member(0))
    await waitUntil(() => all(fleet, 'open'), 'all to know')
    // From then on a turn does not depend on when it is asked for.
    const isDue = ({ circuits }: FleetMember) => circuits.heldSinceMs('dst_1') === undefined
    await waitUntil(() => fleet.every(isDue), 'the probe to be due')
    const turns = await Promise.all(
      Array.from({ length: 400 }, (_, index) =>
        member(index % WORKERS).circuits.turnMs(destination),
      ),
    )
    const base = Math.min(...turns)
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
    await waitUntil(() => all(fleet, 'open'), 'all to know')
    const limited = { id: 'dst_1', rateLimitPerSecond: 10 }
    const ask = () =>
      Promise.all(Array.from({ length: 400 }, () => member(0).circuits.turnMs(limited)))
    expect(await countScripts(ask)).toBeLessThanOrEqual(2)
  })
})

it('a success costs no command', async () => {
  const succeed = async () => {
    for (let count = 0; count < 2_000; count += 1) await member(0).attempt('dlv_1', DELIVERED)
  }
  expect(await countScripts(succeed)).toBe(0)
})
