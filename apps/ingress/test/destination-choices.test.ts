import { contentOf } from '@switchhook/core/providers/content-of'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const PATH = '/api/v1/destinations'
const HOOK = 'https://receiver.example.com/hook'

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
})
afterAll(() => app.close())

describe("a destination's filter", () => {
  it('is kept, shown, changed and taken away', async () => {
    const filter = { sender: ['+61400000001'], status: ['DELIVERED'], message_ref: ['a', 'b'] }
    const made = await tenant.create(PATH, { url: HOOK, filter, skip_stale: true })
    expect(made).toMatchObject({ filter, skip_stale: true, event_types: ['*'] })
    expect(app.deps.snapshot.findDestination(made.id)).toMatchObject({ filter, skipStale: true })
    const path = `${PATH}/${made.id}`
    const named = await tenant.call('PATCH', path, { name: 'Other' })
    expect(named.body).toMatchObject({ filter, skip_stale: true })
    const changed = await tenant.call('PATCH', path, { filter: { campaign_id: ['c'], sender: [] } })
    expect(changed.body.filter).toEqual({ campaign_id: ['c'] })
    const gone = await tenant.call('PATCH', path, { filter: null, skip_stale: false })
    expect(gone.body).toMatchObject({ filter: null, skip_stale: false })
  })

  it("Kudosity's names in it choose the types, unless those are given", async () => {
    const event_type = ['SMS_INBOUND', 'RCS_STATUS']
    const made = await tenant.create(PATH, { url: HOOK, filter: { event_type } })
    expect(made).toMatchObject({ event_types: ['sms_received', 'unknown'], filter: { event_type } })
    const path = `${PATH}/${made.id}`
    const changed = await tenant.call('PATCH', path, { event_types: ['call_ended'] })
    expect(changed.body).toMatchObject({ event_types: ['call_ended'], filter: null })
  })

  it.each([
    ['a list', []],
    ['an unknown list', { senders: ['a'] }],
    ['a text', { sender: 'a' }],
    ['101 values', { sender: Array(101).fill('a') }],
    ['a value of 201 characters', { sender: ['a'.repeat(201)] }],
    ['an empty value', { status: [''] }],
    ['an unknown name of an event', { event_type: ['sms_received'] }],
  ])('%s is refused', async (_name, filter) => {
    expect((await tenant.call('POST', PATH, { url: HOOK, filter })).status).toBe(422)
  })

  it.each(['burki', 'pbx', 'kudosity', 'standard', 'raw'])('goes with %s', async (format) => {
    expect((await tenant.create(PATH, { url: HOOK, format })).format).toBe(format)
  })
})

describe('POST /api/v1/destinations/{id}/test', () => {
  const test = (id: string) => tenant.call('POST', `${PATH}/${id}/test`)

  it.each([
    [['*'], 'sms_received'],
    [['mms_status', 'sms_received'], 'mms_status'],
    [['call_ended'], 'call_ended'],
    [['recording_completed'], 'recording_completed'],
    [['opt_out'], 'opt_out'],
    [['link_hit'], 'link_hit'],
    [['unknown'], 'unknown'],
  ])('of one that wants %j sends a marked %s to it alone', async (event_types, type) => {
    await tenant.create(PATH, { url: HOOK })
    const { id } = await tenant.create(PATH, { url: HOOK, event_types })
    const answer = await test(id)
    expect(answer.status).toBe(202)
    const { event_id, delivery_id } = answer.body
    const event = await tenant.call('GET', `/api/v1/events/${event_id}`)
    expect(event.body).toMatchObject({ provider: 'platform', type })
    expect(JSON.parse(event.body.payload).data.test).toBe(true)
    expect(event.body.deliveries).toMatchObject([
      { id: delivery_id, destination_id: id, state: 'pending', event_type: type },
    ])
    const job = app.enqueued.find(({ deliveryId }) => deliveryId === delivery_id)
    expect(job).toMatchObject({ destinationId: id, event: { id: event_id, type } })
  })

  it('is about the number and assistant that the destination is for', async () => {
    const number = { phone_number: '+61400000001', provider: 'twilio' }
    await tenant.create('/api/v1/phone-numbers', number)
    const { phone_number } = number
    const { id } = await tenant.create(PATH, { url: HOOK, phone_number })
    const { event_id } = (await test(id)).body
    const event = (await tenant.call('GET', `/api/v1/events/${event_id}`)).body
    expect(event.phone_number).toBe(phone_number)
    const { payload } = event
    const content = contentOf({
      ...{ id: event_id, organizationId: tenant.id, provider: 'platform' },
      ...{ contentType: event.content_type, payload: Buffer.from(payload) },
      phoneNumber: phone_number,
    })
    expect(content).toMatchObject({ to: phone_number, phoneNumber: phone_number })
  })

  it('goes to a paused one when it is resumed, and to a disabled one never', async () => {
    const { id } = await tenant.create(PATH, { url: HOOK, status: 'paused' })
    expect((await test(id)).status).toBe(202)
    await tenant.call('PATCH', `${PATH}/${id}`, { status: 'disabled' })
    expect((await test(id)).status).toBe(409)
  })
})

describe('the audit log', () => {
  it('tells of every change of a destination, and of no secret or header value', async () => {
    const headers = { 'X-Api-Key': 'planted-header' }
    const { id, secret } = await tenant.create(PATH, { url: HOOK, headers })
    await tenant.call('PATCH', `${PATH}/${id}`, { name: 'New' })
    await tenant.call('PATCH', `${PATH}/${id}`, { headers: { 'X-Api-Key': 'planted-other' } })
    await tenant.call('PATCH', `${PATH}/${id}`, {})
    await tenant.call('POST', `${PATH}/${id}/pause`)
    await tenant.call('POST', `${PATH}/${id}/rotate-secret`)
    await tenant.call('POST', `${PATH}/${id}/test`)
    await tenant.call('DELETE', `${PATH}/${id}`)
    const logs = await app.deps.database.db
      .selectFrom('audit_logs')
      .selectAll()
      .where('resource_id', '=', id)
      .orderBy('id')
      .execute()
    expect(logs.map(({ event_type }) => event_type)).toEqual([
      'destination.created',
      'destination.updated',
      'destination.updated',
      'destination.updated',
      'destination.secret_rotated',
      'destination.tested',
      'destination.deleted',
    ])
    expect(logs[1]).toMatchObject({
      old_values: { name: 'receiver.example.com' },
      new_values: { name: 'New', headers: ['X-Api-Key'] },
    })
    expect(logs[2]?.details).toEqual({ replaced: ['headers'] })
    expect(logs[3]?.new_values).toMatchObject({ status: 'paused' })
    expect(JSON.stringify(logs)).not.toContain('planted')
    expect(JSON.stringify(logs)).not.toContain(secret)
  })
})
