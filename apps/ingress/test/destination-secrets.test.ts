import { decryptSecret } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import { disableDestination } from '@switchhook/core/store/failing-destinations'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const HOOK = 'https://receiver.example.com/hook'
const HOUR_MS = 3_600_000

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant()
})
afterAll(() => app.close())

async function storedRow(id: string): Promise<Record<string, unknown>> {
  const { rows } = await app.deps.database.pool.query('select * from destinations where id = $1', [
    id,
  ])
  return rows[0]
}

const stored = (id: string) => app.deps.snapshot.findDestination(id)
const open = (id: string, column: string, envelope: string | null | undefined) =>
  decryptSecret(app.deps.ring, envelope ?? '', sealOf(id, column))
const isAbout = (atMs: number | null | undefined, expectedMs: number) =>
  Math.abs((atMs ?? 0) - expectedMs) < 60_000

describe('the headers of a destination', () => {
  const headers = { Authorization: 'Bearer planted-credential', 'X-Team': 'planted-team' }

  it('are shown to their owner and nowhere stored in clear, names included', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK, headers })
    const path = `/api/v1/destinations/${id}`
    expect((await tenant.call('GET', path)).body.headers).toEqual(headers)
    // A change of something else leaves them.
    const renamed = await tenant.call('PATCH', path, { name: 'Renamed' })
    expect(renamed.body).toMatchObject({ name: 'Renamed', headers })
    const row = await storedRow(id)
    expect(row.headers).toEqual({})
    expect(JSON.stringify(row)).not.toMatch(/planted|Authorization|X-Team/)
    expect(JSON.parse(open(id, 'sealed_headers', String(row.sealed_headers)))).toEqual(headers)
    expect((await tenant.call('PATCH', path, { headers: {} })).body.headers).toEqual({})
    expect((await storedRow(id)).sealed_headers).toBeNull()
  })

  it('written before they were sealed are still there, and sealed by the next change', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    await app.deps.database.pool.query('update destinations set headers = $2 where id = $1', [
      id,
      headers,
    ])
    expect((await tenant.call('GET', path)).body.headers).toEqual(headers)
    expect((await tenant.call('PATCH', path, { name: 'Renamed' })).body.headers).toEqual(headers)
    expect(JSON.stringify(await storedRow(id))).not.toContain('planted')
  })
})

describe('rotating what a destination is signed with', () => {
  it('the one before goes on for as long as is asked, at most seven days', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}/rotate-secret`
    for (const overlap of [0, 3600, 604_800]) {
      const answer = await tenant.call('POST', path, { overlap_seconds: overlap })
      expect(answer.status).toBe(200)
      const expiresAtMs = stored(id)?.previousSecretExpiresAtMs
      expect(isAbout(expiresAtMs, Date.now() + overlap * 1000)).toBe(true)
    }
    for (const bad of [-1, 604_801, 1.5, '60', null]) {
      expect((await tenant.call('POST', path, { overlap_seconds: bad })).status).toBe(422)
    }
    expect((await tenant.call('POST', path, { type: 'rsa' })).status).toBe(422)
    expect((await tenant.call('POST', path, { overlap: 1 })).status).toBe(422)
  })

  it('an ed25519 pair is made on demand, beside the secret; only its public half is told', async () => {
    const { id, secret } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    const rotate = () => tenant.call('POST', `${path}/rotate-secret`, { type: 'ed25519' })
    const first = await rotate()
    expect(first).toMatchObject({
      status: 200,
      body: { public_key: expect.stringMatching(/^whpk_[A-Za-z0-9+/]{43}=$/) },
    })
    expect(Object.keys(first.body)).toEqual(['public_key'])
    expect((await tenant.call('GET', path)).body.public_key).toBe(first.body.public_key)
    expect(open(id, 'secret', stored(id)?.secret)).toBe(secret)
    const privateKey = open(id, 'ed25519_key', stored(id)?.ed25519Key)
    expect(privateKey).toMatch(/^whsk_/)
    expect(JSON.stringify(await storedRow(id))).not.toContain('whsk_')

    const second = await rotate()
    expect(second.body.public_key).not.toBe(first.body.public_key)
    expect(open(id, 'ed25519_key', stored(id)?.previousEd25519Key)).toBe(privateKey)
    const expiresAtMs = stored(id)?.previousEd25519KeyExpiresAtMs
    expect(isAbout(expiresAtMs, Date.now() + 24 * HOUR_MS)).toBe(true)
  })

  it.each(['hmac', 'ed25519'] as const)(
    'within the overlap of the last time is a conflict, unless an overlap is given: %s',
    async (type) => {
      const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
      const path = `/api/v1/destinations/${id}/rotate-secret`
      const rotate = (more: object = {}) => tenant.call('POST', path, { type, ...more })
      // The first pair takes nobody's place.
      if (type === 'ed25519') expect((await rotate()).status).toBe(200)
      expect((await rotate()).status).toBe(200)
      const before = stored(id)
      const endsAtMs =
        type === 'hmac' ? before?.previousSecretExpiresAtMs : before?.previousEd25519KeyExpiresAtMs
      const refused = await rotate()
      expect([refused.status, Object.keys(refused.body)]).toEqual([409, ['detail']])
      expect(refused.body.detail).toContain(new Date(endsAtMs ?? 0).toISOString())
      expect(refused.body.detail).toContain('overlap_seconds')
      expect(stored(id)).toEqual(before)
      // The other kind has an overlap of its own.
      const other = type === 'hmac' ? 'ed25519' : 'hmac'
      expect((await rotate({ type: other })).status).toBe(200)

      expect((await rotate({ overlap_seconds: 3600 })).status).toBe(200)
      expect((await rotate()).status).toBe(409)
      expect((await rotate({ overlap_seconds: 0 })).status).toBe(200)
      expect((await rotate()).status).toBe(200)
    },
  )
})

describe('a destination that the gateway disabled', () => {
  it('says why, and starts anew when it is set active', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    const { db, pool } = app.deps.database
    await pool.query(
      `insert into destination_failures values ($1, now() - interval '5 days', now())`,
      [id],
    )
    const order = { destinationId: id, reason: 'It answered 410 Gone.', nowMs: Date.now() }
    expect(await disableDestination(db, { ...order, failingSinceMs: null })).toBe(true)
    expect((await tenant.call('GET', path)).body).toMatchObject({
      status: 'disabled',
      disabled_reason: order.reason,
      disabled_at: new Date(order.nowMs).toISOString(),
    })
    // Any other change leaves it so.
    expect((await tenant.call('PATCH', path, { name: 'Renamed' })).body).toMatchObject({
      status: 'disabled',
      disabled_reason: order.reason,
    })
    expect((await tenant.call('PATCH', path, { status: 'active' })).body).toMatchObject({
      status: 'active',
      disabled_reason: null,
      disabled_at: null,
    })
    const failures = await pool.query(
      'select * from destination_failures where destination_id = $1',
      [id],
    )
    expect(failures.rows).toEqual([])
  })

  it('has no reason when its owner disabled it, and a change of an active one forgets no failure', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: HOOK })
    const path = `/api/v1/destinations/${id}`
    const { pool } = app.deps.database
    await pool.query(`insert into destination_failures values ($1, now(), now())`, [id])
    await tenant.call('PATCH', path, { status: 'active', name: 'Renamed' })
    const failures = await pool.query(
      'select * from destination_failures where destination_id = $1',
      [id],
    )
    expect(failures.rows).toHaveLength(1)
    expect((await tenant.call('PATCH', path, { status: 'disabled' })).body).toMatchObject({
      status: 'disabled',
      disabled_reason: null,
      disabled_at: expect.any(String),
    })
  })
})
