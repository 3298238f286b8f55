import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 30_000

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct({ workers: 2 })
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

function requestsTo({ path }: Line): ReceivedRequest[] {
  return product.receiver.received.filter((one) => one.path === path)
}

/** A change of configuration is known to every process within 1 s. */
async function untilKnown(): Promise<void> {
  const changedAtMs = Date.now()
  const isKnown = () => Date.now() - changedAtMs > 1_000
  await waitFor(isKnown, { timeoutMs: 5_000, what: 'the workers to know of the change' })
}

async function addLimited(path: string, limits: object): Promise<Line> {
  const line = await tenant.addLine({ path })
  await tenant.api.call('PATCH', `/api/v1/destinations/${line.destinationId}`, limits)
  await untilKnown()
  return line
}

async function pause({ destinationId }: Line): Promise<void> {
  await tenant.api.call('POST', `/api/v1/destinations/${destinationId}/pause`)
  await untilKnown()
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
}, 90_000)

test('no more attempts a second than rate_limit_per_second, over all workers, each delivered once', async () => {
  const line = await addLimited('/rate', { rate_limit_per_second: 10 })
  const evidence = await sendMany(line, 40)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  const times = requestsTo(line).map(({ receivedAtMs }) => receivedAtMs)
  for (const from of times) {
    const inOneSecond = times.filter((at) => at >= from && at < from + 1_000).length
    expect(inOneSecond).toBeLessThanOrEqual(18)
  }
  const tookMs = Math.max(...times) - Math.min(...times)
  expect(tookMs).toBeGreaterThan(3_200)
  expect(tookMs).toBeLessThan(8_000)
}, 60_000)

test('what waits for a paused destination goes out as soon as it is resumed, and is not asked for meanwhile', async () => {
  const line = await addLimited('/paused', {})
  await pause(line)
  const evidence = await sendMany(line, 30)
  await waitFor(async () => (await countWaiting()) === 30, {
    timeoutMs: TIMEOUT_MS,
    what: 'all to wait',
  })
  expect(requestsTo(line)).toEqual([])
  await tenant.api.call('POST', `/api/v1/destinations/${line.destinationId}/resume`)
  const resumedAtMs = Date.now()
  await evidence.waitUntilSettled(TIMEOUT_MS)
  // Far below the fifteen seconds after which they would have looked by themselves.
  expect(Date.now() - resumedAtMs).toBeLessThan(6_000)
  expect(requestsTo(line)).toHaveLength(30)
  await evidence.check()
}, 60_000)

test('what is older than freshness_seconds is not sent, but shown as expired and counted', async () => {
  const line = await addLimited('/stale', { freshness_seconds: 2 })
  await pause(line)
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  const sentAtMs = Date.now()
  await waitFor(() => Date.now() - sentAtMs > 2_100, { timeoutMs: 5_000, what: 'it to be stale' })
  await tenant.api.call('POST', `/api/v1/destinations/${line.destinationId}/resume`)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const { deliveries } = await tenant.api.call<{ deliveries: ApiDelivery[] }>(
    'GET',
    `/api/v1/events/${eventId}`,
  )
  expect(deliveries).toMatchObject([{ state: 'expired', attempts: [] }])
  const series = 'switchhook_deliveries_total{state="expired"}'
  const counted = await Promise.all(product.workers.map((worker) => worker.metric(series)))
  expect(counted.reduce<number>((sum, count) => sum + (count ?? 0), 0)).toBe(1)
  // Positive control: a fresh one is sent.
  await evidence.send(line)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(requestsTo(line)).toHaveLength(1)
  await evidence.check()
}, 60_000)
