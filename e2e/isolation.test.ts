import { setTimeout as sleep } from 'node:timers/promises'
import type { Behaviour } from '@switchhook/testing/behaviour'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type SmsOptions, sendSms } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { sendAgain } from './support/send-again.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

/** Of these messages have 8, calls 5, records 3, slow destinations 4. */
const WORKER_CONCURRENCY = '20'
const HEALTHY = 10
const PER_SECOND = 25
const TIMEOUT_MS = 60_000
const HANGS: Behaviour = { kind: 'hang' }

let product: Product
let tenant: Tenant
let healthy: Line[]

beforeAll(async () => {
  product = await startProduct({ env: { WORKER_CONCURRENCY } })
  tenant = await createTenant(product)
  healthy = await addLines('/healthy', HEALTHY)
})

afterAll(async () => {
  await product?.stop()
})

function addLines(path: string, howMany: number, timeoutMs = 10_000): Promise<Line[]> {
  return Promise.all(
    Array.from({ length: howMany }, (_, index) =>
      tenant.addLine({ path: `${path}/${index}/`, timeoutMs, delaysSeconds: [60], maxAttempts: 2 }),
    ),
  )
}

const send = (line: Line | undefined, options?: SmsOptions) =>
  sendAgain(() => sendSms(product, tenant, line?.phoneNumber ?? '', options))

const arrivalsAt = (path: string) =>
  product.receiver.received.filter((request) => request.path.startsWith(path))

type Took = { readonly medianMs: number; readonly p99Ms: number }

/** Sends this many messages to the lines in turn at the rate, and waits until they are there: how long each took. */
async function measure(howMany: number): Promise<Took> {
  const sentAtMs = new Map<string, number>()
  const startedAtMs = performance.now()
  const sending: Promise<unknown>[] = []
  for (let index = 0; index < howMany; index += 1) {
    const line = healthy[index % HEALTHY]
    const messageSid = `SM${index.toString(16).padStart(8, '0')}${crypto.randomUUID().replaceAll('-', '').slice(8)}`
    sentAtMs.set(tenant.eventIdOf(messageSid), Date.now())
    sending.push(send(line, { messageSid }))
    const aheadMs = ((index + 1) * 1_000) / PER_SECOND - (performance.now() - startedAtMs)
    if (aheadMs > 0) await sleep(aheadMs)
  }
  await Promise.all(sending)
  const arrived = () =>
    arrivalsAt('/healthy').filter(({ headers }) => sentAtMs.has(String(headers['webhook-id'])))
  await waitFor(() => arrived().length >= howMany, {
    timeoutMs: TIMEOUT_MS,
    what: 'all healthy ones',
  })
  const tookMs = arrived().map(
    ({ headers, receivedAtMs }) =>
      receivedAtMs - (sentAtMs.get(String(headers['webhook-id'])) ?? 0),
  )
  tookMs.sort((one, other) => one - other)
  const at = (share: number) => tookMs[Math.floor(howMany * share) - 1] ?? 0
  return { medianMs: at(0.5), p99Ms: at(0.99) }
}

/** Measures while the lines in turn get so many messages a second. */
async function withTraffic(
  lines: readonly Line[],
  perSecond: number,
  measuring: () => Promise<Took>,
): Promise<Took> {
  const stopping = new AbortController()
  const sent: Promise<unknown>[] = []
  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      const line = lines[sent.length % lines.length]
      sent.push(send(line).catch(() => undefined))
      await sleep(1_000 / perSecond)
    }
  }
  const running = run()
  try {
    return await measuring()
  } finally {
    stopping.abort()
    await running
    await Promise.all(sent)
  }
}

test('destinations that hang, fail or flood do not slow the healthy ones, and the measure would see it', async () => {
  await measure(60)
  const { p99Ms: beforeMs } = await measure(160)
  // On a machine that stands still now and then the same measure differs by this much; a slot that somebody holds costs
  // ten seconds.
  const barMs = 1.25 * beforeMs + 3_000
  // It makes a part of them late, never half.
  const expectAsBefore = ({ medianMs, p99Ms }: Took) => {
    expect(p99Ms).toBeLessThan(barMs)
    expect(medianMs).toBeLessThan(1_000)
  }

  const hanging = await addLines('/hangs', 8)
  product.receiver.on('/hangs', HANGS)
  expectAsBefore(await withTraffic(hanging, PER_SECOND / 5, () => measure(220)))
  // They were tried all the same, each attempt for ten seconds: in a quarter of the slots, being one organization's.
  expect(arrivalsAt('/hangs').length).toBeGreaterThanOrEqual(2)

  const failing = await addLines('/fails', 5)
  product.receiver.on('/fails', { kind: 'answer', status: 500 })
  const flooded = await addLines('/flooded', 1)
  product.receiver.on('/flooded', { kind: 'answer', status: 200, delayMs: 100 })
  const [line] = flooded
  await tenant.api.call('PATCH', `/api/v1/destinations/${line?.destinationId}`, {
    max_concurrency: 2,
  })
  const took = await withTraffic(failing, PER_SECOND / 5, () =>
    withTraffic(flooded, 2 * PER_SECOND, () => measure(160)),
  )
  expectAsBefore(took)

  // Positive control: healthy ones that have to wait for a slot are seen.
  for (const [index] of healthy.entries()) {
    product.receiver.on(`/healthy/${index}/`, { kind: 'answer', status: 200, delayMs: 1_500 })
  }
  expect((await measure(80)).p99Ms).toBeGreaterThan(barMs)
}, 240_000)

type Published = { readonly id: string }

async function publish(type: string, howMany: number): Promise<Map<string, number>> {
  const sentAtMs = new Map<string, number>()
  for (let sent = 0; sent < howMany; sent += 100) {
    const events = Array.from({ length: Math.min(100, howMany - sent) }, () => ({
      ...{ type, data: { text: 'Hello' } },
    }))
    const nowMs = Date.now()
    const answer = await tenant.api.call<{ items: Published[] } | Published[]>(
      'POST',
      '/api/v1/events/batch',
      { events },
    )
    const items = Array.isArray(answer) ? answer : answer.items
    for (const { id } of items) sentAtMs.set(id, nowMs)
  }
  return sentAtMs
}

test('a backlog of records delays no call event', async () => {
  const { id } = await tenant.api.call<{ id: string }>('POST', '/api/v1/destinations', {
    name: 'Calls and records',
    url: `${product.receiver.url}/calls`,
    format: 'standard',
    event_types: ['transcript', 'call_started'],
  })
  expect(id).toMatch(/^dst_/)
  product.receiver.on('/calls', { kind: 'answer', status: 200, delayMs: 200 })
  const longest = (sent: Map<string, number>): number =>
    Math.max(
      ...arrivalsAt('/calls').flatMap(({ headers, receivedAtMs }) => {
        const sentAtMs = sent.get(String(headers['webhook-id']))
        return sentAtMs === undefined ? [] : [receivedAtMs - sentAtMs]
      }),
    )
  await publish('call_started', 1)
  await waitFor(() => arrivalsAt('/calls').length === 1, { timeoutMs: TIMEOUT_MS, what: 'one' })
  // Three slots of 200 ms: about seven seconds.
  const records = await publish('transcript', 100)
  const calls = await publish('call_started', 10)
  await waitFor(() => arrivalsAt('/calls').length >= 111, { timeoutMs: TIMEOUT_MS, what: 'all' })
  expect(longest(calls)).toBeLessThan(longest(records) / 2)
  expect(longest(records)).toBeGreaterThan(3_000)
}, 180_000)
