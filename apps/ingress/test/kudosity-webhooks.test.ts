import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'
import { expectKudosity } from './kudosity-schemas.ts'

const PATH = '/v2/webhook'
const HOOK = 'https://receiver.example.com/hook'
const NEW = { name: 'My Webhook', url: HOOK }

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
})
afterAll(() => app.close())

const known = (id: string) => app.deps.snapshot.findDestination(id)
const names = async () =>
  (await tenant.call('GET', PATH)).body.webhooks.map(({ name }: { name: string }) => name)

/** A call or a transcript would break who reads Kudosity's events strictly. */
const KUDOSITYS_OWN = [
  ...['sms_received', 'mms_received', 'sms_status', 'mms_status', 'link_hit', 'opt_out'],
]

describe('a webhook of the Kudosity drop-in', () => {
  it('answers as Kudosity describes it', async () => {
    const filter = {
      event_type: ['SMS_INBOUND', 'SMS_STATUS'],
      sender: ['+61412345678'],
      status: ['DELIVERED', 'FAILED'],
      message_ref: ['ref123'],
      campaign_id: ['campaign_123'],
    }
    const made = await tenant.create(PATH, { ...NEW, filter, rate_limit: 50, is_sandbox: false })
    expect(made).toEqual({
      ...NEW,
      id: expect.stringMatching(/^dst_/),
      filter,
      rate_limit: 50,
      is_sandbox: false,
      created_at: expect.any(String),
      updated_at: expect.any(String),
    })
    expectKudosity('WebhookResponse', made)
    expect((await tenant.call('GET', `${PATH}/${made.id}`)).body).toEqual(made)
    const list = await tenant.call('GET', PATH)
    expect(list.body).toEqual({ webhooks: [made] })
    expectKudosity('WebhookListResponse', list.body)
    expect(known(made.id)).toMatchObject({
      format: 'kudosity',
      eventTypes: ['sms_received', 'sms_status'],
      filter,
    })
  })

  it('is a destination like any other, with a secret to rotate', async () => {
    const [{ id }] = (await tenant.call('GET', PATH)).body.webhooks
    const shown = await tenant.call('GET', `/api/v1/destinations/${id}`)
    expect(shown.body).toMatchObject({
      format: 'kudosity',
      event_types: ['sms_received', 'sms_status'],
      rate_limit_per_second: 50,
      filter: { status: ['DELIVERED', 'FAILED'] },
    })
    const rotated = await tenant.call('POST', `/api/v1/destinations/${id}/rotate-secret`)
    expect(rotated.body.secret).toMatch(/^whsec_/)
  })

  it('without a filter it gets every event that Kudosity has, without a rate limit as many as come', async () => {
    const made = await tenant.create(PATH, { ...NEW, rate_limit: 0 })
    expect(made).toMatchObject({ filter: null, rate_limit: 0 })
    expectKudosity('WebhookResponse', made)
    expect(known(made.id)?.eventTypes).toEqual(KUDOSITYS_OWN)
    const shown = await tenant.call('GET', `/api/v1/destinations/${made.id}`)
    expect(shown.body.rate_limit_per_second).toBeNull()
  })

  it('takes the deprecated event_type, and types that are unknown here', async () => {
    const old = await tenant.create(PATH, { ...NEW, event_type: 'OPT_OUT' })
    expect(old.filter).toEqual({ event_type: ['OPT_OUT'] })
    expect(known(old.id)?.eventTypes).toEqual(['opt_out'])
    const event_type = ['RCS_INBOUND', 'WHATSAPP_STATUS', 'LINK_HIT']
    const made = await tenant.create(PATH, { ...NEW, filter: { event_type } })
    expect(made.filter).toEqual({ event_type })
    expect(known(made.id)?.eventTypes).toEqual(['unknown', 'link_hit'])
  })

  it('PUT resets what it leaves out, and what was shown may be sent back', async () => {
    const filter = { event_type: ['MMS_STATUS'], sender: ['61412345678'] }
    const made = await tenant.create(PATH, { ...NEW, filter, rate_limit: 7 })
    const echoed = await tenant.call('PUT', `${PATH}/${made.id}`, made)
    expect(echoed.body).toEqual({ ...made, updated_at: expect.any(String) })
    const reset = { name: 'Reset', url: 'https://receiver.example.com/other' }
    const changed = await tenant.call('PUT', `${PATH}/${made.id}`, reset)
    expect(changed.status).toBe(200)
    expect(changed.body).toMatchObject({ ...reset, id: made.id, filter: null, rate_limit: 0 })
    expectKudosity('WebhookResponse', changed.body)
    expect(Date.parse(changed.body.updated_at)).toBeGreaterThan(Date.parse(made.updated_at) - 1)
    expect(known(made.id)).toMatchObject({ ...reset, eventTypes: KUDOSITYS_OWN, filter: null })
  })

  it('DELETE answers a message, and it is gone', async () => {
    const { id } = await tenant.create(PATH, { ...NEW, name: 'Soon gone' })
    const deleted = await tenant.call('DELETE', `${PATH}/${id}`)
    expect([deleted.status, deleted.body]).toEqual([200, { message: 'deleted' }])
    expectKudosity('WebhookDeleteResponse', deleted.body)
    for (const method of ['GET', 'DELETE']) {
      const again = await tenant.call(method, `${PATH}/${id}`)
      expect([again.status, again.body]).toEqual([404, { error: 'Webhook not found' }])
    }
    const put = await tenant.call('PUT', `${PATH}/${id}`, NEW)
    expect([put.status, put.body]).toEqual([404, { error: 'Webhook not found' }])
    expect(known(id)).toBeUndefined()
  })

  it('shows destinations in its format that were made elsewhere, and only those', async () => {
    await tenant.create('/api/v1/destinations', {
      ...{ url: HOOK, format: 'kudosity', name: 'Elsewhere', rate_limit_per_second: 0.5 },
      event_types: ['sms_received', 'call_ended'],
    })
    const burki = { url: HOOK, format: 'burki', name: 'Burki' }
    const { id } = await tenant.create('/api/v1/destinations', burki)
    const list = await tenant.call('GET', PATH)
    expectKudosity('WebhookListResponse', list.body)
    expect(list.body.webhooks[0]).toMatchObject({
      ...{ name: 'Elsewhere', rate_limit: 1, filter: { event_type: ['SMS_INBOUND'] } },
    })
    expect(await names()).not.toContain('Burki')
    for (const method of ['GET', 'PUT', 'DELETE']) {
      const body = method === 'PUT' ? NEW : undefined
      expect((await tenant.call(method, `${PATH}/${id}`, body)).status).toBe(404)
    }
  })
})

describe('what the Kudosity drop-in refuses', () => {
  it.each([
    ['no name', { url: HOOK }],
    ['no URL', { name: 'My Webhook' }],
    ['a name of one letter', { ...NEW, name: 'a' }],
    ['a name of 101 letters', { ...NEW, name: 'a'.repeat(101) }],
    ['a plain-http URL', { ...NEW, url: 'http://receiver.example.com/' }],
    ['a private URL', { ...NEW, url: 'https://10.0.0.1/' }],
    ['no URL at all', { ...NEW, url: 'receiver' }],
    ['a negative rate', { ...NEW, rate_limit: -1 }],
    ['too high a rate', { ...NEW, rate_limit: 10_001 }],
    ['half a request a second', { ...NEW, rate_limit: 0.5 }],
    ['a rate as text', { ...NEW, rate_limit: '5' }],
    ['an unknown event type', { ...NEW, filter: { event_type: ['NONE'] } }],
    ['an unknown deprecated event type', { ...NEW, event_type: 'sms_received' }],
    ['a filter that is a list', { ...NEW, filter: [] }],
    ['a filter of texts', { ...NEW, filter: { sender: '61412345678' } }],
    ['101 senders', { ...NEW, filter: { sender: Array(101).fill('61412345678') } }],
    ['an unknown filter', { ...NEW, filter: { senders: ['61412345678'] } }],
    ['an unknown field', { ...NEW, colour: 'red' }],
    ['NUL', { ...NEW, name: 'a\0b' }],
    ['a list', [NEW]],
    ['null', null],
  ])('%s is a 400 with exactly one sentence', async (_name, body) => {
    const { id } = await tenant.create(PATH, NEW)
    for (const [method, path] of [
      ['POST', PATH],
      ['PUT', `${PATH}/${id}`],
    ] as const) {
      const answer = await tenant.call(method, path, body)
      expect([answer.status, answer.body]).toEqual([400, { error: expect.any(String) }])
    }
    expect((await tenant.call('GET', `${PATH}/${id}`)).body.name).toBe(NEW.name)
    await tenant.call('DELETE', `${PATH}/${id}`)
  })

  it.each([
    ['broken JSON', '{"name":', 'application/json'],
    ['no body', '', 'application/json'],
    ['broken UTF-8', new Uint8Array([0x7b, 0xff, 0x7d]), 'application/json'],
    ['another type', 'name=a', 'application/x-www-form-urlencoded'],
    ['300 kB', JSON.stringify({ name: 'a'.repeat(300_000) }), 'application/json'],
    ['200 levels', `${'['.repeat(200)}${']'.repeat(200)}`, 'application/json'],
  ])('%s is a 400 too', async (_name, rawBody, type) => {
    const headers = { 'content-type': type }
    const answer = await app.send('POST', PATH, { key: tenant.key, rawBody, headers })
    expect([answer.status, answer.body]).toEqual([400, { error: expect.any(String) }])
  })

  it('names the field that is wrong', async () => {
    const answer = await tenant.call('POST', PATH, { ...NEW, rate_limit: 10_001 })
    expect(answer.body.error).toMatch(/^Validation Error: rate_limit: /)
  })

  it.each([
    ['no key', {}],
    ['a wrong key', { 'x-api-key': `swh_${'a'.repeat(12)}_${'a'.repeat(52)}` }],
    ['no key at all', { 'x-api-key': '' }],
  ])('%s is a 401', async (_name, headers) => {
    for (const [method, path] of [
      ['GET', PATH],
      ['POST', PATH],
      ['GET', `${PATH}/x`],
      ['PUT', `${PATH}/x`],
      ['DELETE', `${PATH}/x`],
    ] as const) {
      const answer = await app.send(method, path, { headers })
      expect([answer.status, answer.body]).toEqual([401, { error: expect.any(String) }])
    }
  })

  it('a key in the other header is none, and the other way round', async () => {
    const bearer = { authorization: `Bearer ${tenant.key}` }
    expect((await app.send('GET', PATH, { headers: bearer })).status).toBe(401)
    const headers = { 'x-api-key': tenant.key }
    expect((await app.send('GET', '/api/v1/destinations', { headers })).status).toBe(401)
  })

  it('a key that may only read does not write', async () => {
    const key = await app.createKey(tenant, ['read'])
    expect((await app.send('GET', PATH, { key })).status).toBe(200)
    const answer = await app.send('POST', PATH, { key, body: NEW })
    expect([answer.status, answer.body]).toEqual([403, { error: expect.any(String) }])
  })

  it.each([
    ['GET', `${PATH}/x/y`, 404],
    ['GET', `${PATH}/%zz`, 404],
    ['GET', `${PATH}/67e3e4af-62e8-4515-8b67-6f20d0c51ffb`, 404],
    ['PATCH', PATH, 405],
    ['POST', `${PATH}/x`, 405],
  ])('%s %s is a %i in its words', async (method, path, status) => {
    const answer = await tenant.call(method, path)
    expect([answer.status, answer.body]).toEqual([status, { error: expect.any(String) }])
    if (status === 405) expect(answer.headers.get('allow')).toMatch(/GET/)
  })

  it('answers in its words while nothing is ready, and to too many requests', async () => {
    let isReady = true
    const slow = await startApiTestApp({ rateLimitPerSecond: 1, isReady: () => isReady })
    try {
      const { key } = await slow.createTenant()
      const refuse = async () => {
        const { status, headers, body } = await slow.send('GET', PATH, { key })
        const retryAfter = headers.get('retry-after')
        // 0: the second was over before it was refused.
        return status === 429 && retryAfter !== '0' && [retryAfter, body]
      }
      const refused = await waitFor(refuse, { timeoutMs: 20_000, everyMs: 0, what: 'a 429' })
      expect(refused).toEqual(['1', { error: expect.any(String) }])
      isReady = false
      const early = await slow.send('GET', PATH, { key })
      expect([early.status, early.body]).toEqual([503, { error: 'Not ready yet' }])
      expect(early.headers.get('retry-after')).toBe('1')
    } finally {
      await slow.close()
    }
  })

  it('a fault of ours tells nothing but that', async () => {
    const broken = await startApiTestApp({
      egress: {
        ...app.deps.egress,
        checkUrl() {
          throw new Error('planted internal reason')
        },
      },
    })
    try {
      const asked = await broken.createTenant()
      const answer = await asked.call('POST', PATH, NEW)
      expect([answer.status, answer.body]).toEqual([500, { error: 'Internal Server Error' }])
    } finally {
      await broken.close()
    }
  })
})
