import { randomBytes } from 'node:crypto'
import { findFreePort } from '@switchhook/embedded/free-port'
import { waitFor } from '@switchhook/testing/wait-for'
import { request } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEvidence, SENDER, SMS_PATH, sendSms } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { exchange } from './support/raw-http.ts'
import { createSignedPost } from './support/signed-post.ts'
import { createTenant, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
const plant = (what: string): string => `${what}-${randomBytes(8).toString('hex')}`

/** Of the message, which is logged nowhere and answered to nobody but its tenant. */
const TEXT = plant('private-text')
const OWN_HEADER = plant('destination-password')
const RESPONSE = plant('response-of-destination')
const MAIL_REASON = plant('reason-of-mail-server')
const MAIL_PASSWORD = plant('mail-password')
const FALLBACK = `${plant('person')}@example.com`

let product: Product
let tenant: Tenant
/** By name: what must be found nowhere. */
const planted = new Map<string, string>()
/** The secrets among them, which are in clear in no table either. */
const secrets = new Map<string, string>()
const errorBodies: string[] = []
const metrics: string[] = []

async function noteMetrics(): Promise<void> {
  for (const app of [...product.ingresses, ...product.workers]) {
    metrics.push((await app.look('/metrics')).text, (await app.look('/readyz')).text)
  }
}

/** Traffic of every kind that ends in a line of the log, a number in the metrics or an error. */
beforeAll(async () => {
  product = await startProduct({ env: { LOG_LEVEL: 'debug' } })
  tenant = await createTenant(product)
  const headers = { authorization: `Bearer ${OWN_HEADER}` }
  const good = await tenant.addLine({ path: '/good', headers })
  const failing = await tenant.addLine({
    ...{ path: '/failing', headers, maxAttempts: 2, fallbackEmail: FALLBACK, format: 'pbx' },
  })
  const unreachable = await tenant.addLine({
    ...{
      path: '/unreachable',
      headers,
      maxAttempts: 1,
      url: `http://127.0.0.1:${await findFreePort()}/`,
    },
  })
  product.receiver.on(failing.path, { kind: 'answer', status: 500, body: RESPONSE })
  product.smtp.mode({ rejectCode: 550, text: MAIL_REASON })

  secrets.set('auth token', tenant.authToken)
  secrets.set('API key', tenant.apiKey)
  secrets.set('secret part of the API key', tenant.apiKey.split('_').at(-1) ?? '')
  secrets.set('admin key', product.adminApiKey)
  secrets.set('encryption key', product.encryptionKey)
  secrets.set('mail password', MAIL_PASSWORD)
  for (const { path, secret } of [good, failing, unreachable]) {
    secrets.set(`signing secret of ${path}`, secret)
    secrets.set(`signing key of ${path}`, secret.replace('whsec_', ''))
  }
  for (const [name, value] of secrets) planted.set(name, value)
  for (const { path, phoneNumber } of [good, failing, unreachable]) {
    planted.set(`number of ${path}`, phoneNumber.slice(1))
  }
  planted.set('header of the destination', OWN_HEADER)
  planted.set('sender', SENDER.slice(1))
  planted.set('text of the message', TEXT)
  planted.set('answer of the destination', RESPONSE)
  planted.set('answer of the mail server', MAIL_REASON)
  planted.set('fallback address', FALLBACK)

  const evidence = createEvidence(product, tenant)
  for (const line of [good, failing, unreachable]) await evidence.send(line, { body: TEXT })
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const first = product.worker()
  const withLogin = product.smtp.url.replace('smtp://', `smtp://user:${MAIL_PASSWORD}@`)
  const second = await product.startWorker({ SMTP_URL: withLogin })
  await first.stop()
  await evidence.send(failing, { body: TEXT })
  await second.waitForLine(/fallback\.failed|delivery\.given_up/, TIMEOUT_MS)
  await sendEverythingBad()
  await noteMetrics()
  await breakStores(good.phoneNumber)
  await noteMetrics()
})

afterAll(async () => {
  await product?.stop()
})

async function sendEverythingBad(): Promise<void> {
  const to = [...planted.values()].find((value) => /^\d+$/.test(value)) ?? ''
  const { url } = product.ingress()
  for (const sender of [
    { ...tenant, authToken: 'wrong' },
    { ...tenant, accountSid: 'ACnobody' },
  ]) {
    errorBodies.push((await sendSms(product, sender, `+${to}`, { body: TEXT })).text)
  }
  errorBodies.push((await sendSms(product, tenant, '', { body: TEXT })).text)
  const post = createSignedPost(product, tenant, `+${to}`, { body: TEXT })
  for (const changes of [
    { headers: { 'content-encoding': 'gzip' } },
    { headers: { 'content-type': 'text/plain' } },
    { path: `/nowhere/${TEXT}` },
    { path: `${SMS_PATH}?${TEXT}`, method: 'PUT' },
    { lines: [`Host: ${TEXT}`] },
    { lines: [`x: ${TEXT}\0`] },
    { body: `${post.body}&x=${'y'.repeat(2 * 1024 * 1024)}` },
  ]) {
    const { answers } = await exchange(url, post.toBytes(changes))
    errorBodies.push(...answers.map(({ body }) => body))
  }
  const { api, apiKey } = tenant
  errorBodies.push(
    (
      await api.send('POST', '/api/v1/provider-accounts', {
        ...{ provider: 'twilio', account_sid: tenant.accountSid, auth_token: tenant.authToken },
      })
    ).text,
    (
      await api.send('POST', '/api/v1/provider-accounts', {
        ...{ provider: 'twilio', account_sid: 7, auth_token: tenant.authToken, extra: TEXT },
      })
    ).text,
    (await api.send('GET', `/api/v1/deliveries/${TEXT}`)).text,
  )
  const asQuery = await request(`${url}/api/v1/events?api_key=${apiKey}`)
  errorBodies.push(await asQuery.body.text())
  const wrongKey = await request(`${url}/api/v1/events`, {
    headers: { authorization: `Bearer ${apiKey}x` },
  })
  errorBodies.push(await wrongKey.body.text())
}

/** Errors of the stores carry statements and values; each store goes once with messages on their way. */
async function breakStores(phoneNumber: string): Promise<void> {
  const { postgres, redis } = product
  const send = () => sendSms(product, tenant, phoneNumber, { body: TEXT })
  await postgres.stopServer('immediate')
  await send()
  errorBodies.push((await tenant.api.send('GET', '/api/v1/events')).text)
  await redis.kill()
  errorBodies.push((await send()).text)
  await postgres.start()
  await waitFor(async () => (await send()).status === 200, {
    ...{ timeoutMs: TIMEOUT_MS, everyMs: 200, what: 'Postgres to be used again' },
  })
  await redis.restart()
  await Promise.all([...product.ingresses, ...product.workers].map((app) => app.waitUntilReady()))
  await product.ingress().waitForLine(/store\.recovered/, TIMEOUT_MS)
}

function findPlanted(texts: readonly string[]): string[] {
  return [...planted].flatMap(([name, value]) => {
    const found = texts.find((text) => text.includes(value))
    return found === undefined ? [] : [`${name} in: ${found.slice(0, 500)}`]
  })
}

test('the traffic was of every kind, and the search finds what is there', () => {
  const messages = new Set(product.lines.map(({ text }) => /"msg":"([^"]+)"/.exec(text)?.[1]))
  for (const message of [
    'webhook.accepted',
    'webhook.refused',
    'delivery.attempted',
    'delivery.given_up',
    'store.degraded',
    'store.recovered',
  ]) {
    expect(messages).toContain(message)
  }
  expect(errorBodies.length).toBeGreaterThan(12)
  expect(product.receiver.received.some(({ body }) => body.includes(TEXT))).toBe(true)
  expect(findPlanted([`a line with ${TEXT}`])).toHaveLength(1)
})

test('no secret, number, text or address is in any line that a process printed', () => {
  expect(findPlanted(product.lines.map(({ text }) => text))).toEqual([])
})

test('no secret, number, text or address is in /metrics or /readyz', () => {
  expect(metrics.length).toBeGreaterThanOrEqual(8)
  expect(findPlanted(metrics)).toEqual([])
})

test('no secret, number, text or address is in the body of an error', () => {
  expect(findPlanted(errorBodies)).toEqual([])
})

/** Tables whose rows hold the text, also in a bytea, which Postgres prints in hex. */
async function findTables(text: string): Promise<string[]> {
  const { pool } = product.database
  const { rows } = await pool.query<{ name: string }>(
    `select quote_ident(relname) as name from pg_class
      where relnamespace = 'public'::regnamespace and relkind = 'r'`,
  )
  const hex = Buffer.from(text).toString('hex')
  const found = await Promise.all(
    rows.map(async ({ name }) => {
      const sql = `select 1 from ${name} as t where t::text like $1 or t::text like $2 limit 1`
      return (await pool.query(sql, [`%${text}%`, `%${hex}%`])).rows.length > 0 ? [name] : []
    }),
  )
  return found.flat()
}

test('no token, key or signing secret is in clear in any table', async () => {
  // The control: what is no secret is found, as text and as bytes.
  expect(await findTables(tenant.accountSid)).toContain('provider_accounts')
  expect((await findTables(TEXT)).join()).toMatch(/events/)
  const found: string[] = []
  for (const [name, value] of secrets) {
    for (const table of await findTables(value)) found.push(`${name} in ${table}`)
  }
  expect(found).toEqual([])
})

test('a process that cannot start says which variable is wrong, not what it holds', async () => {
  const value = plant('bad-key')
  await expect(product.startWorker({ ENCRYPTION_KEYS: value })).rejects.toThrow()
  const said = product.lines.map(({ text }) => text).join('\n')
  expect(said).toContain('ENCRYPTION_KEYS')
  expect(said).not.toContain(value)
})
