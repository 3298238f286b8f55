import { setTimeout as sleep } from 'node:timers/promises'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { type ChaosProxy, startChaosProxy } from '@switchhook/testing/chaos-proxy'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import {
  DELIVERED,
  type FleetMember,
  type FleetMemberOptions,
  openCircuit,
  REFUSED,
  startFleet,
} from './circuit-fleet-bench.ts'

let redis: OwnRedis
let proxy: ChaosProxy
let members: FleetMember[]

beforeAll(async () => {
  redis = await startOwnRedis({ settings: { appendonly: 'no' } })
  proxy = await startChaosProxy({ targetPort: Number(new URL(redis.url).port) })
})
afterAll(async () => {
  await proxy.stop()
  await redis.stop()
})
beforeEach(async () => {
  await redis.flushAll()
  proxy.mode('pass')
  members = []
})
afterEach(async () => {
  await Promise.all(members.map((member) => member.close()))
})

async function startMember(options: Partial<FleetMemberOptions> = {}): Promise<FleetMember> {
  const started = await startFleet(1, { redisUrl: redis.url, firstPauseMs: 30_000, ...options })
  members.push(...started)
  return started[0] as FleetMember
}

/** With Redis behind the proxy. */
function startProxied(options: Partial<FleetMemberOptions> = {}): Promise<FleetMember> {
  const redisUrl = `redis://127.0.0.1:${proxy.port}`
  return startMember({ redisUrl, subscriberUrl: redisUrl, ...options })
}

const knowsOpen = ({ circuits }: FleetMember): boolean => circuits.states().open === 1
const isDue = ({ circuits }: FleetMember): boolean => circuits.holdMs('dst_1') === 0

function waitUntil(condition: () => boolean, what: string): Promise<unknown> {
  return waitFor(condition, { timeoutMs: 20_000, everyMs: 5, what })
}

it('a worker that starts later knows what is open before its first attempt', async () => {
  await openCircuit(await startMember())
  const late = await startMember()
  expect(knowsOpen(late)).toBe(true)
  expect(await late.attempt('dlv_1', DELIVERED)).toBe('held')
})

it('a worker that lost its subscription learns of an opening within a second', async () => {
  const opener = await startMember()
  const deaf = await startMember({ subscriberUrl: `redis://127.0.0.1:${proxy.port}` })
  proxy.mode('blackhole')
  await openCircuit(opener)
  await waitUntil(() => knowsOpen(deaf), 'the deaf one to know')
})

it('when the prober dies its lease lapses, and another one probes', async () => {
  const options = { firstPauseMs: 300, timeoutMs: 3_000 }
  const dying = await startMember(options)
  const other = await startMember(options)
  await openCircuit(dying)
  await waitUntil(() => knowsOpen(other), 'the other one to know')
  await waitUntil(() => isDue(other) && isDue(dying), 'the probe to be due')
  void dying.attempt('dlv_dies', () => new Promise(() => undefined))
  await waitUntil(() => other.circuits.states().half_open === 1, 'the probe')
  await dying.close()
  expect(await other.attempt('dlv_1', DELIVERED)).toBe('held')
  // The attempt's 3 s and 2 s.
  await waitUntil(() => isDue(other), 'the lease to lapse')
  expect(await other.attempt('dlv_1', DELIVERED)).toBe(DELIVERED)
  expect(other.circuits.states()).toEqual({ closed: 1, open: 0, half_open: 0 })
})

it('when Redis forgets an open circuit it is closed, and opens again after as many failures', async () => {
  const member = await startMember()
  await openCircuit(member)
  expect(knowsOpen(member)).toBe(true)
  await redis.flushAll()
  await waitUntil(() => !knowsOpen(member), 'it to be forgotten')
  for (let count = 0; count < 10; count += 1) await member.attempt(`dlv_${count % 3}`, REFUSED)
  expect(knowsOpen(member)).toBe(false)
  await member.attempt('dlv_0', REFUSED)
  expect(knowsOpen(member)).toBe(true)
})

it.each(['blackhole', 'refuse'] as const)(
  'with Redis away (%s) a worker counts alone, bounded, and goes on delivering to others',
  async (mode) => {
    const member = await startMember()
    const alone = await startProxied({ firstPauseMs: 300, isImpatient: true })
    proxy.mode(mode)
    let sent = 0
    const refuse = async (): Promise<AttemptResult> => {
      sent += 1
      await sleep(1)
      return REFUSED
    }
    // Ticks, of which a machine that stands still misses some.
    let ticks = 0
    const ticking = setInterval(() => (ticks += 1), 100)
    await waitFor(
      async () => {
        const deliveries = Array.from({ length: 100 }, (_, index) => `dlv_${index}`)
        await Promise.all(deliveries.map((id) => alone.attempt(id, refuse)))
        return knowsOpen(alone)
      },
      { timeoutMs: 20_000, everyMs: 1, what: 'it to open alone' },
    )
    clearInterval(ticking)
    // Each failure waits half a second for Redis at most, and the first one for all.
    expect(ticks).toBeLessThan(50)
    expect(sent).toBeLessThanOrEqual(18)
    expect(await alone.attempt('dlv_1', DELIVERED, 'dst_2')).toBe(DELIVERED)
    expect(knowsOpen(member)).toBe(false)
    expect(alone.changes).toEqual([])

    // On a busy machine a probe may find that it is not due yet, and be held once more.
    await waitFor(async () => (await alone.attempt('dlv_1', DELIVERED)) === DELIVERED, {
      timeoutMs: 20_000,
      everyMs: 20,
      what: 'its probe',
    })
    expect(knowsOpen(alone)).toBe(false)
    proxy.mode('pass')
    // The first ones may be counted by this worker alone, too, should Redis be slow.
    await waitFor(() => openCircuit(member).then(() => knowsOpen(alone)), {
      ...{ timeoutMs: 20_000, what: 'it to hear of the others again' },
    })
  },
)
