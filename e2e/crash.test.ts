import { startChaosProxy } from '@switchhook/testing/chaos-proxy'
import { waitFor } from '@switchhook/testing/wait-for'
import { Agent, setGlobalDispatcher } from 'undici'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { AppProcess } from './support/app-process.ts'
import { startBalancer } from './support/balancer.ts'
import { createEvidence, type Evidence, newMessageSid, SMS_PATH } from './support/evidence.ts'
import { startLoad } from './support/load.ts'
import { type Product, startProduct } from './support/product.ts'
import { unexplained } from './support/refusals.ts'
import { looksAt } from './support/standstills.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
const HOLD = { kind: 'hold' } as const
const TAKE = { kind: 'answer', status: 200 } as const

/** Whoever spreads connections may stand still for a second: what comes to an ingress that has left is lost. */
const DRAIN_DELAY_MS = '3000'

// An idle connection is given up before the ingress that it leads to has drained, and would cut it.
setGlobalDispatcher(new Agent({ keepAliveTimeout: 1_000, keepAliveMaxTimeout: 1_000 }))

vi.setConfig({ testTimeout: 300_000 })
let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct({ env: { DRAIN_DELAY_MS } })
})

beforeEach(async () => {
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

async function kill(process: AppProcess): Promise<void> {
  process.kill('SIGKILL')
  await process.exited
}

async function startIngress(env: Record<string, string> = {}): Promise<AppProcess> {
  const ingress = await product.startIngress(env)
  await ingress.waitUntilReady()
  return ingress
}

async function startWorker(env: Record<string, string> = {}): Promise<AppProcess> {
  const worker = await product.startWorker(env)
  await worker.waitUntilReady()
  return worker
}

/** A way to Redis that can be cut without Redis, or anybody else, noticing. */
async function startWayToRedis() {
  const proxy = await startChaosProxy({ targetPort: product.redis.port })
  const url = new URL(product.redis.url)
  url.port = String(proxy.port)
  return { proxy, url: url.href }
}

function countRequests({ path }: Line): number {
  return product.receiver.received.filter((one) => one.path === path).length
}

function waitForRequests(line: Line, howMany: number): Promise<unknown> {
  return waitFor(() => countRequests(line) >= howMany, {
    timeoutMs: TIMEOUT_MS,
    what: `${howMany} requests to ${line.path}`,
  })
}

function waitForState(eventId: string, state: string): Promise<unknown> {
  return waitFor(
    async () => {
      const { rows } = await product.database.pool.query<{ state: string }>(
        'select state from deliveries where event_id = $1',
        [eventId],
      )
      return rows[0]?.state === state
    },
    { timeoutMs: TIMEOUT_MS, what: `${eventId} to be ${state}` },
  )
}

/** Jobs of deliveries in Redis, in whatever state. */
async function countJobs(): Promise<number> {
  const counts = [...(await product.queues.counts())].filter(([queue]) => queue !== 'fallback')
  return counts.reduce(
    (sum, [, { waiting, active, delayed }]) => sum + waiting + active + delayed,
    0,
  )
}

async function outcomesOf(evidence: Evidence): Promise<string[]> {
  const { rows } = await product.database.pool.query<{ outcome: string }>(
    'select outcome from webhook_logs where event_id = any($1) order by event_id, attempt',
    [[...evidence.acked]],
  )
  return rows.map(({ outcome }) => outcome)
}

test('an ingress killed between journal and queue loses nothing: the requeuer finds what Redis never got', async () => {
  const line = await tenant.addLine({ path: '/before-queue' })
  const { proxy, url } = await startWayToRedis()
  await using _proxy = proxy
  const doomed = await startIngress({ REDIS_URL: url })
  const evidence = createEvidence(product, tenant)
  const messageSid = newMessageSid()
  const eventId = tenant.eventIdOf(messageSid)
  // Not SIGSTOP: a thawed Redis would still read the command out of its socket.
  proxy.mode('blackhole')
  const sending = evidence.send(line, { messageSid, baseUrl: doomed.url }).catch(() => undefined)
  await waitForState(eventId, 'pending')
  await kill(doomed)
  await sending
  proxy.mode('pass')

  const requeued = 'switchhook_requeued_total{reason="delivery_lost"}'
  await product.worker().waitForMetric(requeued, (count) => count >= 1)
  await waitForState(eventId, 'delivered')
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  expect(countRequests(line)).toBe(1)
})

test('when the answer gets lost, the retry of the provider finds its message taken, and it is delivered once', async () => {
  const line = await tenant.addLine({ path: '/answer-lost' })
  await using proxy = await startChaosProxy({
    targetPort: Number(new URL(product.ingress().url).port),
  })
  proxy.mode({ cutRepliesAfterBytes: 0 })
  const evidence = createEvidence(product, tenant)
  const messageSid = newMessageSid()
  const baseUrl = `http://127.0.0.1:${proxy.port}`
  await expect(evidence.send(line, { messageSid, baseUrl })).rejects.toThrow()
  await waitForState(tenant.eventIdOf(messageSid), 'delivered')

  proxy.mode('pass')
  const { answer } = await evidence.send(line, { messageSid, baseUrl })
  expect(answer.status).toBe(200)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  expect(countRequests(line)).toBe(1)
})

test('ingresses killed again and again under load lose nothing that they answered', async () => {
  const line = await tenant.addLine({ path: '/ingress-killed' })
  const evidence = createEvidence(product, tenant)
  let target = await startIngress()
  const load = startLoad(evidence, line, 80, () => ({ baseUrl: target.url }))
  for (let round = 0; round < 3; round += 1) {
    await load.waitForMore(60, TIMEOUT_MS)
    const next = await startIngress()
    await load.waitForMore(30, TIMEOUT_MS)
    const killed = kill(target)
    target = next
    await killed
  }
  // At most a hundred of them were on their way to the one that was killed last.
  await load.waitForMore(310, TIMEOUT_MS)
  const { statuses } = await load.stop()
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const report = await evidence.check()
  expect(statuses['200']).toBeGreaterThan(200)
  expect(unexplained(product, statuses, 'none')).toEqual([])
  expect(report.duplicates).toBe(0)
  await kill(target)
})

test('a worker killed while its request is held: another one delivers, and the lost attempt is in the log', async () => {
  const line = await tenant.addLine({ path: '/held', timeoutMs: 30_000 })
  product.receiver.on(line.path, { kind: 'sequence', answers: [HOLD, TAKE] })
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await waitForRequests(line, 1)
  const doomed = product.worker()
  await startWorker()
  await kill(doomed)

  await waitForState(eventId, 'delivered')
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  expect(countRequests(line)).toBe(2)
  expect(await outcomesOf(evidence)).toEqual(['unreachable', 'delivered'])
})

test('a worker killed between the 200 of the destination and the end of its job makes no second request', async () => {
  const line = await tenant.addLine({ path: '/before-ack', timeoutMs: 30_000 })
  product.receiver.on(line.path, HOLD)
  const { proxy, url } = await startWayToRedis()
  await using _proxy = proxy
  const doomed = await startWorker({ REDIS_URL: url })
  await product.worker().stop()
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await waitForRequests(line, 1)
  proxy.mode('blackhole')
  product.receiver.release()
  await waitForState(eventId, 'delivered')
  await kill(doomed)
  expect(await countJobs()).toBe(1)

  await startWorker()
  await waitFor(async () => (await countJobs()) === 0, {
    timeoutMs: TIMEOUT_MS,
    what: 'the job to be ended',
  })
  expect(countRequests(line)).toBe(1)
  await evidence.check()
})

test('workers killed again and again under load: all is delivered, duplicates only of what they had in hand', async () => {
  const line = await tenant.addLine({ path: '/worker-killed' })
  product.receiver.on(line.path, { kind: 'answer', status: 200, delayMs: 50 })
  const evidence = createEvidence(product, tenant)
  const load = startLoad(evidence, line, 60)
  const kills = 3
  for (let round = 0; round < kills; round += 1) {
    await load.waitForMore(100, TIMEOUT_MS)
    const doomed = product.worker()
    await startWorker()
    await kill(doomed)
  }
  await load.waitForMore(50, TIMEOUT_MS)
  const { statuses } = await load.stop()
  expect(unexplained(product, statuses)).toEqual([])
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const report = await evidence.check({ allowDuplicates: () => kills, logRows: 'at_least' })
  // What 60 a second make of 50 ms, and what waited for the next commit of the log; of a second that stood still, all.
  expect(report.duplicates).toBeLessThan(kills * 110)
})

test('ingresses and workers restarted one after the other under load: no webhook fails, every exit is in order', async () => {
  const line = await tenant.addLine({ path: '/rolling' })
  const evidence = createEvidence(product, tenant)
  await Promise.all([startIngress(), startWorker()])
  await using balancer = await startBalancer(() => product.ingresses)
  const load = startLoad(evidence, line, 60, () => ({ baseUrl: balancer.url }), looksAt(product))
  const exits: unknown[] = []
  for (let round = 0; round < 2; round += 1) {
    for (const kind of ['ingress', 'worker'] as const) {
      await load.waitForMore(40, TIMEOUT_MS)
      const oldest = product[kind]()
      await (kind === 'ingress' ? startIngress() : startWorker())
      exits.push(await oldest.stop({ timeoutMs: TIMEOUT_MS }))
    }
  }
  await load.waitForMore(40, TIMEOUT_MS)
  const { statuses, unexcused } = await load.stop()
  expect([...unexplained(product, statuses), ...unexcused(Number.POSITIVE_INFINITY)]).toEqual([])
  expect(exits).toEqual(exits.map(() => ({ code: 0, signal: null })))
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const report = await evidence.check()
  expect(report.duplicates).toBe(0)
  const spare = [product.ingresses.at(-1), product.workers.at(-1)]
  await Promise.all(spare.map((process) => process?.stop()))
})

test('an ingress that is told to stop tells its clients to go: connection: close, /readyz 503, then no listener', async () => {
  const line = await tenant.addLine({ path: '/draining' })
  const ingress = await startIngress({ DRAIN_DELAY_MS: '6000' })
  const evidence = createEvidence(product, tenant)
  await evidence.send(line, { baseUrl: ingress.url })
  ingress.kill('SIGTERM')
  await waitFor(async () => (await ingress.look('/readyz')).status === 503, {
    timeoutMs: 5_000,
    what: '/readyz to be 503',
  })
  const { answer } = await evidence.send(line, { baseUrl: ingress.url })
  expect(answer.status).toBe(200)
  expect(answer.headers.connection).toBe('close')
  expect(await ingress.exited).toEqual({ code: 0, signal: null })
  await expect(fetch(ingress.url + SMS_PATH)).rejects.toThrow()
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
})

test('a worker that is told to stop while a destination hangs leaves in time, and another one takes the delivery over', async () => {
  const line = await tenant.addLine({ path: '/slow-stop', timeoutMs: 30_000 })
  product.receiver.on(line.path, { kind: 'sequence', answers: [HOLD, TAKE] })
  const leaving = await startWorker({ SHUTDOWN_TIMEOUT_MS: '2000' })
  await product.worker().stop()
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await waitForRequests(line, 1)
  await startWorker()
  const toldAtMs = performance.now()
  leaving.kill('SIGTERM')
  await leaving.exited
  // Far below the thirty seconds of the attempt.
  expect(performance.now() - toldAtMs).toBeLessThan(10_000)
  await waitForState(eventId, 'delivered')
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  expect(countRequests(line)).toBe(2)
})
