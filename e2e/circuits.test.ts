import type { Behaviour } from '@switchhook/testing/behaviour'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence, type Evidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type DestinationSettings, type Line, type Tenant } from './support/tenant.ts'

const FAILS: Behaviour = { kind: 'answer', status: 500 }
const TAKES: Behaviour = { kind: 'answer', status: 200 }
const WORKERS = 4

let product: Product
let tenant: Tenant

beforeAll(async () => {
  const env = { CIRCUIT_FIRST_PAUSE_MS: '2000', CIRCUIT_MAX_PAUSE_MS: '4000' }
  product = await startProduct({ workers: WORKERS, env })
})

beforeEach(async () => {
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

type Circuit = {
  state: 'closed' | 'open' | 'half_open'
  opened_at: string | null
  next_probe_at: string | null
}
type Change = { kind: string; at: string; next_probe_at: string | null }

/** Whose retries come when all is over: until then every request is a first attempt, or a probe. */
function addLine(settings: DestinationSettings): Promise<Line> {
  const delaysSeconds = Array.from({ length: 9 }, () => 20)
  return tenant.addLine({ delaysSeconds, ...settings })
}

const findCircuit = (line: Line): Promise<Circuit & { items: Change[] }> =>
  tenant.api.call('GET', `/api/v1/destinations/${line.destinationId}/circuit`)

function requestsTo({ path }: Line): ReceivedRequest[] {
  return product.receiver.received.filter((one) => one.path === path)
}

function waitUntil(condition: () => Promise<unknown> | unknown, what: string): Promise<unknown> {
  return waitFor(condition, { timeoutMs: 60_000, everyMs: 20, what })
}

async function waitForState(line: Line, state: Circuit['state']): Promise<void> {
  await waitUntil(async () => (await findCircuit(line)).state === state, `${line.path} ${state}`)
}

/** In batches, as many at a time as a provider would. */
async function sendMany(evidence: Evidence, line: Line, howMany: number): Promise<void> {
  for (let sent = 0; sent < howMany; sent += 25) {
    await Promise.all(
      Array.from({ length: Math.min(25, howMany - sent) }, () => evidence.send(line)),
    )
  }
}

/** Deliveries with how many attempts each was charged. */
async function findAttempts(line: Line): Promise<number> {
  const { rows } = await product.database.pool.query<{ attempts: number }>(
    'select coalesce(sum(attempts), 0)::int as attempts from deliveries where destination_id = $1',
    [line.destinationId],
  )
  return rows[0]?.attempts ?? 0
}

test('a dead destination with 300 deliveries is left alone by all workers, probed once per pause, and drained without a burst', async () => {
  const line = await addLine({ path: '/dead' })
  const healthy = await addLine({ path: '/healthy' })
  product.receiver.on(line.path, FAILS)
  const evidence = createEvidence(product, tenant)
  await sendMany(evidence, line, 300)
  await waitForState(line, 'open')
  await Promise.all(
    product.workers.map((worker) =>
      worker.waitForMetric('switchhook_circuits{state="open"}', (open) => open === 1),
    ),
  )

  // Others are not held up.
  await evidence.send(healthy)
  await product.receiver.waitFor(({ path }) => path === healthy.path, { timeoutMs: 30_000 })

  const failedProbes = async () =>
    (await findCircuit(line)).items.filter(({ kind }) => kind === 'probe_failed')
  await waitUntil(async () => (await failedProbes()).length >= 2, 'two probes in vain')
  product.receiver.on(line.path, TAKES)
  await waitForState(line, 'closed')
  await evidence.waitUntilSettled(60_000)

  const changes = (await findCircuit(line)).items.toReversed()
  expect(changes[0]?.kind).toBe('opened')
  expect(changes.at(-1)?.kind).toBe('closed')
  const dueMs = changes.slice(0, -1).map((change) => Date.parse(change.next_probe_at ?? ''))
  const [firstDueMs = 0] = dueMs
  const closedAtMs = Date.parse(changes.at(-1)?.at ?? '')
  const times = requestsTo(line).map(({ receivedAtMs }) => receivedAtMs)
  // What was under way may arrive late: this machine is busy. The bound holds for all of it.
  const before = times.filter((atMs) => atMs < firstDueMs)
  expect(before.length).toBeGreaterThan(10)
  expect(before.length).toBeLessThanOrEqual(WORKERS * 8 + 10)

  // Between opening and closing: one request for each pause, none before it was due.
  const probes = times.filter((atMs) => atMs >= firstDueMs && atMs <= closedAtMs)
  expect(probes).toHaveLength(changes.length - 1)
  for (const [index, due] of dueMs.entries()) {
    expect(probes[index]).toBeGreaterThanOrEqual(due)
    expect(Date.parse(changes[index + 1]?.at ?? '')).toBeGreaterThanOrEqual(due)
  }

  // What waited comes bit by bit, and was charged nothing for waiting.
  const after = times.filter((atMs) => atMs > closedAtMs)
  // Counted from the closing on: a machine that stands still makes them late, and none of them early.
  for (const [index, atMs] of after.entries()) {
    const seconds = Math.max(0, (atMs - closedAtMs) / 1_000 - 0.3)
    expect(index + 1).toBeLessThan(40 + 250 * seconds)
  }
  // Nor all of them together later on: by their turns the middle nine tenths take four seconds.
  const idOf = ({ headers }: ReceivedRequest) => headers['webhook-id']
  const sentBefore = new Set(
    requestsTo(line).flatMap((one) => (one.receivedAtMs <= closedAtMs ? [idOf(one)] : [])),
  )
  const firstSentMs = requestsTo(line).flatMap((one) => {
    return sentBefore.has(idOf(one)) ? [] : [one.receivedAtMs]
  })
  const sentAtMs = (share: number) => firstSentMs[Math.floor(firstSentMs.length * share)] ?? 0
  expect(sentAtMs(0.95) - sentAtMs(0.05)).toBeGreaterThan(1_500)
  expect(await findAttempts(line)).toBe(times.length)
  await evidence.check()
})

test('when the worker that probes is killed, its lease lapses and another one probes', async () => {
  const line = await addLine({ path: '/prober-dies', timeoutMs: 4_000 })
  product.receiver.on(line.path, FAILS)
  const evidence = createEvidence(product, tenant)
  await sendMany(evidence, line, 60)
  await waitForState(line, 'open')
  // Those that were on their way when it opened come, too, and are charged: they are not the probe.
  await waitUntil(async () => (await findAttempts(line)) === requestsTo(line).length, 'the rest')
  const failed = requestsTo(line).length
  product.receiver.on(line.path, { kind: 'hang' })
  await waitForState(line, 'half_open')
  await waitUntil(() => requestsTo(line).length === failed + 1, 'the probe')
  // Which of them probes cannot be seen from outside.
  await Promise.all([...product.workers].map((worker) => worker.kill('SIGKILL')))
  product.receiver.on(line.path, TAKES)
  const worker = await product.startWorker()
  await waitUntil(() => requestsTo(line).length > failed + 1, 'the next probe')
  await waitForState(line, 'closed')
  const [, cutOff, next] = requestsTo(line).slice(failed - 1)
  // 4 s for the attempt and 2 s more, from before the request came: what is left when it was late.
  expect((next?.receivedAtMs ?? 0) - (cutOff?.receivedAtMs ?? 0)).toBeGreaterThan(4_500)
  await evidence.waitUntilSettled(60_000)
  await evidence.check({ allowDuplicates: () => 1, logRows: 'at_least' })
  await worker.waitForMetric('switchhook_circuits{state="open"}', (open) => open === 0)
})

test('a delivery whose whole schedule runs out while the circuit is open goes to the mail', async () => {
  const fallbackEmail = 'open@example.com'
  const settings = { maxAttempts: 3, delaysSeconds: [1, 1] }
  const line = await addLine({ path: '/runs-out', fallbackEmail, ...settings })
  product.receiver.on(line.path, FAILS)
  const evidence = createEvidence(product, tenant)
  await sendMany(evidence, line, 12)
  await waitForState(line, 'open')
  const { eventId } = await evidence.send(line)
  await evidence.waitUntilSettled(60_000)

  const deliveries = await tenant.api.list<ApiDelivery>(
    `/api/v1/deliveries?destination=${line.destinationId}`,
  )
  expect(deliveries).toHaveLength(13)
  expect(new Set(deliveries.map(({ state }) => state))).toEqual(new Set(['emailed']))
  const late = deliveries.find((one) => one.event_id === eventId)
  expect(late?.attempts.length).toBeLessThan(3)
  expect((await findCircuit(line)).state).not.toBe('closed')
  await evidence.check()
})

test('a proxy of our own that is down opens no circuit and is charged to no delivery', async () => {
  const line = await addLine({ path: '/own-fault' })
  await Promise.all([...product.workers].map((worker) => worker.stop()))
  // Nobody listens there.
  const cutOff = await product.startWorker({ EGRESS_PROXY_URL: 'http://127.0.0.1:9' })
  const evidence = createEvidence(product, tenant)
  await sendMany(evidence, line, 15)
  await cutOff.waitForMetric('switchhook_own_faults_total', (faults) => faults >= 15)
  expect((await findCircuit(line)).state).toBe('closed')
  expect(requestsTo(line)).toEqual([])
  expect(await findAttempts(line)).toBe(0)

  await cutOff.stop()
  await product.startWorker()
  await evidence.waitUntilSettled(60_000)
  expect(await findAttempts(line)).toBe(15)
  await evidence.check()
})
