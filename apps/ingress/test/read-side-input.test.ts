import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { type Stored, store } from './stored-rows.ts'

let app: ReadSideApp
let tenant: Tenant
let other: Tenant
let stored: Stored
let foreign: Stored

beforeAll(async () => {
  app = await startReadSideApp()
  tenant = await app.addTenant('+14155550100')
  other = await app.addTenant('+14155550200')
  stored = await store(app, tenant)
  await store(app, tenant)
  foreign = await store(app, other, { event: { callSid: 'CA-theirs' } })
})
afterAll(() => app.close())

const LISTS = ['events', 'deliveries', 'webhook-logs'] as const

const BAD_QUERIES = [
  ...['limit=0', 'limit=-1', 'limit=201', 'limit=1000000000', 'limit=1e2', 'limit=a', 'limit='],
  ...['limit=9223372036854775808', 'limit=1&limit=2', 'limit[]=1', 'limit=1%00', 'offset=1'],
  ...['cursor=', 'cursor=x', 'cursor=%00', 'cursor=%F0%9F%91%8B', `cursor=${'A'.repeat(5000)}`],
  ...['cursor=W10', 'cursor=bnVsbA', 'cursor=W251bGwsbnVsbF0', 'cursor=a&cursor=b'],
  ...['since=2026-13-01T00:00:00Z', 'since=2026-02-30T00:00:00Z', 'since=2026-01-01T00:00:00'],
  ...['since=yesterday', 'since=', 'since=1764000000', 'until=%2B300000-01-01T00:00:00Z'],
  ...['since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z', 'until=2026-01-01T00:00:00Z%00'],
  ...['type=', 'call_sid=', 'call_sid=a%00b', `call_sid=${'C'.repeat(5000)}`, 'unknown=1'],
  ...['__proto__=1', 'constructor=1'],
]

describe.each(LISTS)('GET /api/v1/%s', (list) => {
  it.each(BAD_QUERIES)('?%s is 422', async (query) => {
    const answer = await app.get(tenant, `/api/v1/${list}?${query}`)
    expect(answer.status).toBe(422)
    expect(answer.body.detail[0]).toEqual({
      loc: expect.arrayContaining(['query']),
      msg: expect.any(String),
      type: expect.any(String),
    })
  })

  it('refuses a cursor that was changed or belongs to another list', async () => {
    const { next_cursor: cursor } = (await app.get(tenant, `/api/v1/${list}?limit=1`)).body
    for (const at of [0, 5, 20, cursor.length - 1]) {
      const changed = cursor.slice(0, at) + (cursor[at] === 'A' ? 'B' : 'A') + cursor.slice(at + 1)
      expect((await app.get(tenant, `/api/v1/${list}?cursor=${changed}`)).status).toBe(422)
    }
    for (const another of LISTS.filter((name) => name !== list)) {
      expect((await app.get(tenant, `/api/v1/${another}?cursor=${cursor}`)).status).toBe(422)
    }
  })

  it('needs a key', async () => {
    expect((await app.send('GET', `/api/v1/${list}`, { key: 'swh_none' })).status).toBe(401)
  })
})

describe('filters of one list only', () => {
  it.each([
    'events?type=nonsense',
    'events?state=lost',
    'events?outcome=delivered',
    'deliveries?state=DELIVERED',
    'deliveries?state=delivered&state=pending',
    'deliveries?type=nonsense',
    'deliveries?destination=',
    'deliveries?destination=a%00b',
    'webhook-logs?outcome=ok',
    'webhook-logs?success=1',
    `webhook-logs?delivery=${'d'.repeat(1000)}`,
    'webhook-logs?state=delivered',
  ])('%s is 422', async (path) => {
    expect((await app.get(tenant, `/api/v1/${path}`)).status).toBe(422)
  })
})

describe("an id that is malformed, unknown or another organization's", () => {
  const BAD_IDS = [
    ...['..%2f..%2fetc', '%00', "'; drop table events", 'undefined', 'NaN', '0', '-1'],
    ...['constructor', '__proto__', 'x'.repeat(5000), 'EVT_ABC', '%F0%9F%91%8B'],
  ]

  it('is 404 with the same words for events', async () => {
    for (const id of [...BAD_IDS, 'evt_aaaaaaaaaaaaaaaaaaaaaaaaaa', foreign.event.id]) {
      const answer = await app.get(tenant, `/api/v1/events/${id}`)
      expect([answer.status, answer.body]).toEqual([404, { detail: 'Event not found' }])
    }
    expect((await app.get(tenant, `/api/v1/events/${stored.event.id}`)).status).toBe(200)
  })

  it('is 404 with the same words for deliveries', async () => {
    for (const id of [...BAD_IDS, 'dlv_aaaaaaaaaaaaaaaaaaaaaaaaaa', foreign.deliveryId]) {
      const answer = await app.get(tenant, `/api/v1/deliveries/${id}`)
      expect([answer.status, answer.body]).toEqual([404, { detail: 'Delivery not found' }])
    }
    expect((await app.get(tenant, `/api/v1/deliveries/${stored.deliveryId}`)).status).toBe(200)
  })
})

describe('a path that cannot be decoded', () => {
  it.each(['events/%ED%A0%80', 'deliveries/%', 'calls/%E0%A4/webhook-logs'])(
    '%s is 404',
    async (path) => {
      expect((await app.get(tenant, `/api/v1/${path}`)).status).toBe(404)
    },
  )
})

describe('methods that a path does not have', () => {
  it.each([
    ['DELETE', '/api/v1/events', 'GET'],
    ['PUT', '/api/v1/deliveries', 'GET'],
    ['POST', '/api/v1/webhook-logs', 'GET'],
    ['POST', '/api/v1/calls/1/webhook-logs', 'GET'],
  ])('%s %s is 405 and names %s', async (method, path, allowed) => {
    const answer = await app.send(method, path, { key: tenant.apiKey })
    expect(answer.status).toBe(405)
    expect(answer.headers.get('allow')).toContain(allowed)
  })
})
