import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'

const EVENTS = '/api/v1/events'
const BATCH = '/api/v1/events/batch'

let app: ReadSideApp
let tenant: Tenant
let other: Tenant

beforeAll(async () => {
  app = await startReadSideApp()
  tenant = await app.addTenant('+14155550100')
  other = await app.addTenant('+14155550200')
})
afterAll(() => app.close())
beforeEach(() => {
  app.accepting.isAvailable = true
  app.accepting.events = []
})

const publish = (body: unknown) => app.post(tenant, EVENTS, body)
const last = () => app.accepting.events.at(-1)

async function callIdOf({ organizationId }: Tenant, callSid: string): Promise<number> {
  const { rows } = await app.database.pool.query(
    'select id from calls where organization_id = $1 and call_sid = $2',
    [organizationId, callSid],
  )
  return rows[0]?.id
}

describe('POST /api/v1/events', () => {
  it('takes an event, stores its canonical JSON, and names its deliveries', async () => {
    const answer = await publish({
      type: 'transcript',
      data: { text: 'Grüße 👋', nested: { b: 1, a: [true, null] }, from: '+14155559999' },
      phone_number: tenant.phoneNumber,
      occurred_at: '2026-01-31T10:00:00+11:00',
      idempotency_key: 'k-1',
    })
    expect(answer.status).toBe(202)
    expect(answer.body).toEqual({
      id: expect.stringMatching(/^evt_[a-z2-7]{26}$/),
      deliveries: [expect.stringMatching(/^dlv_[a-z2-7]{26}$/)],
      duplicate: false,
    })
    expect(last()).toMatchObject({
      id: answer.body.id,
      organizationId: tenant.organizationId,
      provider: 'platform',
      type: 'transcript',
      phoneNumber: tenant.phoneNumber,
      peerNumber: '+14155559999',
      callSid: null,
      assistantId: tenant.assistantId,
      contentType: 'application/json',
    })
    expect(last()?.payload.toString()).toBe(
      '{"type":"transcript","data":{"text":"Grüße 👋","nested":{"b":1,"a":[true,null]},"from":"+14155559999"},' +
        '"phone_number":"+14155550100","idempotency_key":"k-1","occurred_at":"2026-01-31T10:00:00+11:00"}',
    )
  })

  it('answers a repeated idempotency key with the same ids, duplicate true', async () => {
    const body = { type: 'link_hit', data: {}, idempotency_key: 'same' }
    const first = await publish(body)
    const second = await publish({ ...body, data: { other: 1 } })
    expect(second.status).toBe(202)
    expect(second.body).toEqual({ ...first.body, duplicate: true })
    const foreign = await app.post(other, EVENTS, body)
    expect(foreign.body.duplicate).toBe(false)
    expect(foreign.body.id).not.toBe(first.body.id)
  })

  it('makes a key of its own for each event without one', async () => {
    const body = { type: 'link_hit', data: {} }
    const [a, b] = [await publish(body), await publish(body)]
    expect(a.body.id).not.toBe(b.body.id)
    expect([a.body.duplicate, b.body.duplicate]).toEqual([false, false])
  })

  it("takes the assistant that is given, else the number's, else the call's", async () => {
    const second = await tenant.addAssistant()
    await tenant.addDestination(second)
    const call = { call_sid: 'CA-assistant' }
    await publish({ type: 'call_started', data: {}, ...call, assistant_id: second })
    await publish({ type: 'transcript', data: {}, ...call })
    expect(last()?.assistantId).toBe(second)
    await publish({ type: 'transcript', data: {}, ...call, phone_number: tenant.phoneNumber })
    expect(last()?.assistantId).toBe(tenant.assistantId)
    const answer = await publish({ type: 'transcript', data: {}, ...call, assistant_id: second })
    expect(last()?.assistantId).toBe(second)
    expect(answer.body.deliveries).toHaveLength(2)
    await publish({ type: 'transcript', data: {}, call_sid: 'CA-nobody-knows' })
    expect(last()?.assistantId).toBeNull()
  })

  it('resolves a call_id to its call_sid, and refuses one that names another call', async () => {
    await publish({ type: 'call_started', data: {}, call_sid: 'CA-id' })
    const id = await callIdOf(tenant, 'CA-id')
    expect((await publish({ type: 'transcript', data: {}, call_id: id })).status).toBe(202)
    expect(last()?.callSid).toBe('CA-id')
    expect(JSON.parse(last()?.payload.toString() ?? '')).toMatchObject({ call_sid: 'CA-id' })
    const both = { type: 'transcript', data: {}, call_id: id, call_sid: 'CA-other' }
    const answer = await publish(both)
    expect(answer.status).toBe(422)
    expect(answer.body.detail[0].loc).toEqual(['body', 'call_id'])
  })

  it("answers 404 for another organization's call, assistant or number, as for an unknown one", async () => {
    await app.post(other, EVENTS, { type: 'call_started', data: {}, call_sid: 'CA-theirs' })
    const callId = await callIdOf(other, 'CA-theirs')
    app.accepting.events = []
    const event = { type: 'transcript', data: {} }
    const call = await publish({ ...event, call_id: callId })
    expect([call.status, call.body.detail]).toEqual([
      404,
      `Call with ID ${callId} not found in your organization`,
    ])
    const unknownCall = await publish({ ...event, call_id: 2 ** 53 - 1 })
    expect(unknownCall.status).toBe(404)
    const assistant = await publish({ ...event, assistant_id: other.assistantId })
    expect(assistant.status).toBe(404)
    expect(await publish({ ...event, assistant_id: 999_999 })).toMatchObject({
      status: 404,
      body: assistant.body,
    })
    const number = await publish({ ...event, phone_number: other.phoneNumber })
    expect(number.status).toBe(404)
    expect((await publish({ ...event, phone_number: '+14155550999' })).body).toEqual(number.body)
    expect(app.accepting.events).toEqual([])
  })

  it('answers 503 with Retry-After when nothing could be stored', async () => {
    app.accepting.isAvailable = false
    for (const [path, body] of [
      [EVENTS, { type: 'transcript', data: {} }],
      [BATCH, { events: [{ type: 'transcript', data: {} }] }],
    ] as const) {
      const answer = await app.post(tenant, path, body)
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    }
  })

  it('needs Postgres only to learn the assistant of a call, and goes on without when it hangs', async () => {
    const holder = await app.database.pool.connect()
    await holder.query('begin')
    await holder.query('lock table calls in access exclusive mode')
    app.accepting.isAvailable = false
    const event = { type: 'transcript', data: {}, call_sid: 'CA-locked' }
    const { assistantId: assistant_id, phoneNumber: phone_number } = tenant
    for (const known of [{ assistant_id }, { phone_number }]) {
      const answer = await publish({ ...event, ...known })
      expect(answer.body.detail).toMatch(/^Nothing could be stored/)
    }
    const startedAtMs = performance.now()
    const withoutAssistant = await publish(event)
    expect(withoutAssistant.body.detail).toMatch(/^Nothing could be stored/)
    expect(app.accepting.offered).toMatchObject({ callSid: 'CA-locked', assistantId: null })
    expect(performance.now() - startedAtMs).toBeLessThan(5_000)
    // A call's own number means nothing without Postgres.
    const answer = await publish({ ...event, call_sid: undefined, call_id: 1 })
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    expect(answer.body.detail).not.toMatch(/^Nothing could be stored/)

    app.accepting.isAvailable = true
    await holder.query('rollback')
    holder.release()
    const again = await publish(event)
    // Only this one: what was answered 503 must not be stored behind the publisher's back.
    expect(app.accepting.events.map(({ id }) => id)).toEqual([again.body.id])
  })

  it('needs a key that may write', async () => {
    const event = { type: 'transcript', data: {} }
    const key = tenant.readOnlyKey
    expect((await app.send('POST', EVENTS, { key, body: event })).status).toBe(403)
    expect((await app.send('GET', EVENTS, { key })).status).toBe(200)
  })

  const event = { type: 'transcript', data: {} }
  it.each<[string, unknown, number]>([
    ['no type', { data: {} }, 422],
    ['an unknown type', { ...event, type: 'nonsense' }, 422],
    ['the type of what we could not read', { ...event, type: 'unknown' }, 422],
    ['the type of what we tell ourselves', { ...event, type: 'operational' }, 422],
    ['no data', { type: 'transcript' }, 422],
    ['data that is a list', { ...event, data: [] }, 422],
    ['data that is text', { ...event, data: 'x' }, 422],
    ['data of 128 KiB and a little', { ...event, data: { x: 'a'.repeat(131_070) } }, 422],
    ['an unknown field', { ...event, organization_id: 'org_x' }, 422],
    ['a national number', { ...event, phone_number: '0414 555 010' }, 422],
    ['a call_id of text', { ...event, call_id: '5' }, 422],
    ['a call_id past every integer', { ...event, call_id: 2 ** 60 }, 422],
    ['an empty call_sid', { ...event, call_sid: '' }, 422],
    ['a call_sid of 10 kB', { ...event, call_sid: 'C'.repeat(10_000) }, 422],
    ['an idempotency_key of 10 kB', { ...event, idempotency_key: 'k'.repeat(10_000) }, 422],
    ['an idempotency_key with NUL', { ...event, idempotency_key: 'a\0b' }, 422],
    ['a time without offset', { ...event, occurred_at: '2026-01-31T10:00:00' }, 422],
    ['a day that is none', { ...event, occurred_at: '2026-02-30T10:00:00Z' }, 422],
    ['NUL in the data', { ...event, data: { a: ['x\0'] } }, 422],
    ['NUL in a name within the data', { ...event, data: { 'a\0': 1 } }, 422],
    ['a lone surrogate', '{"type":"transcript","data":{"a":"\\ud800"}}', 422],
    ['__proto__', '{"type":"transcript","data":{"__proto__":{"a":1}}}', 422],
    ['data of 10,000 levels', `{"type":"transcript","data":{"a":${nested(10_000)}}}`, 422],
    [
      'an integer that JSON rounds',
      '{"type":"transcript","data":{"a":[12345678901234567890]}}',
      422,
    ],
    ['a number that becomes Infinity', '{"type":"transcript","data":{"a":1e400}}', 422],
    ['broken JSON', '{"type":', 400],
    ['a body that is a list', '[]', 422],
  ])('refuses %s', async (_, body, status) => {
    const answer = await publish(body)
    expect(answer.status).toBe(status)
    expect(answer.body.detail).toBeTruthy()
    expect(app.accepting.events).toEqual([])
  })

  it('takes data of nearly 128 KiB and of many levels as it is', async () => {
    const data = { x: 'é'.repeat(65_000), deep: JSON.parse(nested(25)) }
    expect((await publish({ type: 'tool_call', data })).status).toBe(202)
    expect(JSON.parse(last()?.payload.toString() ?? '').data).toEqual(data)
  })
})

function nested(levels: number): string {
  return '['.repeat(levels) + ']'.repeat(levels)
}

describe('POST /api/v1/events/batch', () => {
  const event = (n: number) => ({ type: 'transcript', data: { n }, idempotency_key: `batch-${n}` })

  it('takes 500 events and answers in their order', async () => {
    const events = Array.from({ length: 500 }, (_, n) => event(n))
    const answer = await app.post(tenant, BATCH, { events })
    expect(answer.status).toBe(202)
    expect(answer.body.items).toHaveLength(500)
    const ids = app.accepting.events.map(({ id, payload }) => [id, JSON.parse(`${payload}`).data.n])
    expect(ids).toEqual(answer.body.items.map((item: { id: string }, n: number) => [item.id, n]))
    const again = await app.post(tenant, BATCH, { events: events.slice(0, 2) })
    const first = answer.body.items.slice(0, 2)
    expect(again.body.items).toEqual(first.map((item: object) => ({ ...item, duplicate: true })))
  })

  it('may be 4 MB, where one event may be 256 kB', async () => {
    const text = 'x'.repeat(7_000)
    const big = (count: number) => ({
      events: Array.from({ length: count }, () => ({ type: 'transcript', data: { text } })),
    })
    expect((await app.post(tenant, BATCH, big(500))).status).toBe(202)
    expect(app.accepting.events).toHaveLength(500)
    const data = { text: 'x'.repeat(100_000) }
    const events = Array.from({ length: 45 }, () => ({ type: 'transcript', data }))
    expect((await app.post(tenant, BATCH, { events })).status).toBe(413)
    expect(
      (await app.post(tenant, EVENTS, { ...events[0], more: 'x'.repeat(200_000) })).status,
    ).toBe(413)
    expect(app.accepting.events).toHaveLength(500)
    const many = { type: 'transcript', data: { a: Array(6).fill(Array(500).fill(0)) } }
    expect((await app.post(tenant, BATCH, { events: Array(100).fill(many) })).status).toBe(422)
  })

  it('tells the call of a later event its assistant from an earlier one', async () => {
    const call = { call_sid: 'CA-in-batch', data: {} }
    await app.post(tenant, BATCH, {
      events: [
        { ...call, type: 'call_started', assistant_id: tenant.assistantId },
        { ...call, type: 'transcript' },
      ],
    })
    expect(app.accepting.events.map(({ assistantId }) => assistantId)).toEqual([
      tenant.assistantId,
      tenant.assistantId,
    ])
  })

  it.each<[string, unknown]>([
    ['no events', { events: [] }],
    ['501 events', { events: Array.from({ length: 501 }, (_, n) => event(n + 1000)) }],
    ['a list without its name', [event(1000)]],
    ['one bad event among good ones', { events: [event(1001), { type: 'transcript' }] }],
  ])('refuses %s and takes none of it', async (_, body) => {
    expect((await app.post(tenant, BATCH, body)).status).toBe(422)
    expect(app.accepting.events).toEqual([])
  })

  it('takes nothing when one event names what the organization does not have, and tells which', async () => {
    const answer = await app.post(tenant, BATCH, {
      events: [event(2000), { ...event(2001), assistant_id: other.assistantId }],
    })
    expect([answer.status, answer.body]).toEqual([
      404,
      { detail: 'Assistant of events.1 not found' },
    ])
    expect(app.accepting.events).toEqual([])
  })
})
