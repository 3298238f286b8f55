import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { spawnNode } from '@switchhook/testing/processes'
import { startReceiver } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEvidence } from './support/evidence.ts'
import { createFanOut, isSettled } from './support/fan-out.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
/** Less than the default of `timeout_ms`, so that it is known which one ended an attempt. */
const CONNECT_TIMEOUT_MS = 5_000
const ATTEMPT_MS = 10_000
const TIMED_OUT = 'switchhook_attempts_total{format="burki",outcome="timed_out"}'
const UNREACHABLE = 'switchhook_attempts_total{format="burki",outcome="unreachable"}'

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct()
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

test('a port where nobody listens is refused at once, and delivered to when somebody does (D15)', async () => {
  const { port, url, stop } = await startReceiver()
  await stop()
  const settings = { path: '/closed', url: `${url}/closed`, timeoutMs: ATTEMPT_MS }
  const delaysSeconds = Array.from({ length: 9 }, () => 1)
  const { meet } = await createFanOut(product, tenant, [{ ...settings, delaysSeconds }])
  const settling = meet(isSettled, TIMEOUT_MS)
  await product.worker().waitForMetric(UNREACHABLE, (value) => value >= 1)
  // Positive control: it is the same port.
  await using receiver = await startReceiver({ port })
  const [delivery] = await settling
  expect(delivery?.state).toBe('delivered')
  expect(delivery?.attempts[0]).toMatchObject({
    ...{ outcome: 'unreachable', error_message: 'The connection was refused.' },
  })
  expect(delivery?.attempts.at(-1)).toMatchObject({ outcome: 'delivered' })
  expect(receiver.count).toBe(1)
}, 180_000)

test('port 0 is taken by no API, and costs its own delivery its attempts, nobody else’s (D15)', async () => {
  const url = 'http://127.0.0.1:0/'
  const answer = await tenant.api.send('POST', '/api/v1/destinations', { url })
  expect(answer.status).toBe(422)
  const { lines, meet } = await createFanOut(product, tenant, [
    { path: '/port-0', maxAttempts: 2 },
    { path: '/beside', maxAttempts: 2 },
  ])
  // As if it had been allowed when it was set: past the check of the API.
  await product.database.pool.query('update destinations set url = $2 where id = $1', [
    lines[0]?.destinationId,
    url,
  ])
  const fresh = await product.startWorker()
  await fresh.waitUntilReady()
  await product.worker().stop()
  const [none, beside] = await meet(isSettled, TIMEOUT_MS)
  expect(beside?.state).toBe('delivered')
  expect(none?.state).toBe('given_up')
  expect(none?.attempts).toHaveLength(2)
}, 180_000)

function isFrozen(pid: number): boolean {
  return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
}

test('a host that drops every SYN costs five seconds, not the whole attempt, and is delivered to when it wakes up (D15)', async () => {
  const entry = new URL('./support/small-backlog.main.ts', import.meta.url)
  await using hole = await spawnNode({ name: 'black hole', entry, env: {} })
  const port = Number((await hole.waitForLine(/^port \d+$/, TIMEOUT_MS)).slice('port '.length))
  hole.kill('SIGSTOP')
  await waitFor(() => isFrozen(hole.pid), { timeoutMs: TIMEOUT_MS, what: 'it to be frozen' })
  const fillers = new Set<Socket>()
  try {
    for (let made = 0; made < 6; made += 1) {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined)
      fillers.add(socket)
    }
    const waiting = () => [...fillers].filter(({ connecting }) => connecting).length
    await waitFor(() => waiting() <= 4, { timeoutMs: TIMEOUT_MS, what: 'the backlog to be full' })

    const settings = { path: '/dropped', url: `http://127.0.0.1:${port}/`, timeoutMs: ATTEMPT_MS }
    const delaysSeconds = [1, 1, 1]
    const { meet } = await createFanOut(product, tenant, [
      { ...settings, maxAttempts: 4, delaysSeconds },
    ])
    const settling = meet(isSettled, 2 * TIMEOUT_MS)
    const others = await tenant.addLine({ path: '/others' })
    const evidence = createEvidence(product, tenant)
    await evidence.send(others)
    await product.receiver.waitFor(({ path }) => path === '/others', { timeoutMs: TIMEOUT_MS })
    await product.worker().waitForMetric(TIMED_OUT, (value) => value >= 1)
    // Positive control: others still knock in vain.
    expect(waiting()).toBeGreaterThan(0)

    hole.kill('SIGCONT')
    const [delivery] = await settling
    expect(delivery?.state).toBe('delivered')
    const [first] = delivery?.attempts ?? []
    expect(first).toMatchObject({
      ...{ outcome: 'timed_out', error_message: 'The connection timed out.' },
    })
    expect(first?.response_time_ms).toBeGreaterThan(CONNECT_TIMEOUT_MS - 1_000)
    expect(first?.response_time_ms).toBeLessThan(ATTEMPT_MS - 1_000)
  } finally {
    for (const socket of fillers) socket.destroy()
  }
}, 240_000)
