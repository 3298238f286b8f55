import { advanceErasure, findRunningErasures } from '@switchhook/core/store/privacy'
import { eraseEvents } from '@switchhook/core/store/privacy-erase'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { store } from './stored-rows.ts'

const PERSON = '+14155559999'
const ERASE = '/api/v1/privacy/erase'
const ERASURES = '/api/v1/privacy/erasures'

let app: ReadSideApp
let tenant: Tenant
let numbers = 0

beforeAll(async () => {
  app = await startReadSideApp()
})
beforeEach(async () => {
  numbers += 1
  tenant = await app.addTenant(`+1415555${String(numbers).padStart(4, '0')}`)
})
afterAll(() => app.close())

const erase = (phone_number: unknown = PERSON, key = tenant.adminKey) =>
  app.send('POST', ERASE, { key, body: { phone_number } })
const get = (path: string, key = tenant.adminKey) => app.send('GET', path, { key })

describe('POST /api/v1/privacy/erase', () => {
  it('answers an erasure that is running, which does not say whose it is', async () => {
    const answer = await erase()
    expect(answer.status).toBe(202)
    expect(answer.body).toEqual({
      ...{ id: expect.stringMatching(/^era_[a-z2-7]{26}$/), state: 'running', reason: null },
      ...{ phase: 'calls', events_erased: 0, deliveries_cancelled: 0, attempts_erased: 0 },
      ...{ calls_erased: 0, quarantined_deleted: 0 },
      ...{ created_at: expect.any(String), finished_at: null },
    })
    expect((await get(`${ERASURES}/${answer.body.id}`)).body).toEqual(answer.body)
    const { rows } = await app.database.pool.query(
      'select phone_number from erasures where id = $1',
      [answer.body.id],
    )
    expect(rows).toEqual([{ phone_number: PERSON }])
  })

  it('needs a key that may do everything', async () => {
    for (const key of [tenant.apiKey, tenant.readOnlyKey]) {
      expect((await erase(PERSON, key)).status).toBe(403)
      expect((await get(ERASURES, key)).status).toBe(403)
    }
  })

  it.each([
    '14155559999',
    '+1415',
    '0415555999',
    '',
    null,
    7,
    '+1415555999999999',
    '+1 415 555 9999',
  ])('refuses %j', async (number) => {
    expect((await erase(number)).status).toBe(422)
  })

  it('refuses a number of the organization itself: all of its events would go', async () => {
    const refused = await erase(tenant.phoneNumber)
    expect([refused.status, refused.body.detail]).toEqual([
      409,
      'The number is one of your own: delete it first',
    ])
  })

  it('of the same number runs once at a time in an organization', async () => {
    const answers = await Promise.all([erase(), erase()])
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409])
    expect((await erase('+14155559998')).status).toBe(202)
    const other = await app.addTenant('+14155558888')
    expect((await erase(PERSON, other.adminKey)).status).toBe(202)
  })

  it('is not taken when too many are running', async () => {
    await app.database.pool.query(
      `insert into erasures (id, organization_id, phone_number, state, phase, requested_by, created_at)
       select 'era_' || $1 || n, $1, '+1' || n, 'running', 'calls', 'key', now() from generate_series(1, 100) n`,
      [tenant.organizationId],
    )
    const refused = await erase()
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '60'])
  })

  it('is in the audit log, without the number', async () => {
    const { id } = (await erase()).body
    const { rows } = await app.database.pool.query(
      `select event_type, resource_id, api_key_id is not null as has_key, t::text as row from audit_logs t
        where organization_id = $1 and event_type = 'erasure.requested'`,
      [tenant.organizationId],
    )
    expect(rows).toMatchObject([{ resource_id: id, has_key: true }])
    expect(rows[0].row).not.toContain(PERSON.slice(1))
  })
})

describe('erasures', () => {
  it('are listed newest first, and are nobody else’s to see', async () => {
    const ids: string[] = []
    for (const number of [PERSON, '+14155559998']) ids.unshift((await erase(number)).body.id)
    const { items } = (await get(ERASURES)).body
    expect(items.map(({ id }: { id: string }) => id)).toEqual(ids)
    const stranger = await app.addTenant('+14155557777')
    expect((await get(`${ERASURES}/${ids[0]}`, stranger.adminKey)).status).toBe(404)
    expect((await get(ERASURES, stranger.adminKey)).body.items).toEqual([])
  })
})

describe('an event that was erased', () => {
  it('is shown without person and payload, in no list of messages, and cannot be replayed', async () => {
    const stored = await store(app, tenant, {
      event: { payload: Buffer.from('MessageSid=SM1&Body=private&From=%2B14155559999') },
    })
    const { event, deliveryId } = stored
    const path = `/api/v1/events/${event.id}`
    const messages = async () => (await app.get(tenant, '/api/v1/sms-logs/')).body.items
    expect((await app.get(tenant, path)).body).toMatchObject({
      ...{ peer_number: PERSON, erased_at: null, payload: expect.stringContaining('private') },
    })
    expect(await messages()).toHaveLength(1)

    await erase()
    const [running] = (
      await findRunningErasures(app.database.db, Date.now() + 1_000, 1_000)
    ).filter(({ organizationId }) => organizationId === tenant.organizationId)
    if (running === undefined) throw new Error('no erasure runs')
    await app.database.db.transaction().execute(async (tx) => {
      const ref = { id: event.id, receivedAt: new Date(event.receivedAtMs) }
      await advanceErasure(tx, running, {
        ...(await eraseEvents(tx, running, [ref])),
        position: 'next',
      })
    })
    expect((await app.get(tenant, path)).body).toMatchObject({
      ...{ id: event.id, type: 'sms_received', phone_number: tenant.phoneNumber },
      ...{ peer_number: null, payload: '', erased_at: expect.any(String) },
      deliveries: [{ id: deliveryId, state: 'delivered' }],
    })
    expect(await messages()).toEqual([])
    const logs = (await app.get(tenant, `/api/v1/webhook-logs?event=${event.id}`)).body.items
    expect(logs).toMatchObject([{ request_payload: null, response_body: null }])
    for (const action of [`events/${event.id}/replay`, `deliveries/${deliveryId}/replay`]) {
      const refused = await app.send('POST', `/api/v1/${action}`, { key: tenant.apiKey })
      expect([refused.status, refused.body.detail]).toEqual([409, 'Its payload is no longer kept'])
    }
    expect((await get(`${ERASURES}/${running.id}`)).body).toMatchObject({
      ...{ phase: 'events', events_erased: 1, attempts_erased: 1 },
    })
  })
})
