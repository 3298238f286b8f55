import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { AppProcess } from './support/app-process.ts'
import { createEvidence, type Evidence, sendSms } from './support/evidence.ts'
import { type Load, type LoadReport, startLoad } from './support/load.ts'
import { type Product, startProduct } from './support/product.ts'
import { looksAt, watchStandstills } from './support/standstills.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

/** What a provider waits for, the whole answer. */
const ANSWER_MS = 1_500
/** I9: back to normal, with no human action. */
const RECOVERY_MS = 60_000
const TIMEOUT_MS = 60_000
const RATE = 60

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct()
})

beforeEach(async () => {
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

type Readiness = { status: string; checks: Record<string, string> }

/** The control of every test here: the store is really away, as the process itself sees it. */
async function waitUntilUnready(app: AppProcess, store: 'postgres' | 'redis'): Promise<void> {
  await waitFor(
    async () => {
      const { status, text } = await app.look('/readyz')
      return status === 503 && (JSON.parse(text) as Readiness).checks[store] !== 'ok'
    },
    { timeoutMs: TIMEOUT_MS, everyMs: 50, what: `/readyz to name ${store}` },
  )
}

async function waitUntilReady(): Promise<void> {
  await Promise.all([...product.ingresses, ...product.workers].map((app) => app.waitUntilReady()))
}

type Store = 'postgres' | 'redis'

/** `stays`: the stores that the test leaves alone. */
function load(evidence: Evidence, line: Line, ...stays: Store[]): Load {
  return startLoad(evidence, line, RATE, undefined, looksAt(product, ['ingress', ...stays]))
}

function expectOnly200({ statuses, unexcused }: LoadReport): void {
  expect(unexcused(ANSWER_MS)).toEqual([])
  expect(statuses['200']).toBeGreaterThan(0)
}

/** One more for those whose end, or whose log, was on its way to the store that went. */
const ONE_MORE = { allowDuplicates: () => 1, logRows: 'at_least' } as const

test('Redis killed and started again under load: Postgres takes every message, all are delivered', async () => {
  const line = await tenant.addLine({ path: '/redis-killed' })
  const evidence = createEvidence(product, tenant)
  const sending = load(evidence, line, 'postgres')
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.redis.kill()
  await waitUntilUnready(product.ingress(), 'redis')
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.redis.restart()
  await waitUntilReady()
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check(ONE_MORE)
})

test('Redis frozen for 5 s: every answer is a 200 in time, all are delivered', async () => {
  const line = await tenant.addLine({ path: '/redis-frozen' })
  const evidence = createEvidence(product, tenant)
  const sending = load(evidence, line, 'postgres')
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.redis.freeze()
  await waitUntilUnready(product.ingress(), 'redis')
  await sending.waitForMore(RATE * 5, TIMEOUT_MS)
  await product.redis.thaw()
  await waitUntilReady()
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check(ONE_MORE)
})

test('Redis emptied while a backlog waits in it: Postgres knows what is owed, all is delivered', async () => {
  const line = await tenant.addLine({ path: '/flushed' })
  product.receiver.on(line.path, { kind: 'answer', status: 200, delayMs: 500 })
  const slow = await product.startWorker({ WORKER_CONCURRENCY: '5' })
  await product.worker().stop()
  const evidence = createEvidence(product, tenant)
  const sending = load(evidence, line, 'postgres')
  await sending.waitForMore(150, TIMEOUT_MS)
  await waitFor(async () => ((await product.queues.counts()).get('deliver-0')?.waiting ?? 0) > 50, {
    timeoutMs: TIMEOUT_MS,
    what: 'a backlog',
  })
  expect(await product.redis.flushAll()).toBeGreaterThan(50)
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())

  await product.startWorker()
  await slow.stop()
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check(ONE_MORE)
})

test('Postgres stopped and started under load: Redis takes every message, the rows follow, one per attempt', async () => {
  const line = await tenant.addLine({ path: '/postgres-stopped' })
  const evidence = createEvidence(product, tenant)
  const sending = load(evidence, line, 'redis')
  const degraded = 'switchhook_store_degraded{store="postgres"}'
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.ingress().waitForMetric(degraded, (value) => value === 0)
  await product.postgres.stopServer('fast')
  await waitUntilUnready(product.ingress(), 'postgres')
  await product.ingress().waitForMetric(degraded, (value) => value === 1)
  const deliveredBefore = product.receiver.count
  await sending.waitForMore(RATE * 3, TIMEOUT_MS)
  // Deliveries go on meanwhile.
  await waitFor(() => product.receiver.count > deliveredBefore + RATE, {
    timeoutMs: TIMEOUT_MS,
    what: 'deliveries without Postgres',
  })
  await product.postgres.start()
  await waitUntilReady()
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())
  await evidence.waitUntilSettled(RECOVERY_MS)
  await product.ingress().waitForMetric(degraded, (value) => value === 0)
  await evidence.check()
})

test('Postgres killed with all its children: as after a stop, and nothing answered is missing in it', async () => {
  const line = await tenant.addLine({ path: '/postgres-killed' })
  const evidence = createEvidence(product, tenant)
  const sending = load(evidence, line, 'redis')
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.postgres.stopServer('kill')
  await waitUntilUnready(product.ingress(), 'postgres')
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.postgres.start()
  await waitUntilReady()
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check()
})

test('Postgres frozen for 5 s: every answer is a 200 in time, the rows follow', async () => {
  const line = await tenant.addLine({ path: '/postgres-frozen' })
  const evidence = createEvidence(product, tenant)
  const sending = load(evidence, line, 'redis')
  await sending.waitForMore(60, TIMEOUT_MS)
  await product.postgres.freeze()
  await waitUntilUnready(product.ingress(), 'postgres')
  await sending.waitForMore(RATE * 5, TIMEOUT_MS)
  await product.postgres.thaw()
  await waitUntilReady()
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check(ONE_MORE)
})

test('connections cut in the middle of a transaction end no process', async () => {
  const line = await tenant.addLine({ path: '/cut-in-transaction' })
  const evidence = createEvidence(product, tenant)
  const running = [...product.ingresses, ...product.workers]
  const sending = load(evidence, line, 'postgres', 'redis')
  let cuts = 0
  await waitFor(
    async () => {
      const { rows } = await product.database.pool.query<{ cut: boolean }>(
        `select pg_terminate_backend(pid) as cut from pg_stat_activity
          where state = 'idle in transaction' and application_name like 'switchhook-%'`,
      )
      cuts += rows.length
      return cuts >= 10
    },
    { timeoutMs: TIMEOUT_MS, everyMs: 5, what: 'ten transactions to be cut' },
  )
  await sending.waitForMore(60, TIMEOUT_MS)
  expectOnly200(await sending.stop())
  expect([...product.ingresses, ...product.workers]).toEqual(running)
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check(ONE_MORE)
})

test('a webhook that comes twice while Postgres is away is delivered once', async () => {
  const line = await tenant.addLine({ path: '/twice-without-postgres' })
  const evidence = createEvidence(product, tenant)
  await evidence.send(line)
  await evidence.waitUntilSettled(TIMEOUT_MS) // so the worker knows the destination
  const deliveredBefore = product.receiver.count
  await product.postgres.stopServer('fast')
  await waitUntilUnready(product.ingress(), 'postgres')
  const { messageSid } = await evidence.send(line)
  await evidence.send(line, { messageSid })
  await waitFor(() => product.receiver.count > deliveredBefore, {
    timeoutMs: TIMEOUT_MS,
    what: 'a delivery without Postgres',
  })
  await evidence.send(line, { messageSid })
  await product.postgres.start()
  await waitUntilReady()
  await evidence.send(line, { messageSid })
  await evidence.waitUntilSettled(RECOVERY_MS)
  await evidence.check()
})

test('Postgres goes, then the worker; both come back later: what Redis took is delivered and in the log', async () => {
  const line = await tenant.addLine({ path: '/worker-away-too' })
  const evidence = createEvidence(product, tenant)
  await product.worker().stop()
  await evidence.send(line)
  await product.postgres.stopServer('immediate')
  await waitUntilUnready(product.ingress(), 'postgres')
  for (let count = 0; count < 20; count += 1) await evidence.send(line)
  await product.postgres.start()
  await product.ingress().waitUntilReady()
  for (let count = 0; count < 20; count += 1) await evidence.send(line)
  expect(product.receiver.received.filter(({ path }) => path === line.path)).toEqual([])

  await product.startWorker()
  await waitUntilReady()
  await evidence.waitUntilSettled(RECOVERY_MS)
  const report = await evidence.check()
  expect(report).toMatchObject({ acked: 41, delivered: 41, duplicates: 0 })
})

test.each(['gone', 'frozen'] as const)(
  'both stores %s: 503 with Retry-After in time, /readyz names them, and all is well by itself afterwards',
  async (how) => {
    const line = await tenant.addLine({ path: `/both-${how}` })
    const evidence = createEvidence(product, tenant)
    await evidence.send(line)
    const ingress = product.ingress()
    const { postgres, redis } = product
    await Promise.all(
      how === 'gone' ? [postgres.kill(), redis.kill()] : [postgres.freeze(), redis.freeze()],
    )

    const standstills = watchStandstills(looksAt(product, ['ingress']))
    const answers = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const sentAtMs = performance.now()
        const answer = await sendSms(product, tenant, line.phoneNumber)
        return { answer, sentAtMs, atMs: performance.now() }
      }),
    )
    await standstills.stop()
    for (const { answer, sentAtMs, atMs } of answers) {
      expect(answer.status).toBe(503)
      expect(answer.headers['retry-after']).toMatch(/^\d+$/)
      expect(JSON.parse(answer.text)).toEqual({ detail: expect.any(String) })
      expect(atMs - sentAtMs - standstills.within(sentAtMs, atMs)).toBeLessThan(ANSWER_MS)
    }
    await waitUntilUnready(ingress, 'postgres')
    await waitUntilUnready(ingress, 'redis')
    expect((await ingress.look('/healthz')).status).toBe(200)
    expect((await ingress.look('/metrics')).text).toContain(
      'switchhook_webhooks_received_total{provider="twilio",outcome="unavailable"}',
    )

    await Promise.all(
      how === 'gone' ? [postgres.start(), redis.restart()] : [postgres.thaw(), redis.thaw()],
    )
    const backAtMs = performance.now()
    await waitFor(() => evidence.sendOnce(line).then(() => true), {
      timeoutMs: RECOVERY_MS,
      everyMs: 200,
      what: 'a webhook to be taken again',
    })
    await waitUntilReady()
    await evidence.waitUntilSettled(RECOVERY_MS)
    expect(performance.now() - backAtMs).toBeLessThan(RECOVERY_MS)
    await evidence.check(ONE_MORE)
  },
)
