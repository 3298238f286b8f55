import type { AcceptedEvent } from '@switchhook/core/event'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectIssues } from './expect-issues.ts'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { store } from './stored-rows.ts'

const PATH = '/api/v1/sms-logs/'
const MINUTE_MS = 60_000

/** docs.burki.dev, SMS logs; the last one is ours. */
const FIELDS = [
  ...['id', 'provider', 'provider_message_id', 'direction', 'from_number', 'to_number', 'body'],
  ...['media_urls', 'segment_count', 'status', 'provider_status', 'error_code', 'error_message'],
  ...['assistant_id', 'assistant_name', 'created_at', 'updated_at', 'event_id'],
]

type Row = Record<string, unknown> & { readonly body: string }

let app: ReadSideApp
let nextNumber = 14155550100

beforeAll(async () => {
  app = await startReadSideApp()
})
afterAll(() => app.close())

const addTenant = () => app.addTenant(`+${nextNumber++}`)
const form = (fields: Record<string, string>): Buffer =>
  Buffer.from(new URLSearchParams(fields).toString())

async function listed(tenant: Tenant, query = '') {
  const { status, body } = await app.get(tenant, PATH + query)
  expect(status, JSON.stringify(body)).toBe(200)
  return body
}
const bodies = async (tenant: Tenant, query: string): Promise<string[]> =>
  (await listed(tenant, query)).items.map((row: Row) => row.body)

/** A text that came in over Twilio. */
const receive = (tenant: Tenant, sid: string, body: string, event: Partial<AcceptedEvent> = {}) =>
  store(app, tenant, {
    event: {
      peerNumber: '+61491570006',
      payload: form({
        ...{ MessageSid: sid, From: '+61491570006', To: tenant.phoneNumber, Body: body },
        ...{ AccountSid: `AC${'1'.repeat(32)}`, NumMedia: '0' },
      }),
      ...event,
    },
  })

/** A status of a text that went out over Twilio. */
const report = (
  tenant: Tenant,
  sid: string,
  status: string,
  facts: { rank: number; atMs: number; fields?: Record<string, string> },
) =>
  store(app, tenant, {
    event: {
      type: 'sms_status',
      peerNumber: '+61491570007',
      receivedAtMs: facts.atMs,
      order: { subject: `${tenant.organizationId} ${sid}`, rank: facts.rank },
      payload: form({
        ...{ MessageSid: sid, From: tenant.phoneNumber, To: '+61491570007' },
        ...{ AccountSid: `AC${'1'.repeat(32)}`, MessageStatus: status, ...facts.fields },
      }),
    },
  })

describe('GET /api/v1/sms-logs/', () => {
  it("shows a message that came in, in Burki's fields", async () => {
    const tenant = await addTenant()
    const { event } = await receive(tenant, `SM${'1'.repeat(32)}`, 'Hello', {
      assistantId: tenant.assistantId,
    })
    const page = await listed(tenant)
    expect(page).toMatchObject({ total: 1, skip: 0, limit: 50, has_more: false })
    expect(Object.keys(page.items[0]).sort()).toEqual(FIELDS.toSorted())
    expect(page.items[0]).toMatchObject({
      id: expect.any(Number),
      provider: 'twilio',
      provider_message_id: `SM${'1'.repeat(32)}`,
      direction: 'inbound',
      from_number: '+61491570006',
      to_number: tenant.phoneNumber,
      body: 'Hello',
      media_urls: [],
      status: 'received',
      error_code: null,
      assistant_id: tenant.assistantId,
      assistant_name: 'Ava',
      created_at: new Date(event.receivedAtMs).toISOString(),
      event_id: event.id,
    })
    expect(Number.isSafeInteger(page.items[0].id)).toBe(true)
  })

  it('is served without the slash, and ignores what it does not know', async () => {
    const tenant = await addTenant()
    await receive(tenant, 'SM1', 'Hello')
    const bare = await app.get(tenant, '/api/v1/sms-logs?unknown=1&provider=')
    expect([bare.status, bare.body.total]).toEqual([200, 1])
  })

  it('has one row for a message that went out, with its latest status', async () => {
    const tenant = await addTenant()
    const atMs = Date.now() - 10 * MINUTE_MS
    await report(tenant, 'SM7', 'sent', { rank: 2, atMs })
    const [first] = (await listed(tenant)).items
    expect(first).toMatchObject({ status: 'sent', provider_status: 'sent', direction: 'outbound' })
    const fields = { ErrorCode: '30003' }
    await report(tenant, 'SM7', 'undelivered', { rank: 5, atMs: atMs + MINUTE_MS, fields })
    // Comes after the end: says nothing any more.
    await report(tenant, 'SM7', 'sending', { rank: 1, atMs: atMs + 2 * MINUTE_MS })
    const { items, total } = await listed(tenant)
    expect(total).toBe(1)
    expect(items[0]).toMatchObject({
      id: first.id,
      from_number: tenant.phoneNumber,
      to_number: '+61491570007',
      status: 'failed',
      provider_status: 'undelivered',
      error_code: '30003',
      created_at: new Date(atMs).toISOString(),
      updated_at: new Date(atMs + 2 * MINUTE_MS).toISOString(),
    })
  })

  it('tells messages of two organizations and two numbers apart that have one id', async () => {
    const [tenant, other] = [await addTenant(), await addTenant()]
    await receive(tenant, 'SM8', 'mine')
    await receive(tenant, 'SM8', 'to my other number', { phoneNumber: '+14155559000' })
    await receive(other, 'SM8', 'theirs')
    expect((await bodies(tenant, '')).sort()).toEqual(['mine', 'to my other number'])
    expect(await bodies(other, '')).toEqual(['theirs'])
  })

  it('leaves out what is no message, and shows one whose payload cannot be read', async () => {
    const tenant = await addTenant()
    await store(app, tenant, { event: { type: 'call_started', callSid: 'CA1' } })
    await receive(tenant, 'SM1', 'STOP', { type: 'opt_out' })
    await receive(tenant, 'SM1', '', { payload: Buffer.from([0xff, 0x00]) })
    const { items } = await listed(tenant)
    expect(items).toHaveLength(1)
    expect(items[0]).toMatchObject({
      from_number: '+61491570006',
      to_number: tenant.phoneNumber,
      body: '',
      provider_message_id: null,
    })
  })
})

describe('its filters', () => {
  let tenant: Tenant
  const noonMs = Date.now() - 26 * 60 * MINUTE_MS

  beforeAll(async () => {
    tenant = await addTenant()
    await receive(tenant, 'SM1', 'Where is my Parcel?', {
      receivedAtMs: noonMs,
      assistantId: tenant.assistantId,
    })
    await receive(tenant, 'SM2', '100% sure_', { receivedAtMs: noonMs + MINUTE_MS })
    await report(tenant, 'SM3', 'delivered', { rank: 5, atMs: noonMs + 2 * MINUTE_MS })
    await app.post(tenant, '/api/v1/events', {
      ...{ type: 'sms_received', phone_number: tenant.phoneNumber, idempotency_key: 'published' },
      data: { from: '+61491570009', body: 'Published', message_id: 'm-1' },
    })
  })

  const at = (minutes: number) => new Date(noonMs + minutes * MINUTE_MS).toISOString()
  const days = (count: number) => new Date(noonMs - count * 24 * 60 * MINUTE_MS).toISOString()

  it.each<[string, () => string, string[]]>([
    ['provider', () => 'provider=platform', ['Published']],
    ['a provider that there is not', () => 'provider=vonage', []],
    ['direction', () => 'direction=outbound', ['']],
    ['another direction', () => 'direction=sideways', []],
    ['unified status', () => 'status=delivered', ['']],
    ['status in capitals', () => 'status=DELIVERED', ['']],
    ['status of what came in', () => 'status=received&provider=platform', ['Published']],
    ['sender', () => 'from_number=%2B61491570009', ['Published']],
    ['sender with a bare plus', () => 'from_number=+61491570009', ['Published']],
    ['own number as sender', () => `from_number=${encodeURIComponent(tenant.phoneNumber)}`, ['']],
    ['recipient', () => 'to_number=%2B61491570007&direction=outbound', ['']],
    [
      'own number as recipient',
      () => `to_number=${encodeURIComponent(tenant.phoneNumber)}&provider=twilio`,
      ['100% sure_', 'Where is my Parcel?'],
    ],
    [
      'assistant',
      () => `assistant_id=${tenant.assistantId}&provider=twilio`,
      ['Where is my Parcel?'],
    ],
    ["nobody's assistant", () => 'assistant_id=999999', []],
    ['from', () => `date_from=${at(3)}`, ['Published']],
    ['to, which is included', () => `date_to=${at(0)}`, ['Where is my Parcel?']],
    ['from and to', () => `date_from=${at(0.5)}&date_to=${at(1.5)}`, ['100% sure_']],
    ['text in any case', () => 'search=pArCeL', ['Where is my Parcel?']],
    ['text that would be a pattern', () => 'search=0%25%20', ['100% sure_']],
    ['no pattern', () => 'search=%25', ['100% sure_']],
    ['text of 30 days', () => `search=parcel&date_from=${days(28)}`, ['Where is my Parcel?']],
  ])('%s', async (_name, query, expected) => {
    expect(await bodies(tenant, `?${query()}`)).toEqual(expected)
  })

  it('pages by skip and limit, newest first', async () => {
    const first = await listed(tenant, '?limit=3')
    const second = await listed(tenant, '?limit=3&skip=3')
    const all = [...first.items, ...second.items].map(({ body }: Row) => body)
    expect(all).toEqual(['Published', '', '100% sure_', 'Where is my Parcel?'])
    expect(first).toMatchObject({ total: 4, skip: 0, limit: 3, has_more: true })
    expect(second).toMatchObject({ total: 4, skip: 3, limit: 3, has_more: false })
    expect(await listed(tenant, '?skip=100')).toMatchObject({ items: [], has_more: false })
  })

  it.each([
    ...[
      'limit=0',
      'limit=501',
      'limit=x',
      'skip=-1',
      'skip=1e3',
      'assistant_id=a',
      'limit=1&limit=2',
    ],
    ...['date_from=yesterday', 'date_to=2026-02-30', 'search=%00', `search=${'x'.repeat(300)}`],
    ...['search=a&date_from=2026-01-01&date_to=2026-03-01', 'from_number=%F0%9F%91%8B%00'],
  ])('?%s is 422', async (query) => {
    expectIssues(await app.get(tenant, `${PATH}?${query}`))
  })
})

describe('what one request may cost', () => {
  const BIG = 4 * 1024 * 1024

  it('reads no more than 16 MiB of payloads, says that there is more, and lets date_to find it', async () => {
    const tenant = await addTenant()
    const atMs = Date.now() - 60 * MINUTE_MS
    for (let index = 0; index < 5; index += 1) {
      await receive(tenant, `SM${index}`, `${index}${'x'.repeat(BIG)}`, {
        receivedAtMs: atMs + index * MINUTE_MS,
      })
    }
    const page = await listed(tenant, '?limit=2')
    expect(page).toMatchObject({ total: 3, has_more: true })
    expectIssues(await app.get(tenant, `${PATH}?skip=3`))
    const older = await listed(tenant, `?date_to=${new Date(atMs + MINUTE_MS).toISOString()}`)
    expect(older.items.map(({ body }: Row) => body[0])).toEqual(['1', '0'])
  })

  it('is no more than 1.5 s of Postgres: then it is 503, and says what to do', async () => {
    const tenant = await addTenant()
    const { pool } = app.database
    const blocker = await pool.connect()
    try {
      await blocker.query('begin; lock table events in access exclusive mode')
      const answer = await app.get(tenant, PATH)
      expect([answer.status, answer.body]).toEqual([
        503,
        { detail: 'There is too much to look at: narrow date_from and date_to' },
      ])
      expect(answer.headers.get('retry-after')).toBe('1')
    } finally {
      await blocker.query('rollback')
      blocker.release()
    }
    expect(await listed(tenant)).toMatchObject({ total: 0 })
  })
})
