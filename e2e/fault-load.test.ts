import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEvidence, type Evidence } from './support/evidence.ts'
import { startLoad } from './support/load.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 90_000
/** Longer than it takes to notice that Redis forgot; what was put off before that waits so long. */
const FIRST_PAUSE_MS = 45_000

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct({ env: { CIRCUIT_FIRST_PAUSE_MS: String(FIRST_PAUSE_MS) } })
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

function waitUntil(condition: () => unknown, what: string): Promise<unknown> {
  return waitFor(condition, { timeoutMs: TIMEOUT_MS, everyMs: 50, what })
}

async function sendMany(evidence: Evidence, line: Line, howMany: number): Promise<void> {
  for (let sent = 0; sent < howMany; sent += 20) {
    await Promise.all(
      Array.from({ length: Math.min(20, howMany - sent) }, () => evidence.send(line)),
    )
  }
}

const requestsTo = ({ path }: Line): number =>
  product.receiver.received.filter((one) => one.path === path).length

type Circuit = { state: string; opened_at: string | null; next_probe_at: string | null }

const findCircuit = (line: Line): Promise<Circuit> =>
  tenant.api.call('GET', `/api/v1/destinations/${line.destinationId}/circuit`)

test('an open circuit that Redis forgets is closed, opens again after as many failures, and loses nothing (E4)', async () => {
  const delaysSeconds = Array.from({ length: 9 }, () => 5)
  const line = await tenant.addLine({ path: '/forgotten', delaysSeconds })
  product.receiver.on(line.path, { kind: 'answer', status: 500 })
  const evidence = createEvidence(product, tenant)
  await sendMany(evidence, line, 80)
  const isOpen = async () => (await findCircuit(line)).state === 'open'
  await waitUntil(isOpen, 'it to open')
  const { opened_at: openedAt, next_probe_at: nextProbeAt } = await findCircuit(line)
  const before = requestsTo(line)
  expect(before).toBeLessThan(30)

  await product.redis.flushAll()
  await waitUntil(() => requestsTo(line) > before + 10, 'it to be sent to again')
  await waitUntil(
    async () => (await isOpen()) && (await findCircuit(line)).opened_at !== openedAt,
    'it to open anew',
  )
  // Positive control: of itself it would have been left alone until later.
  expect(Date.now()).toBeLessThan(Date.parse(nextProbeAt ?? ''))
  product.receiver.on(line.path, { kind: 'answer', status: 200 })
  await product.redis.flushAll()
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check({ allowDuplicates: () => 2, logRows: 'at_least' })
}, 240_000)

const OFFERED_PER_SECOND = 10_000
const ANSWERS = 2_500
/** So many are under way at most when the machine stands still: it makes them late, however quick the ingress is. */
const MAX_OPEN = 100
const ACCEPTED = 'switchhook_webhook_accept_duration_seconds'

test('more than twice what it can take: every answer is a 200 or a 503 in time, nothing acked is lost, and it recovers (E8)', async () => {
  const line = await tenant.addLine({ path: '/overload' })
  const evidence = createEvidence(product, tenant)
  const startedAtMs = performance.now()
  const load = startLoad(evidence, line, OFFERED_PER_SECOND)
  await load.waitForMore(ANSWERS, TIMEOUT_MS)
  const { sent, statuses } = await load.stop()
  const perSecond = (sent * 1_000) / (performance.now() - startedAtMs)
  // Positive control: it was offered at least twice as much as it took.
  expect(perSecond).toBeLessThan(OFFERED_PER_SECOND / 2)
  expect(Object.keys(statuses).filter((status) => status !== '503')).toEqual(['200'])
  // As the ingress itself measured it: this process has the same two cores.
  const series = (name: string) => product.ingress().metric(`${ACCEPTED}_${name}`)
  const inTime = (await series('bucket{le="1.5",provider="twilio"}')) ?? 0
  const inAll = (await series('count{provider="twilio"}')) ?? 0
  expect(inAll).toBeGreaterThanOrEqual(ANSWERS)
  expect(inAll - inTime).toBeLessThanOrEqual(3 * MAX_OPEN)
  const tookMs = product.lines.flatMap(({ text }) =>
    /"webhook\.(accepted|duplicate|unavailable)"/.test(text) ? [JSON.parse(text).duration_ms] : [],
  )
  expect(tookMs.length).toBeGreaterThanOrEqual(ANSWERS)
  expect(Math.max(...tookMs)).toBeLessThan(1_500 + 2_000)

  await evidence.waitUntilSettled(TIMEOUT_MS)
  const isReady = async () => (await product.ingress().look('/readyz')).status === 200
  await waitUntil(isReady, 'it to be ready')
  const { answer, eventId } = await evidence.send(line)
  expect(answer.status).toBe(200)
  const isIt = ({ headers }: { headers: Record<string, unknown> }) =>
    headers['webhook-id'] === eventId
  await product.receiver.waitFor(isIt, { timeoutMs: TIMEOUT_MS })
  await evidence.check()
}, 300_000)

const WAVE = 300
/** Connections of the 20 senders, and of stores: how many of them are idle at a moment is chance. */
const IDLE = 40
const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length

test('wave after wave leaves no file, socket or job behind, and the measure would see it (E9)', async () => {
  const line = await tenant.addLine({ path: '/waves' })
  const held = await tenant.addLine({ path: '/waves-held', timeoutMs: 30_000 })
  const files = () => openFiles(product.worker().pid) + openFiles(product.ingress().pid)
  const jobs = async () => {
    const counts = [...(await product.queues.counts()).values()]
    return counts.reduce((sum, one) => sum + one.waiting + one.active + one.delayed, 0)
  }
  // What is kept alive is no leak, but would hide one.
  const answer = { kind: 'answer', status: 200, headers: { connection: 'close' } } as const
  product.receiver.on(line.path, answer)
  const evidence = createEvidence(product, tenant)
  const wave = async () => {
    await sendMany(evidence, line, WAVE)
    await evidence.waitUntilSettled(TIMEOUT_MS)
  }
  await wave()
  await wave()
  const before = files()
  for (let waves = 0; waves < 3; waves += 1) await wave()
  await waitUntil(() => files() <= before + IDLE, 'the files to be as many as before')
  await waitUntil(async () => (await jobs()) === 0, 'the jobs to be gone')

  // Positive control: a fifth of a connection for each message is seen, and gone when it is closed.
  const { hostname, port } = new URL(product.ingress().url)
  const leaks = Array.from({ length: (3 * WAVE) / 5 }, () => connect(Number(port), hostname))
  // The ingress ends them after five seconds.
  for (const leak of leaks) leak.on('error', () => undefined)
  await waitUntil(() => files() > before + IDLE, 'the connections to be seen')
  for (const leak of leaks) leak.destroy()
  await waitUntil(() => files() <= before + IDLE, 'the connections to be gone')
  // And so is a job that is held back.
  product.receiver.on(held.path, { kind: 'hold' })
  await sendMany(evidence, held, 40)
  await waitUntil(async () => (await jobs()) >= 40, 'the jobs that wait')
  product.receiver.on(held.path, { kind: 'answer', status: 200 })
  product.receiver.release()
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await waitUntil(async () => (await jobs()) === 0, 'the jobs to be gone')
  await evidence.check()
}, 300_000)
