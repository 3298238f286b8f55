import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { expectBurki } from './burki-schemas.ts'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { store } from './stored-rows.ts'

const FIELDS = [
  ...['id', 'call_id', 'assistant_id', 'webhook_url', 'webhook_type', 'request_payload'],
  ...['response_status_code', 'response_body', 'response_time_ms', 'attempted_at', 'success'],
  ...['error_message', 'retry_count', 'webhook_metadata'],
]

let app: ReadSideApp
let tenant: Tenant
let other: Tenant

beforeAll(async () => {
  app = await startReadSideApp()
  tenant = await app.addTenant('+14155550100')
  other = await app.addTenant('+14155550200')
})
afterAll(() => app.close())

async function callIdOf(owner: Tenant, callSid: string): Promise<number> {
  return (await app.get(owner, `/api/v1/calls/sid/${callSid}`)).body.id
}

const logsOf = (owner: Tenant, callId: number | string, query = '') =>
  app.get(owner, `/api/v1/calls/${callId}/webhook-logs${query}`)
const base64 = (text: string): string => Buffer.from(text).toString('base64')

describe('GET /api/v1/calls/{call_id}/webhook-logs', () => {
  it("answers an array with Burki's fourteen fields, oldest attempt first", async () => {
    const { event, deliveryId } = await store(app, tenant, {
      event: { callSid: 'CA-1', type: 'call_ended', assistantId: tenant.assistantId },
      attempts: [
        {
          webhookType: 'call_ended',
          requestBodyBase64: base64('{"event":"call_ended","duration":42}'),
          outcome: 'refused',
          statusCode: 500,
          responseBody: 'oops',
          error: 'answered 500',
        },
        { webhookType: 'call_ended', requestBodyBase64: null },
      ],
    })
    const callId = await callIdOf(tenant, 'CA-1')
    const { status, body } = await logsOf(tenant, callId)
    expect(status).toBe(200)
    for (const row of body) expectBurki('WebhookLogResponse', row)
    expect(body[0]).toEqual({
      id: expect.any(Number),
      call_id: callId,
      assistant_id: tenant.assistantId,
      webhook_url: 'https://example.com/hook',
      webhook_type: 'call_ended',
      request_payload: { event: 'call_ended', duration: 42 },
      response_status_code: 500,
      response_body: 'oops',
      response_time_ms: 12,
      attempted_at: new Date(event.receivedAtMs).toISOString(),
      success: false,
      error_message: 'answered 500',
      retry_count: 0,
      webhook_metadata: {
        delivery_id: deliveryId,
        event_id: event.id,
        destination_id: tenant.destinationId,
        attempt: 1,
        outcome: 'refused',
      },
    })
    expect(body[1]).toMatchObject({
      request_payload: null,
      success: true,
      error_message: null,
      retry_count: 1,
    })
  })

  it("has the call's assistant also on what came before it was known", async () => {
    const event = { callSid: 'CA-late', type: 'call_started' } as const
    await store(app, tenant, { event })
    await store(app, tenant, { event: { ...event, assistantId: tenant.assistantId } })
    const { body } = await logsOf(tenant, await callIdOf(tenant, 'CA-late'))
    expect(body).toHaveLength(2)
    for (const row of body) expectBurki('WebhookLogResponse', row)
  })

  it('filters by webhook_type; an unknown one has no rows, an empty one filters nothing', async () => {
    const event = { callSid: 'CA-types' }
    await store(app, tenant, { event, attempts: [{ webhookType: 'call_started' }] })
    await store(app, tenant, { event, attempts: [{ webhookType: 'transcript' }] })
    const callId = await callIdOf(tenant, 'CA-types')
    const typesFor = async (query: string) =>
      (await logsOf(tenant, callId, query)).body.map(
        (row: { webhook_type: string }) => row.webhook_type,
      )
    expect(await typesFor('?webhook_type=transcript')).toEqual(['transcript'])
    expect(await typesFor('?webhook_type=nonsense')).toEqual([])
    expect(await typesFor('?webhook_type=')).toHaveLength(2)
    expect((await logsOf(tenant, callId, '?webhook_type=a&webhook_type=b')).status).toBe(422)
  })

  it('answers an empty array for a call without attempts', async () => {
    await store(app, tenant, { event: { callSid: 'CA-silent' }, attempts: [] })
    expect((await logsOf(tenant, await callIdOf(tenant, 'CA-silent'))).body).toEqual([])
  })

  it("answers 404 for an absent call and another organization's, 422 for what is no integer", async () => {
    await store(app, other, { event: { callSid: 'CA-theirs' } })
    const theirs = await callIdOf(other, 'CA-theirs')
    expect((await logsOf(other, theirs)).body).toHaveLength(1)
    for (const id of [theirs, 101_000, 0, -1, '9223372036854775807', '9999999999999999999']) {
      const answer = await logsOf(tenant, id)
      const detail = `Call with ID ${id} not found in your organization`
      expect([answer.status, answer.body]).toEqual([404, { detail }])
    }
    for (const id of ['abc', '1.5', '1e3', '%00', 'undefined', '1'.repeat(500), '0x10']) {
      const answer = await logsOf(tenant, id)
      expect(answer.status).toBe(422)
      expect(answer.body.detail[0].loc).toEqual(['path', 'call_id'])
    }
  })

  it('never shows what another organization logged for a call of the same sid', async () => {
    await store(app, tenant, { event: { callSid: 'CA-both' } })
    await store(app, other, { event: { callSid: 'CA-both' } })
    const mine = (await logsOf(tenant, await callIdOf(tenant, 'CA-both'))).body
    expect(mine.map((row: { webhook_metadata: object }) => row.webhook_metadata)).toEqual([
      expect.objectContaining({ destination_id: tenant.destinationId }),
    ])
  })

  it('shows the newest 1000 attempts of a call with more, oldest of them first', async () => {
    const attempts = Array.from({ length: 1003 }, () => ({ outcome: 'refused' as const }))
    await store(app, tenant, { event: { callSid: 'CA-long' }, attempts })
    const { body } = await logsOf(tenant, await callIdOf(tenant, 'CA-long'))
    expect(body).toHaveLength(1000)
    expect([body[0].retry_count, body.at(-1).retry_count]).toEqual([3, 1002])
  })
})

describe('the request payload', () => {
  const deep = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`
  it.each<[string, string, Buffer, unknown]>([
    [
      'a form as its fields',
      'application/x-www-form-urlencoded',
      Buffer.from('a=1&b=%C3%A9&a=2&__proto__=x'),
      JSON.parse('{"a":["1","2"],"b":"é","__proto__":"x"}'),
    ],
    ['JSON that is no object as text', 'application/json', Buffer.from('[1]'), { body: '[1]' }],
    [
      'JSON with a charset',
      'Application/JSON; charset=utf-8',
      Buffer.from('{"a":null}'),
      { a: null },
    ],
    ['broken JSON as text', 'application/json', Buffer.from('{"a"'), { body: '{"a"' }],
    ['other text as text', 'text/plain', Buffer.from('hello'), { body: 'hello' }],
    ['bytes that are no text not at all', 'application/json', Buffer.from([0xff, 0x00]), null],
    ['JSON too deep to print as text', 'application/json', Buffer.from(deep), { body: deep }],
  ])('shows %s', async (_, requestContentType, body, expected) => {
    const { deliveryId } = await store(app, tenant, {
      attempts: [{ requestContentType, requestBodyBase64: body.toString('base64') }],
    })
    const answer = await app.get(tenant, `/api/v1/webhook-logs?delivery=${deliveryId}`)
    expect(answer.status).toBe(200)
    expect(answer.body.items[0].request_payload).toEqual(expected)
  })
})

describe('GET /api/v1/webhook-logs', () => {
  it('has the same fourteen fields, call_id and assistant_id null where there is none', async () => {
    const { deliveryId } = await store(app, tenant)
    const { body } = await app.get(tenant, `/api/v1/webhook-logs?delivery=${deliveryId}`)
    expect(Object.keys(body.items[0]).sort()).toEqual(FIELDS.toSorted())
    expect(body.items[0]).toMatchObject({ call_id: null, assistant_id: null, success: true })
  })

  it('tells the call of an attempt that has one', async () => {
    const { deliveryId } = await store(app, tenant, { event: { callSid: 'CA-listed' } })
    const { body } = await app.get(tenant, `/api/v1/webhook-logs?delivery=${deliveryId}`)
    expect(body.items[0].call_id).toBe(await callIdOf(tenant, 'CA-listed'))
  })
})

describe('GET /api/v1/calls/sid/{call_sid}', () => {
  it("answers Burki's CallResponse, null where nothing is known", async () => {
    const call_sid = 'CA-full'
    const publish = (type: string, data: object) =>
      app.post(tenant, '/api/v1/events', {
        ...{ type, data, call_sid, phone_number: tenant.phoneNumber },
      })
    await publish('call_started', { customer_phone_number: '+14155559999' })
    await publish('call_ended', { duration: 41.6, status: 'completed' })
    const { status, body } = await app.get(tenant, `/api/v1/calls/sid/${call_sid}`)
    expect(status).toBe(200)
    expectBurki('CallResponse', body)
    expect(body).toEqual({
      id: expect.any(Number),
      call_sid,
      to_phone_number: tenant.phoneNumber,
      customer_phone_number: '+14155559999',
      call_meta: null,
      assistant_id: tenant.assistantId,
      assistant_name: 'Ava',
      flow_name: null,
      status: 'completed',
      duration: 42,
      started_at: expect.stringMatching(/Z$/),
      ended_at: expect.stringMatching(/Z$/),
      total_cost: null,
      llm_cost: null,
      tts_cost: null,
      stt_cost: null,
      telephony_cost: null,
      cost_currency: null,
    })
  })

  it('leaves empty what nobody told, and null only the assistant that there is not', async () => {
    const call_sid = 'CA-bare'
    await app.post(tenant, '/api/v1/events', { type: 'transcript', data: {}, call_sid })
    const { body } = await app.get(tenant, `/api/v1/calls/sid/${call_sid}`)
    expect(body).toMatchObject({
      to_phone_number: '',
      customer_phone_number: '',
      assistant_id: null,
    })
    expectBurki('CallResponse', { ...body, assistant_id: 1 })
  })

  it('answers 404 for an absent call, a malformed sid and another organization', async () => {
    await store(app, other, { event: { callSid: 'CA-only-theirs' } })
    for (const sid of [
      'CA-none',
      'CA-only-theirs',
      '%00',
      'x'.repeat(5000),
      '%F0%9F%91%8B',
      '%E0%A4',
    ]) {
      expect((await app.get(tenant, `/api/v1/calls/sid/${sid}`)).status).toBe(404)
    }
  })
})
