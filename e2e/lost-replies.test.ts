import { type ChaosProxy, startChaosProxy } from '@switchhook/testing/chaos-proxy'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { AppProcess } from './support/app-process.ts'
import { createEvidence, type Evidence } from './support/evidence.ts'
import { type Load, type LoadReport, startLoad } from './support/load.ts'
import { type Product, startProduct } from './support/product.ts'
import { looksAt } from './support/standstills.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const ANSWER_MS = 1_500
const RECOVERY_MS = 60_000
const TIMEOUT_MS = 60_000
const RATE = 60

const resources = new AsyncDisposableStack()
let product: Product
let tenant: Tenant
let toPostgres: ChaosProxy
let toRedis: ChaosProxy

function through(url: string, { port }: ChaosProxy): string {
  const changed = new URL(url)
  changed.port = String(port)
  return changed.href
}

/** The processes reach the stores only by ways that can be spoilt; the test itself looks directly. */
beforeAll(async () => {
  product = resources.use(await startProduct({ ingresses: 0, workers: 0 }))
  toPostgres = resources.use(await startChaosProxy({ targetPort: product.postgres.port }))
  toRedis = resources.use(await startChaosProxy({ targetPort: product.redis.port }))
  const env = {
    DATABASE_URL: through(product.postgres.url, toPostgres),
    REDIS_URL: through(product.redis.url, toRedis),
  }
  await Promise.all([product.startIngress(env), product.startWorker(env)])
  await waitUntilReady()
})

beforeEach(async () => {
  tenant = await createTenant(product)
})

afterAll(() => resources.disposeAsync())

async function waitUntilReady(): Promise<void> {
  await Promise.all([...product.ingresses, ...product.workers].map((app) => app.waitUntilReady()))
}

async function waitUntilUnready(app: AppProcess): Promise<void> {
  await waitFor(async () => (await app.look('/readyz')).status === 503, {
    timeoutMs: TIMEOUT_MS,
    everyMs: 50,
    what: '/readyz to be 503',
  })
}

/** The stores themselves stay, and are asked directly whether they go on. */
function startLoadOn(evidence: Evidence, line: Line): Load {
  const looks = looksAt(product, ['ingress', 'postgres', 'redis'])
  return startLoad(evidence, line, RATE, undefined, looks)
}

function expectOnly200({ statuses, unexcused }: LoadReport): void {
  expect(unexcused(ANSWER_MS)).toEqual([])
  expect(statuses['200']).toBeGreaterThan(0)
}

/** Under load, replies are swallowed and their connections reset, ten times over. */
async function loseReplies(proxy: ChaosProxy, path: string) {
  const line = await tenant.addLine({ path })
  const evidence = createEvidence(product, tenant)
  const load = startLoadOn(evidence, line)
  for (let round = 0; round < 10; round += 1) {
    await load.waitForMore(20, TIMEOUT_MS)
    proxy.mode({ cutRepliesAfterBytes: 0 })
    await load.waitForMore(5, TIMEOUT_MS)
    proxy.mode('pass')
  }
  await waitUntilReady()
  await load.waitForMore(30, TIMEOUT_MS)
  expectOnly200(await load.stop())
  await evidence.waitUntilSettled(RECOVERY_MS)
  return evidence
}

test('commits whose reply gets lost are not done twice: one request and one log row each', async () => {
  const evidence = await loseReplies(toPostgres, '/commit-reply-lost')
  const { duplicates } = await evidence.check()
  expect(duplicates).toBe(0)
})

test('jobs whose reply gets lost are neither lost nor delivered more than once more', async () => {
  const evidence = await loseReplies(toRedis, '/redis-reply-lost')
  await evidence.check({ allowDuplicates: () => 1, logRows: 'at_least' })
})

test.each(['Postgres', 'Redis'] as const)(
  'a way to %s that swallows everything: every answer is a 200 in time, and all is as before when it ends',
  async (store) => {
    const proxy = store === 'Postgres' ? toPostgres : toRedis
    const line = await tenant.addLine({ path: `/swallowed-${store}` })
    const evidence = createEvidence(product, tenant)
    const load = startLoadOn(evidence, line)
    await load.waitForMore(RATE, TIMEOUT_MS)
    proxy.mode('blackhole')
    await waitUntilUnready(product.ingress())
    await load.waitForMore(RATE * 4, TIMEOUT_MS)
    proxy.mode('pass')
    await waitUntilReady()
    await load.waitForMore(RATE, TIMEOUT_MS)
    expectOnly200(await load.stop())
    await evidence.waitUntilSettled(RECOVERY_MS)
    await evidence.check({ allowDuplicates: () => 1, logRows: 'at_least' })
  },
)
