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

/** What a delivery was told, and the two instants between which Redis decided it; all in ms. */
type Answer = { sentMs: number; waitMs: number; atMs: number }

async function ask(
  destination: ReturnType<typeof limited>,
  deliveryId: string,
  limits = createRateLimits(connection, () => 0.5),
): Promise<Answer> {
  const sentMs = performance.now()
  const waitMs = await limits.waitMs(destination, deliveryId)
  return { sentMs, waitMs, atMs: performance.now() }
}

/** Waits as told, and `late` longer, until it may go; when that was, and how often it asked. */
async function go(
  destination: ReturnType<typeof limited>,
  deliveryId: string,
  late: (asked: number, waitMs: number) => number = () => 0,
) {
  const limits = createRateLimits(connection, () => 0.5)
  for (let asked = 1; ; asked += 1) {
    const answer = await ask(destination, deliveryId, limits)
    if (answer.waitMs === 0) return { ...answer, asked }
    await sleep(answer.waitMs + late(asked, answer.waitMs))
  }
}

const lastMs = (gone: Answer[]) => Math.max(...gone.map(({ atMs }) => atMs))
const tookMs = (gone: Answer[]) => lastMs(gone) - Math.min(...gone.map(({ sentMs }) => sentMs))

/**
 * In no time of t seconds more than rate × (t + 1) + 1. What was asked for and answered within a span was decided in it:
 * a machine that stands still between the two makes the span longer, and the rate seem no higher.
 */
function expectMetered(gone: Answer[], rate: number) {
  for (const { sentMs: fromMs } of gone) {
    const since = gone.filter(({ sentMs }) => sentMs >= fromMs)
    for (const [index, toMs] of since
      .map(({ atMs }) => atMs)
      .toSorted((one, other) => one - other)
      .entries()) {
      expect(index + 1).toBeLessThanOrEqual(rate * ((toMs - fromMs) / 1_000 + 1) + 1)
    }
  }
}

/** The turn that an answer gave: at least and at most when it is. Redis rounds up to a whole millisecond. */
const earliestMs = ({ sentMs, waitMs }: Answer) => sentMs + waitMs - 1
const latestMs = ({ atMs, waitMs }: Answer) => atMs + waitMs

describe('a destination with a rate limit', () => {
  it('gets no more than that in any time, and a little once; each asks twice, whichever worker it is', async () => {
    const destination = limited('dst_limited', 40)
    const gone = await Promise.all(
      Array.from({ length: 100 }, (_, index) => go(destination, `dlv_${index}`)),
    )
    expectMetered(gone, 40)
    expect(tookMs(gone)).toBeGreaterThan(1_800)
    expect(tookMs(gone)).toBeLessThan(4_500)
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
    expectMetered(gone, 40)
    // The 0.2 s at once, then nothing for up to 2 s: no one is awake. After that, at the rate.
    expect(tookMs(gone)).toBeLessThan(2_000 + (240 / (0.8 * 40)) * 1_000)
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
    expectMetered(gone, 40)
    const late = gone.filter(({ atMs }) => atMs >= stallUntilMs - 10)
    expect(late.length).toBeGreaterThan(140)
    expect(lastMs(gone) - stallUntilMs).toBeLessThan((160 / (0.8 * 40)) * 1_000)
  })

  it('is served in the order in which its deliveries came', async () => {
    const destination = limited('dst_ordered', 10)
    const answers: Answer[] = []
    for (let index = 0; index < 40; index += 1) {
      answers.push(await ask(destination, `dlv_${index}`))
    }
    const put = answers.filter(({ waitMs }) => waitMs > 0)
    expect(put.length).toBeGreaterThan(20)
    // One that comes now goes behind them all.
    const late = await ask(destination, 'dlv_late')
    put.push(late)
    for (const [index, next] of put.slice(1).entries()) {
      expect(latestMs(next)).toBeGreaterThan(earliestMs(put[index] ?? next))
    }
    // Asked again too early, its turn is as it was.
    const again = await ask(destination, 'dlv_late')
    expect(latestMs(again)).toBeGreaterThanOrEqual(earliestMs(late))
    expect(earliestMs(again)).toBeLessThanOrEqual(latestMs(late))
  })

  it('that is below one a second waits for its turn', async () => {
    const destination = limited('dst_rare', 0.5)
    const first = await ask(destination, 'dlv_1')
    expect(first.waitMs).toBe(0)
    const second = await ask(destination, 'dlv_2')
    expect(latestMs(second)).toBeGreaterThanOrEqual(first.sentMs + 1_999)
    expect(second.waitMs).toBeLessThanOrEqual(2_000)
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
