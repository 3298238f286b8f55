import { advanceReplay } from '@switchhook/core/store/replay-jobs-advance'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { store } from './stored-rows.ts'

const SINCE = '2020-01-01T00:00:00Z'

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

const act = (path: string, body?: unknown, key = tenant.apiKey) =>
  app.send('POST', `/api/v1/${path}`, { key, ...(body === undefined ? {} : { body }) })
const ask = (body: object, destinationId = tenant.destinationId) =>
  act(`destinations/${destinationId}/replay`, { since: SINCE, ...body })
const show = async (path: string) => (await app.get(tenant, `/api/v1/${path}`)).body
const fail = (state: 'given_up' | 'emailed' | 'delivered' = 'given_up') =>
  store(app, tenant, { delivery: { state } })

describe('POST /api/v1/destinations/{id}/replay', () => {
  it('with dry_run counts what was not delivered, and makes nothing', async () => {
    for (const state of ['given_up', 'emailed', 'delivered'] as const) await fail(state)
    await store(app, tenant, { attempts: [] })
    const answer = await ask({ dry_run: true })
    expect([answer.status, answer.body]).toEqual([
      200,
      {
        dry_run: true,
        destination_id: tenant.destinationId,
        since: '2020-01-01T00:00:00.000Z',
        until: expect.any(String),
        states: ['emailed', 'given_up', 'expired', 'cancelled'],
        rate_per_second: 50,
        total: 2,
      },
    ])
    expect((await ask({ dry_run: true, states: ['delivered', 'delivered'] })).body).toMatchObject({
      ...{ total: 1, states: ['delivered'] },
    })
    expect((await ask({ dry_run: true, until: '2020-01-02T00:00:00Z' })).body.total).toBe(0)
    expect((await show('replays')).items).toEqual([])
  })

  it('answers a replay that is running, and shows how far it is', async () => {
    const { event, deliveryId } = await fail()
    const until = '2100-01-01T00:00:00Z'
    const answer = await ask({ until, rate_per_second: 1_000 })
    expect(answer.status).toBe(202)
    expect(answer.body).toMatchObject({
      ...{ id: expect.stringMatching(/^rpl_[a-z2-7]{26}$/), destination_id: tenant.destinationId },
      ...{ state: 'running', reason: null, total: 1, done: 0, skipped: 0 },
      ...{ rate_per_second: 1_000, created_at: expect.any(String), finished_at: null },
    })
    // A replay never reaches past its own beginning.
    expect(answer.body.until).toBe(answer.body.created_at)
    const path = `replays/${answer.body.id}`
    expect(await show(path)).toEqual(answer.body)
    await app.database.pool.query(`update replays set paced_at = now() - interval '1 second'`)
    await advanceReplay(app.database, answer.body.id)
    expect(await show(path)).toMatchObject({ state: 'finished', done: 1, total: 1 })
    expect((await show(path)).finished_at).not.toBeNull()
    const { deliveries } = await show(`events/${event.id}`)
    expect(deliveries).toMatchObject([
      { state: 'pending', replay_of: deliveryId, destination_id: tenant.destinationId },
      { id: deliveryId, state: 'given_up', replay_of: null },
    ])
  })

  it('is a conflict while one of the destination runs, also of two at the same moment', async () => {
    const other = await tenant.addDestination()
    const answers = await Promise.all([ask({}), ask({}), ask({})])
    expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409])
    const conflict = answers.find(({ status }) => status === 409)
    expect(conflict?.body.detail).toBe('A replay of this destination is running')
    expect((await ask({}, other)).status).toBe(202)
    expect((await ask({ dry_run: true })).status).toBe(200)
    expect((await show('replays')).items).toHaveLength(2)
  })

  it('lets an organization have ten running, also when they are asked for at once', async () => {
    const destinations = []
    for (let made = 0; made < 13; made += 1) destinations.push(await tenant.addDestination())
    const slow = { rate_per_second: 0.1 }
    /** Again after a 503, which a slow machine may answer; what it made all the same is running then. */
    const insist = async (id: string): ReturnType<typeof ask> => {
      const answer = await ask(slow, id)
      return answer.status === 503 ? await insist(id) : answer
    }
    const answers = await Promise.all(destinations.map(insist))
    const isRunning = ({ status, body }: (typeof answers)[number]) =>
      status === 202 || body.detail === 'A replay of this destination is running'
    const refused = answers.filter((answer) => !isRunning(answer))
    expect(refused.map(({ status }) => status)).toEqual([409, 409, 409])
    expect(refused[0]?.body.detail).toBe(
      'An organization has at most 10 replays running: wait for one, or cancel it',
    )
    expect((await ask({ dry_run: true })).status).toBe(200)
    const other = await app.addTenant('+14155557654')
    const path = `destinations/${other.destinationId}/replay`
    expect((await act(path, { since: SINCE }, other.apiKey)).status).toBe(202)
    const { id } = answers.find(({ status }) => status === 202)?.body ?? {}
    await act(`replays/${id}/cancel`)
    expect((await ask({})).status).toBe(202)
  })

  it('refuses a destination that is disabled, unknown or of somebody else', async () => {
    const disabled = await tenant.addDestination()
    const body = { status: 'disabled' }
    await app.send('PATCH', `/api/v1/destinations/${disabled}`, { key: tenant.apiKey, body })
    expect((await ask({}, disabled)).status).toBe(409)
    const foreign = (await app.addTenant('+14155559876')).destinationId
    for (const id of [foreign, `dst_${'a'.repeat(26)}`, 'dst_x']) {
      const refused = await ask({}, id)
      expect([refused.status, refused.body]).toEqual([404, { detail: 'Destination not found' }])
    }
  })

  it.each([
    [{ since: undefined }, 'since'],
    [{ since: 'yesterday' }, 'since'],
    [{ since: '2020-01-02T00:00:00Z', until: '2020-01-01T00:00:00Z' }, 'until'],
    [{ states: [] }, 'states'],
    [{ states: ['pending'] }, 'states'],
    [{ states: ['lost'] }, 'states'],
    [{ rate_per_second: 0 }, 'rate_per_second'],
    [{ rate_per_second: 1e-300 }, 'rate_per_second'],
    [{ rate_per_second: 0.099 }, 'rate_per_second'],
    [{ rate_per_second: 1e9 }, 'rate_per_second'],
    [{ dry_run: 'yes' }, 'dry_run'],
    [{ limit: 5 }, 'limit'],
  ])('refuses %j', async (body, field) => {
    const refused = await ask(body)
    expect(refused.status).toBe(422)
    expect(JSON.stringify(refused.body.detail)).toContain(field)
  })

  it('needs a body, and a key that may write', async () => {
    const path = `destinations/${tenant.destinationId}/replay`
    expect((await act(path)).status).toBe(400)
    expect((await act(path, { since: SINCE }, tenant.readOnlyKey)).status).toBe(403)
  })
})

describe('a replay', () => {
  it('can be cancelled while it runs, and once only', async () => {
    const { id } = (await ask({})).body
    const answer = await act(`replays/${id}/cancel`)
    expect([answer.status, answer.body.state]).toEqual([200, 'cancelled'])
    expect(answer.body.reason).toBe('Cancelled through the API.')
    const again = await act(`replays/${id}/cancel`)
    expect([again.status, again.body.detail]).toEqual([409, 'The replay does not run any more'])
    expect((await ask({})).status).toBe(202)
  })

  it('is nobody else’s to see or to cancel', async () => {
    const { id } = (await ask({})).body
    const stranger = await app.addTenant('+14155558765')
    for (const path of [`replays/${id}`, `replays/rpl_${'a'.repeat(26)}`, 'replays/x']) {
      expect((await app.get(stranger, `/api/v1/${path}`)).status).toBe(404)
      const cancel = await act(`${path}/cancel`, undefined, stranger.apiKey)
      expect([cancel.status, cancel.body]).toEqual([404, { detail: 'Replay not found' }])
    }
    expect((await app.get(stranger, '/api/v1/replays')).body.items).toEqual([])
    expect((await show(`replays/${id}`)).state).toBe('running')
  })

  it('is listed newest first, page by page, by destination and by state', async () => {
    const other = await tenant.addDestination()
    const ids = []
    for (const destinationId of [tenant.destinationId, other]) {
      ids.unshift((await ask({}, destinationId)).body.id)
    }
    const first = await show('replays?limit=1')
    expect(first.items.map(({ id }: { id: string }) => id)).toEqual([ids[0]])
    const second = await show(`replays?limit=1&cursor=${first.next_cursor}`)
    expect([second.items[0].id, second.next_cursor]).toEqual([ids[1], null])
    expect((await show(`replays?destination=${other}`)).items).toMatchObject([{ id: ids[0] }])
    await act(`replays/${ids[0]}/cancel`)
    expect((await show('replays?state=running')).items).toMatchObject([{ id: ids[1] }])
    expect((await show(`replays?destination=dst_${'a'.repeat(26)}`)).items).toEqual([])
    for (const filter of ['state=lost', 'destination=foo', 'destination=dst_x']) {
      expect((await app.get(tenant, `/api/v1/replays?${filter}`)).status).toBe(422)
    }
  })

  it('and its end by hand are in the audit log, with the key that asked', async () => {
    const { id } = (await ask({})).body
    await act(`replays/${id}/cancel`)
    const { rows } = await app.database.pool.query(
      `select event_type, resource_type, action, api_key_id is not null as has_key, details from audit_logs
        where resource_id = $1 order by id`,
      [id],
    )
    expect(rows).toMatchObject([
      { event_type: 'replay.started', resource_type: 'replay', action: 'start', has_key: true },
      { event_type: 'replay.cancelled', action: 'cancel', has_key: true, details: { done: 0 } },
    ])
    expect(rows[0].details).toMatchObject({ destination_id: tenant.destinationId, total: 0 })
  })
})
