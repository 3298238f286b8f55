import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { eraseMeanwhile } from './erase-meanwhile.ts'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { type Stored, store } from './stored-rows.ts'

let app: ReadSideApp
let tenant: Tenant
let numbers = 0

beforeAll(async () => {
  app = await startReadSideApp()
  tenant = await newTenant()
})
afterAll(() => app.close())

function newTenant(): Promise<Tenant> {
  numbers += 1
  return app.addTenant(`+1415555${String(numbers).padStart(4, '0')}`)
}

const act = (path: string, body?: unknown) =>
  app.send('POST', `/api/v1/${path}`, {
    key: tenant.apiKey,
    ...(body === undefined ? {} : { body }),
  })
const show = async (path: string) => (await app.get(tenant, `/api/v1/${path}`)).body
const jobsOf = (id: string) => app.enqueued.filter(({ deliveryId }) => deliveryId === id)

/** Journaled without a delivery: nobody wanted it when it came. */
async function storeUnrouted(event: Partial<Stored['event']> = {}): Promise<string> {
  const stored = await store(app, tenant, { attempts: [], event })
  const { pool } = app.database
  await pool.query('delete from deliveries where event_id = $1', [stored.event.id])
  await pool.query('update events set delivery_count = 0 where id = $1', [stored.event.id])
  return stored.event.id
}

describe('POST /api/v1/deliveries/{id}/replay', () => {
  it.each(['delivered', 'given_up', 'emailed', 'expired', 'cancelled'] as const)(
    'sends one that is %s again: another delivery of the same event, linked to it',
    async (state) => {
      const { event, deliveryId } = await store(app, tenant, { delivery: { state } })
      const answer = await act(`deliveries/${deliveryId}/replay`)
      expect(answer.status).toBe(202)
      expect(answer.body).toMatchObject({
        id: expect.stringMatching(/^dlv_[a-z2-7]{26}$/),
        ...{ event_id: event.id, replay_of: deliveryId, state: 'pending', attempt_count: 0 },
      })
      expect(answer.body.id).not.toBe(deliveryId)
      expect(jobsOf(answer.body.id)).toEqual([
        expect.objectContaining({
          destinationId: tenant.destinationId,
          createdAtMs: Date.parse(answer.body.created_at),
          requeued: true, // an erasure may end before the worker comes to it
          event: expect.objectContaining({ id: event.id, payload: 'Body=hello' }),
        }),
      ])
      expect((await show(`deliveries/${deliveryId}`)).state).toBe(state)
      const { deliveries } = await show(`events/${event.id}`)
      expect(deliveries).toHaveLength(2)
    },
  )

  it('is a conflict while the delivery is pending', async () => {
    const { deliveryId } = await store(app, tenant, { attempts: [] })
    const answer = await act(`deliveries/${deliveryId}/replay`)
    expect([answer.status, answer.body.detail]).toEqual([409, expect.stringMatching(/pending/)])
  })

  it('is a conflict when its destination is disabled or gone', async () => {
    const destinationId = await tenant.addDestination()
    const { deliveryId } = await store(app, tenant, { destinationId })
    const path = `/api/v1/destinations/${destinationId}`
    const key = tenant.apiKey
    await app.send('PATCH', path, { key, body: { status: 'disabled' } })
    const disabled = await act(`deliveries/${deliveryId}/replay`)
    expect([disabled.status, disabled.body.detail]).toEqual([409, 'Its destination is disabled'])
    await app.send('DELETE', path, { key })
    const deleted = await act(`deliveries/${deliveryId}/replay`)
    expect([deleted.status, deleted.body.detail]).toEqual([409, 'Its destination was deleted'])
  })

  it('is a conflict when its payload is no longer kept', async () => {
    const { event, deliveryId } = await store(app, tenant)
    await app.database.pool.query('delete from events where id = $1', [event.id])
    expect((await act(`deliveries/${deliveryId}/replay`)).status).toBe(409)
  })

  it.each(['deliveries', 'events'])(
    'is a conflict when an erasure takes its payload meanwhile, of %s alike',
    async (kind) => {
      const { event, deliveryId } = await store(app, tenant)
      const id = kind === 'events' ? event.id : deliveryId
      const ask = () => act(`${kind}/${id}/replay`)
      const answer = await eraseMeanwhile(app.database, event.id, ask)
      expect([answer.status, answer.body]).toEqual([
        409,
        { detail: 'Its payload is no longer kept' },
      ])
      expect(app.enqueued.filter((job) => job.event.id === event.id)).toEqual([])
      expect((await show(`events/${event.id}`)).deliveries).toHaveLength(1)
    },
  )

  it('is accepted while the queue is away: Postgres owes it', async () => {
    const { deliveryId } = await store(app, tenant)
    const { enqueueDelivery } = app.deps
    Object.assign(app.deps, { enqueueDelivery: () => Promise.reject(new Error('Redis is away')) })
    const answer = await act(`deliveries/${deliveryId}/replay`)
    Object.assign(app.deps, { enqueueDelivery })
    expect([answer.status, answer.body.state]).toEqual([202, 'pending'])
  })
})

describe('POST /api/v1/deliveries/{id}/cancel', () => {
  it('ends a pending delivery and takes its job away', async () => {
    const { deliveryId } = await store(app, tenant, { attempts: [] })
    const answer = await act(`deliveries/${deliveryId}/cancel`)
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({
      ...{ id: deliveryId, state: 'cancelled', next_attempt_at: null },
      reason: 'Cancelled through the API.',
    })
    expect(app.dropped).toContain(deliveryId)
    expect((await act(`deliveries/${deliveryId}/cancel`)).status).toBe(409)
  })

  it('is a conflict when it is not pending any more', async () => {
    const { deliveryId } = await store(app, tenant)
    expect((await act(`deliveries/${deliveryId}/cancel`)).status).toBe(409)
    expect(app.dropped).not.toContain(deliveryId)
  })

  it('changes nothing while the queue is away: it would be sent all the same', async () => {
    const { deliveryId } = await store(app, tenant, { attempts: [] })
    const { dropDelivery } = app.deps
    Object.assign(app.deps, { dropDelivery: () => Promise.reject(new Error('Redis is away')) })
    const answer = await act(`deliveries/${deliveryId}/cancel`)
    Object.assign(app.deps, { dropDelivery })
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    expect((await show(`deliveries/${deliveryId}`)).state).toBe('pending')
  })
})

describe('unrouted events', () => {
  it('are listed, and are no more once a replay has routed them', async () => {
    tenant = await newTenant()
    const eventId = await storeUnrouted()
    const { event: routed } = await store(app, tenant)
    const listed = await show('events?routed=false')
    expect(listed.items).toMatchObject([
      { id: eventId, routed: false, delivery_count: 0, is_stale: false },
    ])
    expect((await show('events?routed=true')).items).toMatchObject([
      { id: routed.id, routed: true, delivery_count: 1 },
    ])
    expect((await show('events')).items).toHaveLength(2)
    expect((await app.get(tenant, '/api/v1/events?routed=maybe')).status).toBe(422)

    const other = await tenant.addDestination()
    const answer = await act(`events/${eventId}/replay`)
    expect(answer.status).toBe(202)
    expect(answer.body).toEqual({
      id: eventId,
      deliveries: [expect.any(String), expect.any(String)],
    })
    const { deliveries } = await show(`events/${eventId}`)
    expect(deliveries.map((one: { destination_id: string }) => one.destination_id).sort()).toEqual(
      [other, tenant.destinationId].sort(),
    )
    for (const id of answer.body.deliveries) expect(jobsOf(id)).toHaveLength(1)
    expect((await show('events?routed=false')).items).toEqual([])
  })

  it('go to the destinations of the assistant that their number has today', async () => {
    tenant = await newTenant()
    const assistantId = await tenant.addAssistant()
    const ofAssistant = await tenant.addDestination(assistantId)
    const eventId = await storeUnrouted({ assistantId: null })
    const [number] = (await show('phone-numbers')).items
    await app.send('PATCH', `/api/v1/phone-numbers/${number.id}`, {
      key: tenant.apiKey,
      body: { assistant_id: assistantId },
    })
    await act(`events/${eventId}/replay`)
    const { items } = await show(`deliveries?event=${eventId}&destination=${ofAssistant}`)
    expect(items).toHaveLength(1)
  })
})

describe('POST /api/v1/events/{id}/replay', () => {
  it('sends an event to one destination, whatever that asks for', async () => {
    const { event } = await store(app, tenant)
    const choosy = await tenant.addDestination()
    const key = tenant.apiKey
    const body = { event_types: ['call_ended'] }
    await app.send('PATCH', `/api/v1/destinations/${choosy}`, { key, body })
    const sent = await act(`events/${event.id}/replay`, { destination_id: choosy })
    expect(sent.status).toBe(202)
    const [id] = sent.body.deliveries
    expect(await show(`deliveries/${id}`)).toMatchObject({
      ...{ destination_id: choosy, event_id: event.id, replay_of: null },
    })
    const again = await act(`events/${event.id}/replay`, { destination_id: choosy })
    expect((await show(`deliveries/${again.body.deliveries[0]}`)).replay_of).toBe(id)
  })

  it('of a payload that cannot be read wants to be told where', async () => {
    const eventId = await storeUnrouted({ provider: 'platform', payload: Buffer.from('{') })
    const refused = await act(`events/${eventId}/replay`)
    expect([refused.status, refused.body.detail]).toEqual([409, expect.stringMatching(/cannot be/)])
    const destination_id = tenant.destinationId
    expect((await act(`events/${eventId}/replay`, { destination_id })).status).toBe(202)
  })

  it('refuses a destination that is disabled, unknown or of somebody else', async () => {
    const { event } = await store(app, tenant)
    const disabled = await tenant.addDestination()
    const key = tenant.apiKey
    const body = { status: 'disabled' }
    await app.send('PATCH', `/api/v1/destinations/${disabled}`, { key, body })
    const path = `events/${event.id}/replay`
    expect((await act(path, { destination_id: disabled })).status).toBe(409)
    const foreign = (await newTenant()).destinationId
    for (const destination_id of [foreign, `dst_${'a'.repeat(26)}`]) {
      const refused = await act(path, { destination_id })
      expect([refused.status, refused.body]).toEqual([404, { detail: 'Destination not found' }])
    }
    expect((await act(path, { destination_id: 'dst_x' })).status).toBe(422)
  })
})

describe('what became of events', () => {
  it('can be asked for by destination and by state', async () => {
    tenant = await newTenant()
    const destinationId = await tenant.addDestination()
    const { event } = await store(app, tenant, { destinationId, delivery: { state: 'given_up' } })
    await store(app, tenant)
    const idsOf = async (query: string) =>
      (await show(`events?${query}`)).items.map(({ id }: { id: string }) => id)
    expect(await idsOf(`destination=${destinationId}`)).toEqual([event.id])
    expect(await idsOf('state=given_up')).toEqual([event.id])
    expect(await idsOf(`destination=${destinationId}&state=delivered`)).toEqual([])
    expect((await app.get(tenant, '/api/v1/events?state=lost')).status).toBe(422)
  })
})

it('replays and cancellations are in the audit log, with the key that asked', async () => {
  const { rows } = await app.database.pool.query(
    `select event_type, count(*)::int, bool_and(api_key_id is not null) as has_key from audit_logs
      where resource_type in ('delivery', 'event') group by event_type order by event_type`,
  )
  expect(rows.map(({ event_type, has_key }) => [event_type, has_key])).toEqual([
    ['delivery.cancelled', true],
    ['delivery.replayed', true],
    ['event.replayed', true],
  ])
})
