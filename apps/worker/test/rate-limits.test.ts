import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger } from '@switchhook/core/log'
import { closeRedis, openRedis, type RedisConnection } from '@switchhook/core/redis'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRateLimits } from '../src/rate-limits.ts'

let redis: OwnRedis
let connection: RedisConnection

beforeAll(async () => {
  redis = await startOwnRedis()
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 2_000 }, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 5_000, what: 'Redis' })
})
afterAll(async () => {
  await closeRedis(connection)
  await redis.stop()
})

const limited = (id: string, rateLimitPerSecond: number | null) => ({ id, rateLimitPerSecond })

/** Waits as told, and `late` longer, until it may go; when that was, and how often it asked. */
async function go(
  destination: ReturnType<typeof limited>,
  deliveryId: string,
  late: (asked: number, waitMs: number) => number = () => 0,
) {
  const limits = createRateLimits(connection, () => 0.5)
  for (let asked = 1; ; asked += 1) {
    const waitMs = await limits.waitMs(destination, deliveryId)
    if (waitMs === 0) return { atMs: performance.now(), asked }
    await sleep(waitMs + late(asked, waitMs))
  }
}

const sorted = (gone: Awaited<ReturnType<typeof go>>[]) =>
  gone.map(({ atMs }) => atMs).toSorted((one, other) => one - other)

/** In no time of t seconds more than rate × (t + 1) + 1. */
function expectMetered(timesMs: number[], rate: number) {
  for (const [from, fromMs] of timesMs.entries()) {
    for (const [to, toMs] of timesMs.entries()) {
      if (to < from) continue
      expect(to - from + 1).toBeLessThanOrEqual(rate * ((toMs - fromMs) / 1_000 + 1) + 1)
    }
  }
}

describe('a destination with a rate limit', () => {
  it('gets no more than that in any time, and a little once; each asks twice, whichever worker it is', async () => {
    const destination = limited('dst_limited', 40)
    const gone = await Promise.all(
      Array.from({ length: 100 }, (_, index) => go(destination, `dlv_${index}`)),
    )
    const timesMs = sorted(gone)
    expectMetered(timesMs, 40)
    const tookMs = (timesMs.at(-1) ?? 0) - (timesMs[0] ?? 0)
    expect(tookMs).toBeGreaterThan(1_800)
    expect(tookMs).toBeLessThan(4_500)
    expect(gone.reduce((sum, { asked }) => sum + asked, 0)).toBeLessThanOrEqual(230)
  })

  it.each([
    { how: 'each 2 s late', name: 'each', late: () => 2_000 },
    { how: 'more or less late', name: 'mixed', late: (index: number) => (index * 7_919) % 2_000 },
  ])('gets what it may have when its deliveries wake up late: $how', async ({ name, late }) => {
    const destination = limited(`dst_late_${name}`, 40)
    const gone = await Promise.all(
      Array.from({ length: 240 }, (_, index) => go(destination, `dlv_${index}`, () => late(index))),
    )
    const timesMs = sorted(gone)
    expectMetered(timesMs, 40)
    // The 0.2 s at once, then nothing for up to 2 s: no one is awake. After that, at the rate.
    const tookMs = (timesMs.at(-1) ?? 0) - (timesMs[0] ?? 0)
    expect(tookMs).toBeLessThan(2_000 + (240 / (0.8 * 40)) * 1_000)
    expect(gone.reduce((sum, { asked }) => sum + asked, 0)).toBeLessThanOrEqual(240 * 3)
  })

  it('is held to it when all come late at once, and gets the others at the rate', async () => {
    const destination = limited('dst_stalled', 40)
    const stallUntilMs = performance.now() + 4_000
    const gone = await Promise.all(
      Array.from({ length: 160 }, (_, index) =>
        go(destination, `dlv_${index}`, (asked, waitMs) =>
          asked === 1 ? Math.max(0, stallUntilMs - performance.now() - waitMs) : 0,
        ),
      ),
    )
    const timesMs = sorted(gone)
    expectMetered(timesMs, 40)
    const lateMs = timesMs.filter((atMs) => atMs >= stallUntilMs - 10)
    expect(lateMs.length).toBeGreaterThan(140)
    const tookMs = (timesMs.at(-1) ?? 0) - stallUntilMs
    expect(tookMs).toBeLessThan((160 / (0.8 * 40)) * 1_000)
  })

  it('is served in the order in which its deliveries came', async () => {
    const destination = limited('dst_ordered', 50)
    const limits = createRateLimits(connection, () => 0.5)
    const waits: number[] = []
    for (let index = 0; index < 40; index += 1) {
      waits.push(await limits.waitMs(destination, `dlv_${index}`))
    }
    const put = waits.filter((waitMs) => waitMs > 0)
    expect(put.length).toBeGreaterThan(20)
    expect(put).toEqual(put.toSorted((one, other) => one - other))
    // One that comes now goes behind them all.
    expect(await limits.waitMs(destination, 'dlv_late')).toBeGreaterThan(put.at(-1) ?? 0)
    // Asked again too early, its turn is as it was.
    const again = await limits.waitMs(destination, 'dlv_39')
    expect(again).toBeGreaterThan(0)
    expect(again).toBeLessThanOrEqual(put.at(-1) ?? 0)
  })

  it('that is below one a second waits for its turn', async () => {
    const limits = createRateLimits(connection, () => 0.5)
    const destination = limited('dst_rare', 0.5)
    expect(await limits.waitMs(destination, 'dlv_1')).toBe(0)
    const second = await limits.waitMs(destination, 'dlv_2')
    expect(second).toBeGreaterThan(1_900)
    expect(second).toBeLessThanOrEqual(2_000)
  })

  it('is held to a new rate as soon as it is changed, and to none when that is taken away', async () => {
    const limits = createRateLimits(connection, () => 0.5)
    for (let index = 0; index < 20; index += 1) {
      await limits.waitMs(limited('dst_changed', 0.001), `dlv_${index}`)
    }
    expect(await limits.waitMs(limited('dst_changed', 0.001), 'dlv_20')).toBe(225_000)
    expect(await limits.waitMs(limited('dst_changed', 100), 'dlv_20')).toBe(0)
    expect(await limits.waitMs(limited('dst_changed', null), 'dlv_21')).toBe(0)
  })

  it('is forgotten in Redis when nothing comes for it', async () => {
    const limits = createRateLimits(connection, () => 0.5)
    for (const id of ['dlv_1', 'dlv_2']) await limits.waitMs(limited('dst_idle', 1), id)
    const keys = await connection.keys('*dst_idle*')
    expect(keys).toHaveLength(2)
    for (const key of keys) expect(await connection.pttl(key)).toBeGreaterThan(0)
  })
})
