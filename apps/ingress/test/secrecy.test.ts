import type { Logger } from '@switchhook/core/log'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { ADMIN_KEY, type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const AUTH_TOKEN = 'planted0auth0token0of0twilio'
const UNSIGNED = {
  provider: 'kudosity',
  basic: { username: 'hook', password: 'planted0password0of0kudosity' },
  api_secret: 'planted0secret0of0kudosity',
}
const SECOND_TOKEN = 'planted0second0token0of0twilio'

let app: ApiTestApp
let tenant: Tenant
const lines: string[] = []

beforeAll(async () => {
  const write = (fields: object, message: string) => {
    const withErrors = (_key: string, value: unknown) =>
      value instanceof Error ? `${value.message} ${value.stack}` : value
    lines.push(JSON.stringify([message, fields], withErrors))
  }
  const log: Logger = { debug: write, info: write, warn: write, error: write }
  app = await startApiTestApp({ log })
  tenant = await app.createTenant()
})
afterAll(() => app.close())

/** Everything that the configuration tables hold, as one text. */
async function dump(): Promise<string> {
  const tables = [
    ...['organizations', 'api_keys', 'provider_accounts'],
    ...['assistants', 'phone_numbers', 'destinations', 'audit_logs'],
  ]
  const texts = await Promise.all(
    tables.map(async (table) => {
      const { rows } = await app.deps.database.pool.query(`select t::text from ${table} t`)
      return JSON.stringify(rows)
    }),
  )
  return texts.join('\n')
}

it('secrets are told once, and are neither in Postgres, nor in another answer, nor in a log line', async () => {
  const { api_key: key } = await tenant.create('/api/v1/api-keys', { scopes: ['read'] })
  const account = await tenant.create('/api/v1/provider-accounts', {
    provider: 'twilio',
    account_sid: `AC${'0'.repeat(32)}`,
    auth_token: AUTH_TOKEN,
    secondary_auth_token: SECOND_TOKEN,
  })
  const unsigned = await tenant.create('/api/v1/provider-accounts', UNSIGNED)
  const unsignedPath = `/api/v1/provider-accounts/${unsigned.id}`
  const turned = await tenant.call('POST', `${unsignedPath}/rotate-token`)
  const made = await tenant.create('/api/v1/destinations', { url: 'https://example.com/' })
  const path = `/api/v1/destinations/${made.id}`
  const rotated = await tenant.call('POST', `${path}/rotate-secret`)
  await tenant.create('/api/v1/assistants', { name: 'x', webhook_url: 'https://example.com/' })

  const secrets = [
    ...[AUTH_TOKEN, SECOND_TOKEN, ADMIN_KEY, UNSIGNED.basic.password, UNSIGNED.api_secret],
    ...[unsigned, turned.body].map(({ webhook_urls: [url] }) =>
      url.slice(url.lastIndexOf('/') + 1),
    ),
    ...[tenant.key, key].map((text) => text.split('_')[2]),
    ...[made.secret, rotated.body.secret].map((text: string) => text.slice('whsec_'.length)),
  ]
  const answers = await Promise.all(
    [
      '/api/v1/organization',
      '/api/v1/api-keys',
      '/api/v1/users/me/api-keys',
      '/api/v1/audit/logs',
      '/api/v1/provider-accounts',
      `/api/v1/provider-accounts/${account.id}`,
      unsignedPath,
      '/api/v1/audit/logs',
      '/api/v1/assistants',
      '/api/v1/phone-numbers',
      '/api/v1/destinations',
      path,
    ].map((at) => tenant.call('GET', at)),
  )
  answers.push(
    await tenant.call('PATCH', path, { name: 'New' }),
    await tenant.call('POST', `${path}/pause`),
    await tenant.call('PATCH', `/api/v1/provider-accounts/${account.id}`, {}),
    await tenant.call('POST', '/api/v1/provider-accounts', { auth_token: AUTH_TOKEN }),
    await tenant.call('POST', '/api/v1/provider-accounts', { ...UNSIGNED, provider: 'pbx' }),
    await tenant.call('PATCH', unsignedPath, { api_secret: UNSIGNED.api_secret }),
    await tenant.call('POST', '/api/v1/provider-accounts', {
      provider: 'twilio',
      account_sid: `AC${'0'.repeat(32)}`,
      auth_token: AUTH_TOKEN,
    }),
  )
  const places = [await dump(), lines.join('\n'), ...answers.map(({ text }) => text)]
  for (const secret of secrets) {
    for (const place of places) expect(place).not.toContain(secret)
    for (const place of places) expect(place).not.toContain(encodeURIComponent(secret ?? ''))
  }
  for (const { text } of answers) expect(text).not.toMatch(/sha256|ciphertext|"secret"/)
})

it('a fault of ours tells its reason to the log and not to the sender', async () => {
  const broken = await startApiTestApp({
    log: app.deps.log,
    async accept() {
      throw new Error('planted internal reason')
    },
  })
  try {
    const asked = await broken.createTenant()
    const answer = await asked.call('POST', '/api/v1/events', { type: 'sms_received', data: {} })
    expect([answer.status, answer.body]).toEqual([500, { detail: 'Internal Server Error' }])
    expect(lines.join('\n')).toContain('planted internal reason')
  } finally {
    await broken.close()
  }
})
