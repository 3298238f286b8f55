import { createPublicKey, verify } from 'node:crypto'
import { startConnectProxy } from '@switchhook/testing/connect-proxy'
import { type ReceivedRequest, type Receiver, startReceiver } from '@switchhook/testing/receiver'
import { waitFor } from '@switchhook/testing/wait-for'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 40_000

/** The one place that deliveries may reach. What listens on 127.0.0.1, the product's own receiver, is the canary. */
const REACHABLE = '127.0.0.2'

let product: Product
let tenant: Tenant
let reachable: Receiver

beforeAll(async () => {
  reachable = await startReceiver({ host: REACHABLE })
  product = await startProduct({ env: { DESTINATION_ALLOWED_CIDRS: `${REACHABLE}/32` } })
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
  await reachable.stop()
})

type Settings = Parameters<Tenant['addLine']>[0]

const addLine = (settings: Settings): Promise<Line> =>
  tenant.addLine({ url: reachable.url + settings.path, maxAttempts: 1, ...settings })

/** As if it had been allowed when it was set: past the check of the API. */
async function pointTo({ destinationId }: Line, url: string): Promise<void> {
  await product.database.pool.query('update destinations set url = $2 where id = $1', [
    destinationId,
    url,
  ])
}

async function findDeliveries({ destinationId }: Line): Promise<ApiDelivery[]> {
  return tenant.api.list(`/api/v1/deliveries?destination=${destinationId}`)
}

async function waitForState(line: Line, state: ApiDelivery['state']): Promise<ApiDelivery> {
  return waitFor(
    async () => {
      const [delivery] = await findDeliveries(line)
      if (delivery?.state !== state) throw new Error(`it is ${delivery?.state}`)
      return tenant.api.call<ApiDelivery>('GET', `/api/v1/deliveries/${delivery.id}`)
    },
    { timeoutMs: TIMEOUT_MS, everyMs: 100, what: `${line.path} to be ${state}` },
  )
}

const requestsTo = ({ path }: Line): ReceivedRequest[] =>
  reachable.received.filter((one) => one.path === path)

const receive = ({ path }: Line): Promise<ReceivedRequest> =>
  reachable.waitFor((one) => one.path === path, { timeoutMs: TIMEOUT_MS })

const SPELLINGS = [
  '127.0.0.1',
  '127.1',
  '2130706433',
  '0x7f000001',
  '0177.0.0.1',
  '0',
  '0.0.0.0',
  'localhost',
  '[::1]',
  '[::]',
  '[::ffff:127.0.0.1]',
  '[::ffff:7f00:1]',
  '[64:ff9b::7f00:1]',
  'user:password@127.0.0.1',
]

test('nothing is sent to a private address, however it is spelled, and the API does not take one', async () => {
  const evidence = createEvidence(product, tenant)
  const lines = await Promise.all(
    SPELLINGS.map((_, index) => addLine({ path: `/spelling/${index}` })),
  )
  const good = await addLine({ path: '/good' })
  await Promise.all(
    SPELLINGS.map(async (host, index) => {
      const url = `http://${host}:${product.receiver.port}/stolen`
      const answer = await tenant.api.send('POST', '/api/v1/destinations', { url })
      expect([host, answer.status]).toEqual([host, 422])
      const line = lines[index]
      if (line !== undefined) await pointTo(line, url)
    }),
  )
  // Later than all of the above: when it is known, they are.
  await pointTo(good, `${reachable.url}/good?known`)
  await waitFor(
    async () => {
      await evidence.send(good)
      return reachable.received.some(({ path }) => path === '/good?known')
    },
    { timeoutMs: TIMEOUT_MS, everyMs: 200, what: 'the worker to know the URLs' },
  )
  for (const line of lines) await evidence.send(line)
  for (const line of lines) {
    const { attempts } = await waitForState(line, 'given_up')
    expect(attempts).toMatchObject([
      { outcome: 'blocked', error_message: 'The address is not one that deliveries may reach.' },
    ])
  }
  expect(product.receiver.count).toBe(0)
  // It was there to be reached all the time.
  expect((await fetch(`${product.receiver.url}/control`)).status).toBe(200)
  expect(product.receiver.count).toBe(1)
  product.receiver.clear()
}, 180_000)

test('a redirect is an answer like any other: where it leads is never asked', async () => {
  const line = await addLine({ path: '/redirect' })
  reachable.on('/redirect', { kind: 'redirect', to: `${product.receiver.url}/stolen`, status: 307 })
  await createEvidence(product, tenant).send(line)
  const { attempts } = await waitForState(line, 'given_up')
  expect(attempts).toMatchObject([{ outcome: 'refused', response_status_code: 307 }])
  expect(requestsTo(line)).toHaveLength(1)
  expect(product.receiver.count).toBe(0)
  await fetch(reachable.url + line.path, { method: 'POST', body: '{}' })
  expect(product.receiver.received.map(({ path }) => path)).toEqual(['/stolen'])
  product.receiver.clear()
})

test('a destination that answers 410 is disabled, its owner told, and what waited for it mailed', async () => {
  const settings = { fallbackEmail: 'owner@gone.example', maxAttempts: 2, delaysSeconds: [12] }
  const line = await addLine({ path: '/gone', ...settings })
  reachable.on('/gone', {
    kind: 'sequence',
    answers: [
      { kind: 'answer', status: 500 },
      { kind: 'answer', status: 410 },
    ],
  })
  const evidence = createEvidence(product, tenant)
  const waiting = await evidence.send(line)
  await waitFor(() => requestsTo(line).length === 1, { timeoutMs: TIMEOUT_MS, what: 'the 500' })
  const told = await evidence.send(line)
  const mails = () =>
    product.smtp.mails.filter(({ envelopeTo }) => envelopeTo.includes('owner@gone.example'))
  await waitFor(() => mails().length >= 3, { timeoutMs: TIMEOUT_MS, what: 'three mails' })

  const texts = mails().map(({ text }) => text ?? '')
  expect(texts.filter((text) => text.includes('was disabled.\n'))).toHaveLength(1)
  for (const { eventId } of [waiting, told]) {
    expect(texts.filter((text) => text.includes(`event_id: ${eventId}`))).toHaveLength(1)
  }
  const path = `/api/v1/destinations/${line.destinationId}`
  expect(await tenant.api.call('GET', path)).toMatchObject({
    status: 'disabled',
    disabled_reason: 'It answered 410 Gone.',
  })
  expect(requestsTo(line)).toHaveLength(2)
  await waitFor(
    async () => (await findDeliveries(line)).every(({ state }) => state === 'emailed'),
    { timeoutMs: TIMEOUT_MS, what: 'both deliveries to be emailed' },
  )

  reachable.on('/gone', { kind: 'answer', status: 200 })
  expect(await tenant.api.call('PATCH', path, { status: 'active' })).toMatchObject({
    status: 'active',
    disabled_reason: null,
  })
  await evidence.send(line)
  await waitForState(line, 'delivered')
}, 180_000)

test('both kinds of signature hold for a receiver, before, during and after a rotation', async () => {
  const line = await addLine({ path: '/signed' })
  const path = `/api/v1/destinations/${line.destinationId}/rotate-secret`
  const evidence = createEvidence(product, tenant)
  const next = async (): Promise<ReceivedRequest> => {
    const { eventId } = await evidence.send(line)
    const isIt = (one: ReceivedRequest) => one.headers['webhook-id'] === eventId
    return reachable.waitFor(isIt, { timeoutMs: TIMEOUT_MS })
  }
  const holds = ({ headers, body }: ReceivedRequest, key: string): boolean => {
    const signed = headers as Record<string, string>
    if (key.startsWith('whsec_')) {
      try {
        new Webhook(key).verify(body.toString('utf8'), signed)
        return true
      } catch {
        return false
      }
    }
    const x = Buffer.from(key.slice('whpk_'.length), 'base64').toString('base64url')
    const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    const head = Buffer.from(`${signed['webhook-id']}.${signed['webhook-timestamp']}.`)
    return String(signed['webhook-signature'])
      .split(' ')
      .filter((one) => one.startsWith('v1a,'))
      .some((one) => {
        const signature = Buffer.from(one.slice('v1a,'.length), 'base64')
        return verify(null, Buffer.concat([head, body]), publicKey, signature)
      })
  }
  const until = (what: string, isReached: (request: ReceivedRequest) => boolean) =>
    waitFor(async () => isReached(await next()), { timeoutMs: TIMEOUT_MS, everyMs: 100, what })

  const before = await next()
  expect(holds(before, line.secret)).toBe(true)
  expect(String(before.headers['webhook-signature'])).not.toContain('v1a')

  const rotate = <T>(body: object) => tenant.api.call<T>('POST', path, body)
  const { secret } = await rotate<{ secret: string }>({})
  await until('the new secret', (one) => holds(one, secret) && holds(one, line.secret))
  const { public_key: publicKey } = await rotate<{ public_key: string }>({ type: 'ed25519' })
  await until('the pair', (one) => holds(one, publicKey) && holds(one, secret))
  const last = await rotate<{ secret: string }>({ overlap_seconds: 0 })
  await until('the last secret', (one) => holds(one, last.secret))
  const after = await next()
  expect([line.secret, secret].map((one) => holds(after, one))).toEqual([false, false])
  expect(holds(after, publicKey)).toBe(true)
}, 180_000)

test('through a proxy deliveries arrive; while it is away none is charged an attempt', async () => {
  const proxy = await startConnectProxy()
  const worker = await product.startWorker({ EGRESS_PROXY_URL: proxy.url })
  await worker.waitUntilReady()
  await product.workers.find(({ pid }) => pid !== worker.pid)?.stop()
  try {
    const evidence = createEvidence(product, tenant)
    const line = await addLine({ path: '/proxied' })
    await evidence.send(line)
    await receive(line)
    expect(proxy.asked).toContain(`${REACHABLE}:${reachable.port}`)
    const patient = { maxAttempts: 2, delaysSeconds: [60] }
    const later = await addLine({ path: '/proxy-away', ...patient })
    await proxy.stop()
    await evidence.send(later)
    await worker.waitForMetric('switchhook_own_faults_total', (value) => value > 0)
    const [waiting] = await findDeliveries(later)
    expect(waiting).toMatchObject({ state: 'pending' })
    expect(requestsTo(later)).toEqual([])

    await using again = await startConnectProxy({ port: proxy.port })
    const { attempts } = await waitForState(later, 'delivered')
    expect(attempts).toMatchObject([{ attempt: 1, outcome: 'delivered' }])
    expect(again.asked).toContain(`${REACHABLE}:${reachable.port}`)
  } finally {
    await proxy.stop()
  }
}, 180_000)
