import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'
import { expectIssues } from './expect-issues.ts'

const HOOK = 'https://example.com/'
const DESTINATIONS = '/api/v1/destinations'

let app: ApiTestApp
let tenant: Tenant
let path: string

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
  const { id } = await tenant.create(DESTINATIONS, { url: HOOK })
  path = `${DESTINATIONS}/${id}`
})
afterAll(() => app.close())

const raw = (rawBody: string | Uint8Array<ArrayBuffer>, contentType = 'application/json') =>
  app.send('POST', DESTINATIONS, {
    key: tenant.key,
    rawBody,
    headers: { 'content-type': contentType },
  })

describe('fields', () => {
  it.each(['id', 'organization_id', 'created_at', 'secret', 'circuit', 'implied_by', 'role'])(
    '%s cannot be set',
    async (field) => {
      expectIssues(await tenant.call('POST', DESTINATIONS, { url: HOOK, [field]: 'x' }))
      expectIssues(await tenant.call('PATCH', path, { [field]: 'x' }))
    },
  )

  it.each(['__proto__', 'constructor', 'prototype'])('a key "%s" is 422', async (key) => {
    expectIssues(await raw(`{"url":"${HOOK}","${key}":{"polluted":true}}`))
    expectIssues(await raw(`{"url":"${HOOK}","headers":{"${key}":"x"}}`))
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })

  const WRONG: readonly (readonly [field: string, values: readonly unknown[]])[] = [
    ['name', ['', '   ', 5, null, [], 'x'.repeat(201), 'a\0b', 'a\ud800b', '\udc00']],
    ['url', ['', null, 5, {}, 'not a url', 'http://example.com/', 'https://10.0.0.1/']],
    ['format', ['PBX', 'json', 'xml', null, 1]],
    ['event_types', [[], ['SMS_RECEIVED'], ['*', 'sms_received'], 'sms_received', [null]]],
    ['event_types', [['sms_received', 'sms_received']]],
    ['assistant_id', ['1', 0, -1, 1.5, Number.POSITIVE_INFINITY, 2 ** 53, true]],
    ['phone_number', ['61400000001', '+0400000001', '+61 400 000 001', '+6', 5]],
    ['filter', [[], { from: '(a+)+$' }, 'x']],
    ['success_rule', ['2XX', 200, null]],
    ['timeout_ms', ['5', 99, 30_001, 1000.5, -0, null, true]],
    ['retry', [null, [], { attempts: 3 }, { max_attempts: 0 }, { max_attempts: 51 }]],
    ['retry', [{ delays_seconds: [] }, { delays_seconds: [-1] }, { delays_seconds: ['5'] }]],
    ['retry', [{ delays_seconds: [1e9] }, { delays_seconds: Array(51).fill(1) }, { jitter: 'no' }]],
    ['rate_limit_per_second', [0, -1, '5', 1e9]],
    ['max_concurrency', [0, 1001, 1.5, null]],
    ['freshness_seconds', [0, -1, 1e9, '60']],
    ['status', ['Active', 'deleted', null]],
    ['headers', [null, [], 'x', { 'x-a': 1 }, { 'x-a': '' }, { 'x-a': ' b' }, { '': 'x' }]],
    ['headers', [{ 'x-a': 'b\r\nx-b: c' }, { 'x-a': 'b\0' }, { 'x a': 'b' }, { 'x-a:': 'b' }]],
    ['headers', [{ 'x-é': 'b' }, { 'x-a': 'é' }, { 'x-a': 'b', 'X-A': 'c' }]],
    ['headers', [{ Host: 'x' }, { 'content-length': '1' }, { 'Content-Type': 'x' }]],
    ['headers', [{ 'Transfer-Encoding': 'chunked' }, { Connection: 'close' }, { Cookie: 'a=b' }]],
    ['headers', [{ 'Webhook-Signature': 'x' }, { 'webhook-id': 'x' }, { 'x-forwarded-for': '1' }]],
    ['headers', [Object.fromEntries(Array.from({ length: 21 }, (_, n) => [`x-${n}`, 'a']))]],
    [
      'headers',
      [{ 'x-a': 'b'.repeat(2048), 'x-b': 'b'.repeat(2048) }, { 'x-a': 'b'.repeat(5000) }],
    ],
    ['fallback_email', ['a@b', 'a@example.com,b@example.com', 'A <a@example.com>', 'g: a@b.com;']],
    ['fallback_email', ['a@example.com\r\nBcc: x@example.com', `${'a'.repeat(65)}@example.com`]],
    ['fallback_email', [`a@${'b'.repeat(320)}.com`, '"a b"@example.com', '-oQ/tmp@example.com']],
    ['fallback_email', ['ä\u200b@example.com', 'a@exämple.com', '@example.com', {}, ['a@b.com']]],
  ]
  const cases = WRONG.flatMap(([field, values]) =>
    values.map((value) => ({
      field,
      value,
      shown: JSON.stringify(value).slice(0, 60),
    })),
  )

  it.each(cases)('$field: $shown is refused and changes nothing', async ({ field, value }) => {
    const before = await tenant.call('GET', path)
    // JSON.stringify writes neither infinity nor -0, but a sender can.
    const text = Object.is(value, -0) ? '-0' : value === Infinity ? '1e400' : JSON.stringify(value)
    const patched = await app.send('PATCH', path, {
      key: tenant.key,
      rawBody: `{"${field}":${text}}`,
    })
    expectIssues(patched)
    const base = field === 'url' ? '' : `"url":"${HOOK}",`
    expectIssues(await raw(`{${base}"${field}":${text}}`))
    expect((await tenant.call('GET', path)).body).toEqual(before.body)
  })

  it.each(['', '=cmd()', '{{7*7}}', '<script>alert(1)</script>', '\u202egnp', '👍', "'; drop --"])(
    'the name "%s" is kept as it is, or refused for being empty',
    async (name) => {
      const answer = await tenant.call('PATCH', path, { name })
      if (name === '') expectIssues(answer)
      else expect(answer.body.name).toBe(name)
    },
  )

  it('a number and an assistant exclude each other', async () => {
    const { id } = await tenant.create('/api/v1/assistants', { name: 'One' })
    const both = { assistant_id: id, phone_number: '+61400000001' }
    expectIssues(await tenant.call('POST', DESTINATIONS, { url: HOOK, ...both }))
  })

  it('no delays are fine for a single attempt', async () => {
    const retry = { max_attempts: 1, delays_seconds: [] }
    expect((await tenant.call('POST', DESTINATIONS, { url: HOOK, retry })).status).toBe(201)
  })

  it('a URL of this gateway is refused: it would call itself for ever', async () => {
    const url = 'https://hooks.example.com:443/twilio-sms-webhook'
    expectIssues(await tenant.call('POST', DESTINATIONS, { url }))
  })

  it.each([
    ['/api/v1/assistants', { name: 'x', webhook_url: 'https://localhost/' }],
    ['/api/v1/assistants', { name: 'x', sms_webhook_url: 'https://[::1]/' }],
    ['/api/v1/assistants', { name: 'x', webhook_fallback_email: 'a@b' }],
    ['/api/v1/assistants', { name: 'x', messaging_service_sid: 'MG1' }],
    ['/api/v1/assistants', { webhook_url: HOOK }],
    ['/api/v1/phone-numbers', { phone_number: '+61400000005' }],
    ['/api/v1/phone-numbers', { phone_number: '0400', provider: 'twilio' }],
    ['/api/v1/phone-numbers', { phone_number: '+61400000005', provider: 'platform' }],
    [
      '/api/v1/phone-numbers',
      { phone_number: '+61400000005', provider: 'twilio', webhook_url: 'https://127.1/' },
    ],
    [
      '/api/v1/phone-numbers',
      { phone_number: '+61400000005', provider: 'twilio', webhook_url_fallback: 'https://x.com' },
    ],
    ['/api/v1/provider-accounts', { provider: 'nobody' }],
    ['/api/v1/provider-accounts', { provider: 'twilio', account_sid: 'AC1', auth_token: 'x' }],
    [
      '/api/v1/provider-accounts',
      { provider: 'twilio', account_sid: `AC${'0'.repeat(32)}`, auth_token: 'a b' },
    ],
    ['/api/v1/api-keys', { scopes: [] }],
    ['/api/v1/api-keys', { scopes: ['root'] }],
    ['/api/v1/api-keys', { name: '' }],
  ])('%s refuses %j', async (at, body) => {
    expectIssues(await tenant.call('POST', at, body))
  })

  it('a phone number never changes', async () => {
    const { id } = await tenant.create('/api/v1/phone-numbers', {
      phone_number: '+61400000007',
      provider: 'twilio',
    })
    const answer = await tenant.call('PATCH', `/api/v1/phone-numbers/${id}`, {
      phone_number: '+61400000008',
    })
    expectIssues(answer)
  })

  it('an action takes no body but an empty one, and a list no unknown query', async () => {
    expect((await tenant.call('POST', `${path}/resume`, {})).status).toBe(200)
    expectIssues(await tenant.call('POST', `${path}/rotate-secret`, { ttl: -1 }))
    expectIssues(await tenant.call('GET', `${DESTINATIONS}?limit=0`))
    expectIssues(await tenant.call('GET', `${DESTINATIONS}?limit=1&limit=2`))
    expectIssues(await tenant.call('GET', `${DESTINATIONS}?sort=name`))
    expectIssues(await tenant.call('GET', `${DESTINATIONS}?cursor=bnVsbA`))
    expectIssues(await tenant.call('GET', `${path}?__proto__=1`))
  })
})
