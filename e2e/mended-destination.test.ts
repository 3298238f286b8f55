import type { Behaviour } from '@switchhook/testing/behaviour'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEvidence, type Evidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const FAILS: Behaviour = { kind: 'answer', status: 500 }
const TAKES: Behaviour = { kind: 'answer', status: 200 }
/** Longer than any of these tests. */
const PAUSE_MS = 600_000
const TIMEOUT_MS = 60_000
const HOW_MANY = 40

let product: Product
let tenant: Tenant

beforeAll(async () => {
  const pause = String(PAUSE_MS)
  const env = { CIRCUIT_FIRST_PAUSE_MS: pause, CIRCUIT_MAX_PAUSE_MS: pause }
  product = await startProduct({ workers: 2, env })
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

const waitUntil = (condition: () => Promise<boolean> | boolean, what: string) =>
  waitFor(condition, { timeoutMs: TIMEOUT_MS, everyMs: 50, what })

const requestsTo = (path: string): ReceivedRequest[] =>
  product.receiver.received.filter((one) => one.path === path)

const pathOf = ({ destinationId }: Line): string => `/api/v1/destinations/${destinationId}`

/** A change of configuration is known to every process within 1 s. */
async function untilKnown(): Promise<void> {
  const changedAtMs = Date.now()
  await waitUntil(() => Date.now() - changedAtMs > 1_500, 'the workers to know')
}

async function sendMany(evidence: Evidence, line: Line, howMany: number): Promise<void> {
  await Promise.all(Array.from({ length: howMany }, () => evidence.send(line)))
}

async function countDelayed(): Promise<number> {
  const counts = [...(await product.queues.counts()).values()]
  return counts.reduce((sum, { delayed }) => sum + delayed, 0)
}

/** A line whose circuit is open, with deliveries that wait for its probe in ten minutes. */
async function addBrokenLine(path: string, evidence: Evidence): Promise<Line> {
  // The whole schedule must be longer than the test, or they would be given up.
  const delaysSeconds = [1, 1, 1, 1, 1, 60, 60, 60, 60]
  const line = await tenant.addLine({ path, timeoutMs: 1_000, delaysSeconds })
  product.receiver.on(path, FAILS)
  await sendMany(evidence, line, HOW_MANY)
  const state = async () =>
    (await tenant.api.call<{ state: string }>('GET', `${pathOf(line)}/circuit`)).state
  await waitUntil(async () => (await state()) === 'open', 'the circuit to open')
  await waitUntil(async () => (await countDelayed()) === HOW_MANY, 'all to wait')
  await untilKnown()
  return line
}

test('a destination with an open circuit that gets another URL has at once what waited for it', async () => {
  const evidence = createEvidence(product, tenant)
  const line = await addBrokenLine('/wrong', evidence)
  const before = requestsTo('/wrong').length
  product.receiver.on('/right', TAKES)
  await tenant.api.call('PATCH', pathOf(line), { url: `${product.receiver.url}/right` })
  await waitUntil(() => requestsTo('/right').length === HOW_MANY, 'all at the other URL')
  expect(requestsTo('/wrong')).toHaveLength(before)
  await evidence.waitUntilSettled(TIMEOUT_MS)
}, 240_000)

test('a destination with an open circuit that was paused and is resumed has at once what waited for it', async () => {
  const evidence = createEvidence(product, tenant)
  const line = await addBrokenLine('/down', evidence)
  await tenant.api.call('POST', `${pathOf(line)}/pause`)
  await untilKnown()
  await sendMany(evidence, line, 5)
  product.receiver.on('/down', TAKES)
  await tenant.api.call('POST', `${pathOf(line)}/resume`)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
}, 240_000)

test('a 429 that one worker sees is heeded by the other', async () => {
  const line = await tenant.addLine({ path: '/busy' })
  const evidence = createEvidence(product, tenant)
  const tooMany = { kind: 'answer', status: 429, headers: { 'retry-after': '20' } } as const
  product.receiver.on('/busy', { kind: 'sequence', answers: [tooMany, TAKES] })
  await evidence.send(line)
  await waitUntil(async () => (await countDelayed()) === 1, 'the first to wait for its retry')
  await sendMany(evidence, line, HOW_MANY)
  await waitUntil(async () => (await countDelayed()) === HOW_MANY + 1, 'the others to wait')
  expect(requestsTo('/busy')).toHaveLength(1)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
}, 240_000)
