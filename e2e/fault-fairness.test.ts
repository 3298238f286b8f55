import { randomUUID } from 'node:crypto'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sendSms } from './support/evidence.ts'
import { createFanOut } from './support/fan-out.ts'
import { type Product, startProduct } from './support/product.ts'
import { sendAgain } from './support/send-again.ts'
import { createTenant, type Tenant } from './support/tenant.ts'

/** Of these messages have 8, calls 5, records 3, slow destinations 4. */
const WORKER_CONCURRENCY = '20'
const TIMEOUT_MS = 60_000

let product: Product

beforeAll(async () => {
  product = await startProduct({ env: { WORKER_CONCURRENCY } })
})

afterAll(async () => {
  // What hangs is not waited for.
  for (const worker of product?.workers ?? []) worker.kill('SIGKILL')
  await product?.stop()
})

const arrivalsAt = (path: string) =>
  product.receiver.received.filter((request) => request.path.startsWith(path))

async function countPending({ organizationId }: Tenant): Promise<number> {
  const { rows } = await product.database.pool.query<{ pending: number }>(
    `select count(*)::int as pending from deliveries where organization_id = $1 and state = 'pending'`,
    [organizationId],
  )
  return rows[0]?.pending ?? 0
}

const HERD = 30
const DELAY_SECONDS = 1_000

test('deliveries that fail together are tried again over 40 % of the delay, and together without jitter (E7)', async () => {
  const tenant = await createTenant(product)
  product.receiver.on('/herd', { kind: 'answer', status: 500 })
  const settings = Array.from({ length: 2 * HERD }, (_, index) => ({
    ...{ path: `/herd/${index}`, maxAttempts: 2, delaysSeconds: [DELAY_SECONDS] },
    jitter: index < HERD,
  }))
  const { meet } = await createFanOut(product, tenant, settings)
  const deliveries = await meet(({ attempts }) => attempts.length === 1, TIMEOUT_MS)
  const waits = deliveries.map(({ next_attempt_at: next, attempts }) => {
    return (Date.parse(next ?? '') - Date.parse(attempts[0]?.attempted_at ?? '')) / 1_000
  })
  const [spread, together] = [waits.slice(0, HERD), waits.slice(HERD)]
  expect(Math.min(...spread)).toBeGreaterThanOrEqual(0.8 * DELAY_SECONDS - 1)
  expect(Math.max(...spread)).toBeLessThan(1.2 * DELAY_SECONDS + 20)
  // Thirty of them, evenly: no eighth of the time gets more than half.
  const eighth = (seconds: number) => Math.floor((seconds - 0.8 * DELAY_SECONDS) / 50)
  const counts = new Map<number, number>()
  for (const one of spread) counts.set(eighth(one), (counts.get(eighth(one)) ?? 0) + 1)
  expect(Math.max(...counts.values())).toBeLessThan(HERD / 2)
  // Positive control.
  expect(Math.max(...together) - Math.min(...together)).toBeLessThan(20)
}, 180_000)

const DEAD = 120
const MESSAGES = 3

test('a hundred dead destinations of one organization leave room for another: its messages overtake hundreds (D18)', async () => {
  const [many, victim] = [await createTenant(product), await createTenant(product)]
  product.receiver.on('/dead', { kind: 'hang' })
  const paths = Array.from({ length: DEAD }, (_, index) => `/dead/${index}/`)
  const settings = paths.map((path) => ({ path, timeoutMs: 10_000 }))
  const { lines } = await createFanOut(product, many, settings)
  const alive = await victim.addLine({ path: '/alive' })
  const send = (tenant: Tenant, number = '') => sendAgain(() => sendSms(product, tenant, number))
  for (let sent = 0; sent < MESSAGES; sent += 1) await send(many, lines[0]?.phoneNumber)
  await waitFor(() => arrivalsAt('/dead').length >= 2, { timeoutMs: TIMEOUT_MS, what: 'two' })

  for (let sent = 1; sent <= 20; sent += 1) {
    await send(victim, alive.phoneNumber)
    await waitFor(() => arrivalsAt('/alive').length >= sent, {
      // Less than one attempt hangs: no slot of theirs was waited for.
      ...{ timeoutMs: 8_000, what: `message ${sent} to overtake` },
    })
  }
  // Positive control: they hang, hold slots, and most of them wait. In turn they would take seven minutes.
  expect(product.receiver.openConnections).toBeGreaterThanOrEqual(2)
  expect(await countPending(many)).toBeGreaterThan((DEAD * MESSAGES) / 2)
}, 180_000)

const NOISE = 1_500
const QUIET_TENANTS = 5
const EACH = 4

test('a flood of one organization does not delay the quiet ones of the same kind: they overtake it (E6)', async () => {
  const [noisy, ...quiet] = await Promise.all(
    Array.from({ length: 1 + QUIET_TENANTS }, () => createTenant(product)),
  )
  if (noisy === undefined) throw new Error('no tenant')
  const subscribe = async (tenant: Tenant, path: string) => {
    const url = product.receiver.url + path
    const body = { name: path, url, format: 'standard', event_types: ['call_started'] }
    await tenant.api.call('POST', '/api/v1/destinations', body)
  }
  const publish = (tenant: Tenant, howMany: number) => {
    // With a key each, so that those which are sent again after a 503 are the same.
    const events = Array.from({ length: howMany }, () => ({
      ...{ type: 'call_started', data: { text: 'Hello' }, idempotency_key: randomUUID() },
    }))
    return tenant.api.call('POST', '/api/v1/events/batch', { events })
  }
  // Its cap of fifty is no hindrance: calls have five slots. It would take all of them for two and a half minutes.
  product.receiver.on('/noisy', { kind: 'answer', status: 200, delayMs: 500 })
  await subscribe(noisy, '/noisy')
  for (const tenant of quiet) await subscribe(tenant, `/quiet/${quiet.indexOf(tenant)}/`)
  for (let sent = 0; sent < NOISE; sent += 500) await publish(noisy, 500)
  const isThere = async () => (await countPending(noisy)) > NOISE / 2
  await waitFor(isThere, { timeoutMs: TIMEOUT_MS, what: 'the flood to be in Postgres' })
  for (const tenant of quiet) await publish(tenant, EACH)
  const isThrough = () => arrivalsAt('/quiet').length >= QUIET_TENANTS * EACH
  await waitFor(isThrough, { timeoutMs: TIMEOUT_MS, what: 'the quiet ones' })
  // Positive control: in the order in which they came the whole flood would have gone before.
  expect(arrivalsAt('/noisy').length).toBeGreaterThan(0)
  expect(await countPending(noisy)).toBeGreaterThan(NOISE / 3)
  expect(arrivalsAt('/quiet')).toHaveLength(QUIET_TENANTS * EACH)
}, 180_000)
