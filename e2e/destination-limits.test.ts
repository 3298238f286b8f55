import { randomUUID } from 'node:crypto'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import type { AppProcess } from './support/app-process.ts'
import { createEvidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct({ workers: 2 })
  tenant = await createTenant(product)
  // Which share a cap once they know of each other.
  const knowsOther = /"workers":2\b.*"fleet\.changed"/
  await Promise.all(product.workers.map((worker) => worker.waitForLine(knowsOther, TIMEOUT_MS)))
})

afterAll(async () => {
  await product?.stop()
})

function requestsTo({ path }: Line): ReceivedRequest[] {
  return product.receiver.received.filter((one) => one.path === path)
}

/** A worker that has sent to a destination made later than a change knows of the change. */
async function untilKnown(): Promise<void> {
  const { destinationId, ...later } = await tenant.addLine({ path: `/known/${randomUUID()}` })
  const evidence = createEvidence(product, tenant)
  const knows = ({ lines }: AppProcess) => lines.some(({ text }) => text.includes(destinationId))
  await waitFor(
    async () => {
      await evidence.send({ destinationId, ...later })
      await evidence.waitUntilSettled(TIMEOUT_MS)
      return product.workers.every(knows)
    },
    { timeoutMs: TIMEOUT_MS, what: 'the workers to know of the change' },
  )
}

/** Known to any worker that hears of it: whoever does not know a destination looks it up. */
const addLimited = (path: string, limits: Readonly<Record<string, number>>): Promise<Line> =>
  tenant.addLine({ path, limits })

async function setPaused({ destinationId }: Line, isPaused: boolean): Promise<void> {
  const action = isPaused ? 'pause' : 'resume'
  await tenant.api.call('POST', `/api/v1/destinations/${destinationId}/${action}`)
}

/** How many of the requests, each taking `tookMs`, overlapped at the worst moment. */
function mostAtOnce(requests: readonly ReceivedRequest[], tookMs: number): number {
  const times = requests.map(({ receivedAtMs }) => receivedAtMs)
  const overlapping = times.map((at) => times.filter((other) => other > at - tookMs && other <= at))
  return Math.max(...overlapping.map(({ length }) => length))
}

async function sendMany(line: Line, howMany: number) {
  const evidence = createEvidence(product, tenant)
  await Promise.all(Array.from({ length: howMany }, () => evidence.send(line)))
  return evidence
}

async function countWaiting(): Promise<number> {
  const counts = [...(await product.queues.counts()).values()]
  return counts.reduce((sum, { delayed }) => sum + delayed, 0)
}

test('no more attempts at once than max_concurrency, over all workers; all are delivered', async () => {
  const tookMs = 150
  for (const [cap, bar] of [[3, 3] as const, [1, 1] as const, [20, 20] as const]) {
    const line = await addLimited(`/cap-${cap}`, { max_concurrency: cap })
    product.receiver.on(line.path, { kind: 'answer', status: 200, delayMs: tookMs })
    const evidence = await sendMany(line, 40)
    await evidence.waitUntilSettled(TIMEOUT_MS)
    await evidence.check()
    // A millisecond or two lie between two clocks' ends of an attempt.
    const atOnce = mostAtOnce(requestsTo(line), tookMs - 5)
    expect(atOnce).toBeLessThanOrEqual(bar)
    // Positive control: it is the cap that holds them back.
    if (cap === 20) expect(atOnce).toBeGreaterThan(5)
  }
}, 240_000)

test('no more attempts a second than rate_limit_per_second, over all workers, each delivered once', async () => {
  const rate = 10
  const line = await addLimited('/rate', { rate_limit_per_second: rate })
  const sentAtMs = Date.now()
  const evidence = await sendMany(line, 40)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  const times = requestsTo(line)
    .map(({ receivedAtMs }) => receivedAtMs)
    .toSorted((one, other) => one - other)
  // Counted from before the first: a machine that stands still makes them late, and their number seem no higher.
  for (const [index, atMs] of times.entries()) {
    expect(index + 1).toBeLessThanOrEqual(8 + (rate * (atMs - sentAtMs)) / 1_000)
  }
  // And they get their rate, but for when the machine stands still.
  const tookMs = times.slice(20).map((atMs, index) => atMs - (times[index] ?? 0))
  expect(Math.min(...tookMs)).toBeLessThan(1.5 * (20 / rate) * 1_000)
  expect((times.at(-1) ?? 0) - sentAtMs).toBeLessThan(15_000)
}, 180_000)

test('what waits for a paused destination goes out as soon as it is resumed, and is not asked for meanwhile', async () => {
  const line = await addLimited('/paused', {})
  await setPaused(line, true)
  await untilKnown()
  const sentAtMs = Date.now()
  const evidence = await sendMany(line, 30)
  await waitFor(async () => (await countWaiting()) === 30, {
    timeoutMs: TIMEOUT_MS,
    what: 'all to wait',
  })
  expect(requestsTo(line)).toEqual([])
  await setPaused(line, false)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  // By themselves none would have looked before fifteen seconds had passed, give or take a tenth.
  expect(Date.now() - sentAtMs).toBeLessThan(13_500)
  expect(requestsTo(line)).toHaveLength(30)
  await evidence.check()
}, 180_000)

test('what is older than freshness_seconds is not sent, but shown as expired and counted', async () => {
  const line = await addLimited('/stale', { freshness_seconds: 8 })
  await setPaused(line, true)
  await untilKnown()
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  const sentAtMs = Date.now()
  await waitFor(() => Date.now() - sentAtMs > 8_100, {
    timeoutMs: TIMEOUT_MS,
    what: 'it to be stale',
  })
  await setPaused(line, false)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const { deliveries } = await tenant.api.call<{ deliveries: ApiDelivery[] }>(
    'GET',
    `/api/v1/events/${eventId}`,
  )
  expect(deliveries).toMatchObject([{ state: 'expired', attempts: [] }])
  const series = 'switchhook_deliveries_total{state="expired"}'
  const countExpired = async () => {
    const counted = await Promise.all(product.workers.map((worker) => worker.metric(series)))
    return counted.reduce<number>((sum, count) => sum + (count ?? 0), 0)
  }
  // Counted once it is recorded.
  await waitFor(countExpired, { timeoutMs: TIMEOUT_MS, what: 'it to be counted' })
  expect(await countExpired()).toBe(1)
  // Positive control: a fresh one is sent.
  await untilKnown()
  await evidence.send(line)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(requestsTo(line)).toHaveLength(1)
  await evidence.check()
}, 180_000)
