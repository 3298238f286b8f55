import type { Behaviour } from '@switchhook/testing/behaviour'
import { type Receiver, startReceiver } from '@switchhook/testing/receiver'
import { fetch, request } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createFanOut, type FanOut, type FaultDelivery, isSettled } from './support/fan-out.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type DestinationSettings, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000

let product: Product
let tenant: Tenant
/** What is there to be stolen from, or asked by mistake. */
let canary: Receiver

beforeAll(async () => {
  canary = await startReceiver()
  product = await startProduct()
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
  await canary.stop()
})

/** A destination for each behaviour, below the path. */
function meetAll(
  path: string,
  behaviours: readonly Behaviour[],
  settings: Partial<DestinationSettings>,
): Promise<FanOut> {
  const paths = behaviours.map((_, index) => `${path}/${index}/`)
  for (const [index, one] of paths.entries()) {
    product.receiver.on(one, behaviours[index] ?? { kind: 'hang' })
  }
  const all = paths.map((one) => ({ ...settings, path: one }))
  return createFanOut(product, tenant, all)
}

const requestsTo = (path: string): number =>
  product.receiver.received.filter((one) => one.path === path).length

const statusesOf = ({ attempts }: FaultDelivery) =>
  attempts.map(({ response_status_code: status }) => status)

const ANSWERED =
  '200 201 202 203 204 205 206 208 226 299 300 301 302 303 304 305 307 308 399 400 401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 418 421 422 423 424 425 426 428 429 431 451 499 500 501 502 503 504 505 507 511 520 599 600 777 999'.split(
    ' ',
  )
const NO_STATUSES = ['000', '099', '100', '101', '102', '103', '199', '20', '1000']

/** Each leads to the canary, whatever it means. */
function statusLine(status: string): Behaviour {
  const length = status === '204' ? 5 : 0
  const head = `HTTP/1.1 ${status} Whatever\r\nlocation: ${canary.url}/stolen\r\n`
  const bytes = `${head}connection: close\r\ncontent-length: ${length}\r\n\r\n${'x'.repeat(length)}`
  return { kind: 'raw', bytes }
}

test('every status is what it says: 2xx delivers, 410 disables, all others are tried again, and none ends a worker (D6)', async () => {
  const statuses = [...ANSWERED, ...NO_STATUSES]
  const { pid } = product.worker()
  const { lines, meet } = await meetAll('/status', statuses.map(statusLine), { maxAttempts: 2 })
  const deliveries = await meet(isSettled, TIMEOUT_MS)
  for (const [index, delivery] of deliveries.entries()) {
    const status = statuses[index] ?? ''
    const isDelivered = /^2\d\d$/.test(status)
    expect([status, delivery.state]).toEqual([status, isDelivered ? 'delivered' : 'given_up'])
    const attempts = isDelivered || status === '410' ? 1 : 2
    expect([status, delivery.attempts.length]).toEqual([status, attempts])
    expect([status, requestsTo(lines[index]?.path ?? '')]).toEqual([status, attempts])
    // It came over the wire as it was meant to.
    if (index < ANSWERED.length) expect(new Set(statusesOf(delivery))).toEqual(new Set([+status]))
  }
  const gone = lines[statuses.indexOf('410')]
  expect(await tenant.api.call('GET', `/api/v1/destinations/${gone?.destinationId}`)).toMatchObject(
    { status: 'disabled' },
  )
  expect(product.worker().pid).toBe(pid)
  expect(canary.count).toBe(0)

  // Positive control: a client as it comes breaks on 000, and goes where it is led.
  const urlOf = (status: string) => lines[statuses.indexOf(status)]?.url ?? ''
  await expect(request(urlOf('000'))).rejects.toMatchObject({ code: 'ERR_ASSERTION' })
  await fetch(urlOf('307'), { method: 'POST', body: '{}' })
  expect(canary.received.map(({ path }) => path)).toEqual(['/stolen'])
  canary.clear()
}, 180_000)

const PLANNED_SECONDS = 60
const HOUR_SECONDS = 3_600
const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1_000).toUTCString()

test('Retry-After is waited for between the planned delay and an hour, whatever it says (D7)', async () => {
  const cases: [status: number, header: string | undefined, expectedSeconds: number][] = [
    [503, '600', 600],
    [429, '600', 600],
    [503, inSeconds(600), 600],
    [503, '1000000000', HOUR_SECONDS],
    [503, inSeconds(86_400), HOUR_SECONDS],
    [503, '9'.repeat(400), HOUR_SECONDS],
    [503, '0', PLANNED_SECONDS],
    [503, '-1', PLANNED_SECONDS],
    [503, '1e9', PLANNED_SECONDS],
    [503, 'NaN', PLANNED_SECONDS],
    [503, 'soon; drop table', PLANNED_SECONDS],
    [503, inSeconds(-86_400), PLANNED_SECONDS],
    [503, undefined, PLANNED_SECONDS],
    // Positive control: the same header where it does not count.
    [500, '600', PLANNED_SECONDS],
  ]
  const answers = cases.map(
    ([status, header]): Behaviour => ({
      ...{ kind: 'answer', status },
      headers: header === undefined ? {} : { 'retry-after': header },
    }),
  )
  const { meet } = await meetAll('/asks-for-time', answers, {
    ...{ maxAttempts: 2, delaysSeconds: [PLANNED_SECONDS] },
  })
  const deliveries = await meet(({ attempts }) => attempts.length === 1, TIMEOUT_MS)
  for (const [index, delivery] of deliveries.entries()) {
    const waitMs =
      Date.parse(delivery.next_attempt_at ?? '') -
      Date.parse(delivery.attempts[0]?.attempted_at ?? '')
    const [status, header, expectedSeconds] = cases[index] ?? []
    const shown = `${status} with ${header}: ${waitMs} ms`
    expect(Math.abs(waitMs / 1_000 - (expectedSeconds ?? 0)), shown).toBeLessThan(20)
  }
}, 180_000)

test('no redirect is followed: to another host, another scheme, the metadata service, or itself (D8)', async () => {
  const targets = [
    `${canary.url}/stolen`,
    `//127.0.0.1:${canary.port}/stolen`,
    `http://169.254.169.254/latest/meta-data/`,
    'file:///etc/passwd',
    `${product.receiver.url}/redirects/4/`,
    '/redirects/5/',
  ]
  const statuses = [301, 302, 303, 307, 308, 302]
  const redirects = targets.map(
    (to, index): Behaviour => ({ kind: 'redirect', to, status: statuses[index] ?? 302 }),
  )
  const { lines, meet } = await meetAll('/redirects', redirects, { maxAttempts: 1 })
  const deliveries = await meet(isSettled, TIMEOUT_MS)
  for (const [index, { state, attempts }] of deliveries.entries()) {
    expect(state).toBe('given_up')
    expect(attempts).toMatchObject([{ outcome: 'refused', response_status_code: statuses[index] }])
    expect(requestsTo(lines[index]?.path ?? '')).toBe(1)
  }
  expect(canary.count).toBe(0)
  // Positive control: whoever follows comes to the canary, and turns round and round.
  await fetch(lines[0]?.url ?? '', { method: 'POST', body: '{}' })
  expect(canary.count).toBe(1)
  await expect(fetch(lines[5]?.url ?? '', { method: 'POST', body: '{}' })).rejects.toThrow()
  expect(requestsTo(lines[5]?.path ?? '')).toBeGreaterThan(10)
}, 180_000)

const TOKEN = 'sk_live_51HoStIlE'
const HOSTILE_BODY = `<script>alert(1)</script>\r\nx-injected: 1\r\n\u001b[2J\u001b]0;owned\u0007 ${TOKEN} "}'--\n`

test('an answer full of HTML, control characters and secrets is shown as text, mailed escaped and printed nowhere (D17)', async () => {
  const fallbackEmail = 'hostile@example.com'
  const answers: Behaviour[] = [
    { kind: 'answer', status: 500, body: HOSTILE_BODY, headers: { 'content-type': 'text/html' } },
    { kind: 'raw', bytes: `HTTP/1.1 500 ${HOSTILE_BODY.split('\r\n')[0]} ${TOKEN}\r\n\r\n` },
  ]
  const settings = { fallbackEmail, maxAttempts: 1 }
  const { lines, meet } = await meetAll('/speaks', answers, settings)
  const [delivery] = await meet(isSettled, TIMEOUT_MS)
  expect(delivery?.state).toBe('emailed')
  expect(delivery?.attempts[0]?.response_body).toBe(HOSTILE_BODY)
  const answer = await tenant.api.send('GET', `/api/v1/deliveries/${delivery?.id}`)
  expect(answer.headers['content-type']).toMatch(/^application\/json/)
  expect(answer.headers['x-content-type-options']).toBe('nosniff')
  expect(answer.headers['x-injected']).toBeUndefined()
  // JSON itself escapes control characters, so that no terminal obeys.
  expect(answer.text).not.toContain('\u001b')

  const mails = product.smtp.mails.filter(({ envelopeTo }) => envelopeTo.includes(fallbackEmail))
  expect(mails).toHaveLength(2)
  for (const { html, text, subject, headers } of mails) {
    expect(html).not.toContain('<script')
    expect(`${text}${subject}`).not.toContain('\u001b')
    expect(headers.has('x-injected')).toBe(false)
  }
  for (const { text } of product.lines) expect(text).not.toMatch(/<script|sk_live_|owned/)
  // Positive control: that is what a client hears.
  expect(await (await fetch(lines[0]?.url ?? '')).text()).toBe(HOSTILE_BODY)
}, 180_000)
