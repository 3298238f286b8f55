import type { AcceptedEvent } from '@switchhook/core/event'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { type Stored, store } from './stored-rows.ts'

const DAY_MS = 86_400_000
const LISTS = ['events', 'deliveries', 'webhook-logs'] as const

let app: ReadSideApp
const tenants: Tenant[] = []

beforeAll(async () => {
  app = await startReadSideApp()
})
afterAll(() => app.close())

/** A tenant for each test: what one leaves behind does not show in another's lists. */
async function newTenant(): Promise<Tenant> {
  const tenant = await app.addTenant(`+141555501${String(tenants.length).padStart(2, '0')}`)
  tenants.push(tenant)
  return tenant
}

type Row = { id: string | number; received_at?: string; created_at?: string; attempted_at?: string }

async function readAll(tenant: Tenant, list: string, limit: number): Promise<Row[]> {
  const rows: Row[] = []
  for (let cursor = ''; ; ) {
    const { status, body } = await app.get(tenant, `/api/v1/${list}?limit=${limit}${cursor}`)
    expect(status).toBe(200)
    expect(body.items.length).toBeLessThanOrEqual(limit)
    rows.push(...body.items)
    if (body.next_cursor === null) return rows
    expect(body.items).toHaveLength(limit)
    cursor = `&cursor=${body.next_cursor}`
  }
}

describe('a list', () => {
  it.each(LISTS)(
    'of %s gives every row once, newest first, over equal times and several days',
    async (list) => {
      const tenant = await newTenant()
      const nowMs = Date.now()
      for (let index = 0; index < 23; index += 1) {
        await store(app, tenant, { event: { receivedAtMs: nowMs - (index % 3) * DAY_MS } })
      }
      const rows = await readAll(tenant, list, 4)
      expect(new Set(rows.map(({ id }) => id)).size).toBe(23)
      expect(rows).toHaveLength(23)
      const times = rows.map((row) => row.received_at ?? row.created_at ?? row.attempted_at ?? '')
      expect(times).toEqual([...times].sort().reverse())
      expect(await readAll(tenant, list, 200)).toEqual(rows)
    },
  )

  it.each(LISTS)(
    'of %s does not repeat a row when new ones come between two pages',
    async (list) => {
      const tenant = await newTenant()
      for (let index = 0; index < 4; index += 1) await store(app, tenant)
      const path = `/api/v1/${list}?limit=2`
      const first = (await app.get(tenant, path)).body
      await store(app, tenant, { event: { receivedAtMs: Date.now() + 5_000 } })
      const second = (await app.get(tenant, `${path}&cursor=${first.next_cursor}`)).body
      const ids = [...first.items, ...second.items].map((row: Row) => row.id)
      expect(new Set(ids).size).toBe(4)
      expect(second.next_cursor).toBeNull()
    },
  )

  it.each(LISTS)(
    'of %s shows nothing of another organization, whatever it filters by',
    async (list) => {
      const [mine, theirs] = [await newTenant(), await newTenant()]
      const { event, deliveryId } = await store(app, theirs, { event: { callSid: 'CA-shared' } })
      const filters = {
        events: [`number=%2B${theirs.phoneNumber.slice(1)}`, 'call_sid=CA-shared'],
        deliveries: [`destination=${theirs.destinationId}`, `event=${event.id}`],
        'webhook-logs': [
          `destination=${theirs.destinationId}`,
          `event=${event.id}`,
          `delivery=${deliveryId}`,
          'call_sid=CA-shared',
        ],
      }[list]
      for (const filter of ['', ...filters]) {
        const path = `/api/v1/${list}?${filter}`
        expect((await app.get(theirs, path)).body.items).toHaveLength(1)
        expect((await app.get(mine, path)).body).toEqual({ items: [], next_cursor: null })
      }
      const cursor = (await app.get(theirs, `/api/v1/${list}?limit=1`)).body.next_cursor
      expect(cursor).toBeNull()
    },
  )
})

describe('the filters', () => {
  const nowMs = Date.now()
  const at = (ageMs: number) => new Date(nowMs - ageMs).toISOString()
  let tenant: Tenant
  let rows: Record<'sms' | 'call' | 'old' | 'waiting', Stored>

  beforeAll(async () => {
    tenant = await newTenant()
    const second = await tenant.addDestination()
    const number: Partial<AcceptedEvent> = {
      phoneNumber: '+14155550777',
      receivedAtMs: nowMs - 2000,
    }
    rows = {
      sms: await store(app, tenant, { event: { receivedAtMs: nowMs - 1000 } }),
      call: await store(app, tenant, {
        event: { ...number, type: 'call_ended', callSid: 'CA-1' },
        attempts: [{ webhookType: 'call_ended' }],
        destinationId: second,
      }),
      old: await store(app, tenant, {
        event: { receivedAtMs: nowMs - 2 * DAY_MS },
        attempts: [{ outcome: 'refused', statusCode: 500, error: 'answered 500' }],
        delivery: { state: 'emailed' },
      }),
      waiting: await store(app, tenant, { event: { receivedAtMs: nowMs - 3000 }, attempts: [] }),
    }
  })

  type Name = keyof typeof rows
  it.each<[string, string, () => string, Name[]]>([
    ['events', 'nothing', () => '', ['sms', 'call', 'waiting', 'old']],
    ['events', 'type', () => 'type=call_ended', ['call']],
    ['events', 'number', () => 'number=%2B14155550777', ['call']],
    ['events', 'number with a bare +', () => 'number=+14155550777', ['call']],
    ['events', 'call', () => 'call_sid=CA-1', ['call']],
    ['events', 'since', () => `since=${at(2000)}`, ['sms', 'call']],
    ['events', 'until', () => `until=${at(2000)}`, ['waiting', 'old']],
    ['events', 'both', () => `since=${at(3000)}&until=${at(1000)}`, ['call', 'waiting']],
    ['events', 'an offset', () => 'since=2020-01-01T00:00:00%2B10:00&type=call_ended', ['call']],
    ['events', 'an offset with a bare +', () => 'until=2020-01-01T00:00:00+10:00', []],
    ['events', 'the year 0', () => 'until=0000-01-01T00:00:00Z', []],
    ['events', 'the year 9999', () => 'since=9999-12-31T23:59:59Z', []],
    ['deliveries', 'state', () => 'state=delivered', ['sms', 'call']],
    ['deliveries', 'a rare state', () => 'state=emailed', ['old']],
    ['deliveries', 'pending', () => 'state=pending', ['waiting']],
    [
      'deliveries',
      'destination',
      () => `destination=${tenant.destinationId}`,
      ['sms', 'waiting', 'old'],
    ],
    ['deliveries', 'event', () => `event=${rows.old.event.id}`, ['old']],
    ['deliveries', 'type', () => 'type=call_ended', ['call']],
    ['deliveries', 'number', () => 'number=%2B14155550777', ['call']],
    ['deliveries', 'call', () => 'call_sid=CA-1', ['call']],
    ['deliveries', 'since and state', () => `since=${at(5000)}&state=delivered`, ['sms', 'call']],
    ['deliveries', 'an unknown destination', () => 'destination=dst_none', []],
    ['webhook-logs', 'nothing', () => '', ['sms', 'call', 'old']],
    ['webhook-logs', 'destination', () => `destination=${tenant.destinationId}`, ['sms', 'old']],
    ['webhook-logs', 'delivery', () => `delivery=${rows.old.deliveryId}`, ['old']],
    ['webhook-logs', 'event', () => `event=${rows.call.event.id}`, ['call']],
    ['webhook-logs', 'type', () => 'type=call_ended', ['call']],
    ['webhook-logs', 'outcome', () => 'outcome=refused', ['old']],
    ['webhook-logs', 'success', () => 'success=true', ['sms', 'call']],
    ['webhook-logs', 'failure', () => 'success=false', ['old']],
    ['webhook-logs', 'call', () => 'call_sid=CA-1', ['call']],
    ['webhook-logs', 'since', () => `since=${at(5000)}`, ['sms', 'call']],
    ['webhook-logs', 'until', () => `until=${at(DAY_MS)}`, ['old']],
  ])('of %s: %s', async (list, _, query, expected) => {
    const { status, body } = await app.get(tenant, `/api/v1/${list}?${query()}`)
    expect(status).toBe(200)
    const eventIds = body.items.map(
      (row: { id: string; event_id?: string; webhook_metadata?: { event_id: string } }) =>
        row.webhook_metadata?.event_id ?? row.event_id ?? row.id,
    )
    expect(eventIds).toEqual(expected.map((name) => rows[name].event.id))
  })
})

describe('GET /api/v1/events/{id}', () => {
  it('shows the payload as text and the deliveries with their attempts', async () => {
    const tenant = await newTenant()
    const { event, deliveryId } = await store(app, tenant, {
      event: { payload: Buffer.from('é=1') },
    })
    const { status, body } = await app.get(tenant, `/api/v1/events/${event.id}`)
    expect(status).toBe(200)
    expect(body).toEqual({
      id: event.id,
      provider: 'twilio',
      type: 'sms_received',
      received_at: new Date(event.receivedAtMs).toISOString(),
      phone_number: tenant.phoneNumber,
      peer_number: '+14155559999',
      call_sid: null,
      assistant_id: null,
      content_type: 'application/x-www-form-urlencoded',
      delivery_count: 1,
      routed: true,
      erased_at: null,
      is_stale: false,
      payload: 'é=1',
      payload_encoding: 'utf8',
      deliveries: [expect.objectContaining({ id: deliveryId, state: 'delivered' })],
    })
    expect(body.deliveries[0].attempts).toHaveLength(1)
  })

  it('shows other bytes as base64', async () => {
    const tenant = await newTenant()
    const payload = Buffer.from([0x89, 0x50, 0x00, 0xff])
    const { event } = await store(app, tenant, { event: { payload } })
    const { body } = await app.get(tenant, `/api/v1/events/${event.id}`)
    expect(body).toMatchObject({ payload: payload.toString('base64'), payload_encoding: 'base64' })
  })
})

describe('GET /api/v1/deliveries/{id}', () => {
  it('shows each attempt with what the destination answered', async () => {
    const tenant = await newTenant()
    const { event, deliveryId } = await store(app, tenant, {
      attempts: [
        { outcome: 'timed_out', statusCode: null, responseBody: null, error: 'no answer in 10 s' },
        { outcome: 'refused', statusCode: 503, responseBody: 'busy', error: 'answered 503' },
        {},
      ],
    })
    const { status, body } = await app.get(tenant, `/api/v1/deliveries/${deliveryId}`)
    expect(status).toBe(200)
    const attemptedAt = (n: number) => new Date(event.receivedAtMs + n * 1000).toISOString()
    expect(body).toEqual({
      id: deliveryId,
      event_id: event.id,
      destination_id: tenant.destinationId,
      event_type: 'sms_received',
      phone_number: tenant.phoneNumber,
      call_sid: null,
      state: 'delivered',
      reason: null,
      replay_of: null,
      created_at: attemptedAt(0),
      updated_at: expect.stringMatching(/^20\d\d-/),
      next_attempt_at: null,
      fallback_at: null,
      attempt_count: 3,
      attempts: [
        {
          attempt: 1,
          outcome: 'timed_out',
          attempted_at: attemptedAt(0),
          url: 'https://example.com/hook',
          response_status_code: null,
          response_body: null,
          response_time_ms: 12,
          error_message: 'no answer in 10 s',
        },
        expect.objectContaining({ attempt: 2, response_status_code: 503, response_body: 'busy' }),
        expect.objectContaining({ attempt: 3, outcome: 'delivered', error_message: null }),
      ],
    })
    const [listed] = (await app.get(tenant, '/api/v1/deliveries')).body.items
    expect(listed.attempts.map((one: { outcome: string }) => one.outcome)).toEqual([
      'timed_out',
      'refused',
      'delivered',
    ])
  })

  it('says when the next attempt is expected, or when the mail became owed', async () => {
    const tenant = await newTenant()
    const { event, deliveryId } = await store(app, tenant, { attempts: [] })
    const waiting = await app.get(tenant, `/api/v1/deliveries/${deliveryId}`)
    const createdAt = new Date(event.receivedAtMs).toISOString()
    expect(waiting.body).toMatchObject({
      state: 'pending',
      next_attempt_at: createdAt,
      attempts: [],
    })
    const exhausted = await store(app, tenant, {
      attempts: [{ outcome: 'refused' }],
      delivery: { fallbackAtMs: event.receivedAtMs, reason: 'answered 500' },
    })
    const mailed = await app.get(tenant, `/api/v1/deliveries/${exhausted.deliveryId}`)
    expect(mailed.body).toMatchObject({
      next_attempt_at: null,
      fallback_at: createdAt,
      reason: 'answered 500',
    })
  })
})
