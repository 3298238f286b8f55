import { randomBytes } from 'node:crypto'
import { kudosityInbound } from '@switchhook/testing/kudosity-simulator'
import { type ProviderRequest, sendWebhook } from '@switchhook/testing/send-webhook'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AppProcess } from './support/app-process.ts'
import {
  API_SECRET,
  BASIC,
  FORGED,
  form,
  GENUINE,
  GUARDED_NUMBER,
  NUMBER,
  type Setting,
  sms,
  TEXT,
} from './support/forged-webhooks.ts'
import { type Product, startProduct } from './support/product.ts'
import {
  createProviderTenant,
  type MadeDestination,
  type ProviderTenant,
} from './support/provider-tenant.ts'
import { bare, createWebhooks, PERSON, type ProviderWebhooks } from './support/provider-webhooks.ts'
import { sendAgain } from './support/send-again.ts'

const FAILURES_PER_MINUTE = 40
const GUESSES_PER_MINUTE = 20

let product: Product
let tenant: ProviderTenant
let webhooks: ProviderWebhooks
/** Of another account of each, that asks for a password. */
let guarded: ProviderTenant
let guardedWebhooks: ProviderWebhooks
let setting: Setting
let destination: MadeDestination
/** Believes no proxy. */
let unproxied: AppProcess
const answers: string[] = []

beforeAll(async () => {
  product = await startProduct({
    env: {
      LOG_LEVEL: 'debug',
      TRUSTED_PROXIES: '127.0.0.0/8',
      FAILED_WEBHOOKS_PER_MINUTE: String(FAILURES_PER_MINUTE),
      FAILED_TOKENS_PER_MINUTE: String(GUESSES_PER_MINUTE),
    },
  })
  unproxied = await product.startIngress({ TRUSTED_PROXIES: '' })
  await unproxied.waitUntilReady()
  tenant = await createProviderTenant(product)
  guarded = await createProviderTenant(product, {
    kudosity: { basic: BASIC, api_secret: API_SECRET },
    pbx: { allowed_cidrs: ['203.0.113.0/24', '2001:db8::/32'] },
  })
  webhooks = createWebhooks(product, tenant)
  guardedWebhooks = createWebhooks(product, guarded)
  setting = { tenant, webhooks, guarded, guardedWebhooks }
  await tenant.addNumber(NUMBER, 'twilio')
  await guarded.addNumber(GUARDED_NUMBER, 'kudosity')
  destination = await tenant.addDestination('/security', { format: 'raw' })
  await guarded.addDestination('/security', { format: 'raw' })
})

afterAll(async () => {
  await product?.stop()
})

let senders = 0
/** As a proxy forwards it for somebody new, so that one test's failures do not count for the next. */
function from(webhook: ProviderRequest, forwardedFor = `198.51.100.${++senders}`): ProviderRequest {
  return { ...webhook, headers: { ...webhook.headers, 'x-forwarded-for': forwardedFor } }
}

async function send(webhook: ProviderRequest, ingress: AppProcess = product.ingress()) {
  const answer = await sendAgain(() => sendWebhook(ingress.url, webhook))
  answers.push(answer.text, JSON.stringify(answer.headers))
  return answer
}

const countReceived = (): number =>
  product.receiver.received.filter(({ path }) => path === destination.path).length

test.each(FORGED)(
  '%s is answered %i with a reason, and delivered to nobody',
  async (_name, status, detail, make) => {
    const before = countReceived()
    const answer = await send(from(make(setting)))
    expect(answer.status, answer.text).toBe(status)
    expect(JSON.parse(answer.text)).toEqual({ detail: expect.stringMatching(detail) })
    // Something genuine that is sent afterwards comes, and nothing but it.
    const genuine = await send(from(webhooks.twilioMessage(NUMBER, sms)))
    expect(genuine.status).toBe(200)
    await tenant.settle()
    await guarded.settle()
    expect(countReceived()).toBe(before + 1)
  },
)

test.each([
  ['twilio', 'missing_signature'],
  ['twilio', 'wrong_signature'],
  ['telnyx', 'stale_timestamp'],
  ['kudosity', 'wrong_credentials'],
  ['kudosity', 'unknown_token'],
  ['pbx', 'address_not_allowed'],
])('the metrics of %s count what failed for %s', async (provider, reason) => {
  const name = 'switchhook_webhook_verify_failures_total'
  const count = await product.ingress().metric(`${name}{provider="${provider}",reason="${reason}"}`)
  expect(count).toBeGreaterThan(0)
})

test.each(GENUINE)('%s is answered %i and delivered', async (_name, status, make) => {
  const before = countReceived()
  const answer = await send(from(make(setting)))
  expect(answer.status, answer.text).toBe(status)
  await tenant.settle()
  await guarded.settle()
  expect(countReceived()).toBe(before + 1)
})

describe('the address of the sender', () => {
  const statusFrom = async (forwardedFor: string, ingress?: AppProcess) =>
    (await send(from(guardedWebhooks.pbx(form), forwardedFor), ingress)).status

  test('is what a trusted proxy says, whatever the sender itself wrote before', async () => {
    expect(await statusFrom('203.0.113.9')).toBe(200)
    expect(await statusFrom('2001:db8::7')).toBe(200)
    expect(await statusFrom('203.0.113.9, 198.51.100.200')).toBe(403)
    expect(await statusFrom('198.51.100.200, 203.0.113.9')).toBe(200)
    expect(await statusFrom('nonsense, 198.51.100.200')).toBe(403)
  })

  test('is the connection’s where no proxy is trusted', async () => {
    expect(await statusFrom('203.0.113.9', unproxied)).toBe(403)
  })
})

test('two tokens of a path live while the provider is told the new one, and the oldest dies', async () => {
  const rotated = await createProviderTenant(product)
  await rotated.addNumber(NUMBER, 'pbx')
  const { id } = rotated.accounts.pbx
  const rotate = async () => {
    const path = `/api/v1/provider-accounts/${id}/rotate-token`
    const { webhook_urls } = await rotated.api.call<{ webhook_urls: string[] }>('POST', path)
    return new URL(webhook_urls[0] ?? '').pathname
  }
  const first = createWebhooks(product, rotated).pbx({ ...form, smsNumber: bare(NUMBER) })
  const statusAt = async (target: string) => (await send(from({ ...first, target }))).status
  const second = await rotate()
  expect([await statusAt(first.target), await statusAt(second)]).toEqual([200, 200])
  const third = await rotate()
  expect(await statusAt(first.target)).toBe(404)
  expect([await statusAt(second), await statusAt(third)]).toEqual([200, 200])
  const tokens = [first.target, second, third].map((target) => target.split('/').at(-1) ?? '')
  expect(new Set(tokens).size).toBe(3)
  expect(tokens.every((token) => token.length >= 43)).toBe(true)
  const shown = JSON.stringify(await rotated.api.call('GET', `/api/v1/provider-accounts/${id}`))
  expect(tokens.filter((token) => shown.includes(token))).toEqual([])
})

test('who fails too often is told to wait, and what verifies from the same address is not', async () => {
  const address = '192.0.2.66'
  const forge = () => from(webhooks.twilioMessage(NUMBER, sms, { authToken: 'wrong' }), address)
  const guess = () =>
    from(
      { ...webhooks.pbx(form), target: `/webhooks/pbx/${randomBytes(32).toString('hex')}` },
      address,
    )
  for (const [fail, bound, status] of [
    [forge, FAILURES_PER_MINUTE, 403],
    [guess, GUESSES_PER_MINUTE, 404],
  ] as const) {
    const failures = []
    for (let times = 0; times < bound + 3; times += 1) failures.push(await send(fail()))
    const statuses = failures.map((answer) => answer.status)
    expect(statuses).toEqual([...Array(bound).fill(status), 429, 429, 429])
    expect(Number(failures.at(-1)?.headers['retry-after'])).toBeGreaterThan(0)
  }
  for (let times = 0; times < 10; times += 1) {
    const genuine = await send(from(webhooks.twilioMessage(NUMBER, sms), address))
    expect(genuine.status).toBe(200)
  }
  expect((await send(from(forge(), '192.0.2.67'))).status).toBe(403)
})

/** A path of every provider, and what it takes. */
const PATHS: readonly (readonly [string, () => ProviderRequest, string])[] = [
  ['Twilio', () => webhooks.twilioMessage(NUMBER, sms), 'POST'],
  ['Telnyx', () => webhooks.telnyx('{}'), 'POST'],
  ['Kudosity', () => webhooks.kudosity('{}'), 'POST'],
  ['Kudosity V1', () => guardedWebhooks.kudosityV1(API_SECRET, [['mobile', '1']]), 'GET'],
  ['a PBX', () => webhooks.pbx(form), 'POST'],
]
const POSTED = PATHS.filter(([, , method]) => method === 'POST')
const MAX_BODY_BYTES = 2 * 1024 * 1024

describe.each(POSTED)('the path of %s', (_name, make) => {
  test('answers another content type with 415', async () => {
    const webhook = from(make())
    const headers = { ...webhook.headers, 'content-type': 'text/plain' }
    expect((await send({ ...webhook, headers })).status).toBe(415)
  })

  test('answers more than 2 MiB with 413', async () => {
    const body = Buffer.alloc(MAX_BODY_BYTES + 1, 'x')
    expect((await send({ ...from(make()), body })).status).toBe(413)
  })
})

test.each(PATHS)(
  'the path of %s answers another method with 405 and its own',
  async (_name, make, method) => {
    const { target } = make()
    for (const other of ['PUT', 'DELETE', method === 'GET' ? 'POST' : 'PATCH'] as const) {
      const { statusCode, headers, body } = await request(product.ingress().url + target, {
        method: other,
      })
      await body.dump()
      expect(statusCode).toBe(405)
      expect(String(headers.allow)).toContain(method)
    }
  },
)

test.each(['/telnyx-webhook', '/telnyx-sms-webhook', '/webhooks/sms/telnyx'])(
  'a portal that tries %s with GET or HEAD is answered 200, and nothing is stored',
  async (path) => {
    const stored = async () => {
      const { rows } = await product.database.pool.query<{ count: number }>(
        'select (select count(*) from events)::int + (select count(*) from quarantine)::int as count',
      )
      return rows[0]?.count
    }
    const before = await stored()
    for (const method of ['GET', 'HEAD'] as const) {
      const { statusCode, body } = await request(product.ingress().url + path, { method })
      await body.dump()
      expect(statusCode).toBe(200)
    }
    expect(await stored()).toBe(before)
  },
)

test('an MMS of Kudosity of nearly 2 MiB comes through byte for byte', async () => {
  const content = randomBytes(1_500_000).toString('base64')
  const media = [{ name: 'photo.jpg', content }]
  const body = kudosityInbound({ sender: bare(PERSON), recipient: bare(NUMBER), media })
  expect((await send(from(webhooks.kudosity(body)))).status).toBe(200)
  await tenant.settle()
  const [last] = product.receiver.received.slice(-1)
  expect(last?.body.equals(Buffer.from(body))).toBe(true)
})

test('no token, secret, password, number or text is in a line of a process, a metric or an answer', async () => {
  const tokens = [tenant, guarded].flatMap(({ accounts }) =>
    [accounts.telnyx, accounts.kudosity, accounts.pbx].flatMap(({ webhook_urls }) =>
      webhook_urls.flatMap((url) => /[^/]{30,}$/.exec(new URL(url).pathname) ?? []),
    ),
  )
  expect(tokens.length).toBeGreaterThanOrEqual(6)
  const secrets = [API_SECRET, BASIC.password, tenant.authToken, guarded.authToken, ...tokens]
  const basic = Buffer.from(`${BASIC.username}:${BASIC.password}`).toString('base64')
  const planted = [...secrets, basic, TEXT, bare(PERSON), bare(NUMBER), bare(GUARDED_NUMBER)]
  const metrics = await Promise.all(
    [...product.ingresses, ...product.workers].map((app) => app.look('/metrics')),
  )
  const said = [...product.lines, ...metrics].map(({ text }) => text).concat(answers)
  const messages = new Set(product.lines.map(({ text }) => /"msg":"([^"]+)"/.exec(text)?.[1]))
  expect(messages).toContain('webhook.accepted')
  expect(messages).toContain('webhook.refused')
  const found = planted.flatMap((value) => said.find((text) => text.includes(value)) ?? [])
  expect(found).toEqual([])
})
