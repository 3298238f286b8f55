import { silentLogger } from '@switchhook/core/log'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startKeyUses } from '../src/api/key-uses.ts'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'
import { expectBurki } from './burki-schemas.ts'
import { expectIssues } from './expect-issues.ts'

const PATH = '/api/v1/users/me/api-keys'

let app: ApiTestApp
let tenant: Tenant
let uses: ReturnType<typeof startKeyUses>

beforeAll(async () => {
  app = await startApiTestApp({ noteKeyUse: (id) => uses.note(id) })
  uses = startKeyUses({ database: app.deps.database, log: silentLogger, flushEveryMs: 20 })
  tenant = await app.createTenant()
})
afterAll(async () => {
  await uses.stop()
  await app.close()
})

const create = async (body: object) => (await tenant.call('POST', PATH, body)).body

describe('POST /api/v1/users/me/api-keys', () => {
  it("answers 200 with Burki's CreateAPIKeyResponse, and the key works", async () => {
    const { status, body } = await tenant.call('POST', PATH, { name: 'Reports' })
    expect(status).toBe(200)
    expectBurki('CreateAPIKeyResponse', body)
    expectBurki('APIKeyResponse', body.api_key)
    expect(body.api_key).toMatchObject({
      name: 'Reports',
      key_prefix: body.key.slice(0, 12),
      last_used_at: null,
      usage_count: 0,
      is_active: true,
      permissions: { read: true, write: false, admin: false },
    })
    expect((await app.send('GET', '/api/v1/organization', { key: body.key })).status).toBe(200)
  })

  it.each([
    [undefined, ['read']],
    [null, ['read']],
    [{}, ['read']],
    [{ read: true }, ['read']],
    [{ write: true }, ['read', 'write']],
    [{ read: true, admin: true }, ['read', 'write', 'admin']],
    [{ admin: false, write: false }, ['read']],
    [{ admin: 'true' }, ['read']],
    [{ assistants: 'read_write', calls: 'read' }, ['read', 'write']],
    [{ calls: 'read' }, ['read']],
    [{ admin: 'read_write' }, ['read', 'write']],
  ])('permissions %j may %j', async (permissions, allowed) => {
    const made = await create({ name: 'x', ...(permissions === undefined ? {} : { permissions }) })
    const granted = Object.entries(made.api_key.permissions).filter(([, may]) => may === true)
    expect(granted.map(([name]) => name)).toEqual(allowed)
    const asked = await app.send('GET', '/api/v1/audit/event-types', { key: made.key })
    expect(asked.status).toBe(allowed.includes('admin') ? 200 : 403)
  })

  it.each([
    [{}],
    [{ name: '' }],
    [{ name: 'x', permissions: [] }],
    [{ name: 'x', scopes: ['read'] }],
  ])('refuses %j', async (body) => {
    expectIssues(await tenant.call('POST', PATH, body))
  })
})

describe('GET /api/v1/users/me/api-keys', () => {
  it('lists the same keys as /api/v1/api-keys, newest first, without a secret', async () => {
    const made = await create({ name: 'Newest' })
    const { body, text } = await tenant.call('GET', PATH)
    for (const key of body) expectBurki('APIKeyResponse', key)
    expect(body[0].id).toBe(made.api_key.id)
    const own = (await tenant.call('GET', '/api/v1/api-keys?limit=200')).body.items
    expect(body.map((key: { key_prefix: string }) => key.key_prefix)).toEqual(
      own.map(({ id }: { id: string }) => `swh_${id}`.slice(0, 12)),
    )
    expect(text).not.toContain(made.key.split('_')[2])
    expect(new Set(body.map((key: { user_id: number }) => key.user_id)).size).toBe(1)
  })

  it('counts the uses of a key, and tells the last one', async () => {
    const before = Date.now()
    const { api_key, key } = await create({ name: 'Counted' })
    for (let use = 0; use < 3; use += 1) await app.send('GET', '/api/v1/organization', { key })
    // Neither known by its id nor let through: no use of it.
    await app.send('GET', '/api/v1/organization', { key: `${key}a` })
    const findCounted = async () => {
      const { body } = await tenant.call('GET', PATH)
      const found = body.find(({ id }: { id: number }) => id === api_key.id)
      return found.usage_count >= 3 && found
    }
    const shown = await waitFor(findCounted, { timeoutMs: 20_000, what: 'three uses' })
    expect(shown.usage_count).toBe(3)
    expect(Date.parse(shown.last_used_at)).toBeGreaterThanOrEqual(before)
    expect(shown.updated_at).toBe(api_key.updated_at)
  })
})

describe('DELETE /api/v1/users/me/api-keys/{key_id}', () => {
  it('ends the key at once', async () => {
    const { api_key, key } = await create({ name: 'Short-lived' })
    const gone = await tenant.call('DELETE', `${PATH}/${api_key.id}`)
    expect([gone.status, gone.text]).toEqual([204, ''])
    expect((await app.send('GET', PATH, { key })).status).toBe(401)
    expect((await tenant.call('DELETE', `${PATH}/${api_key.id}`)).status).toBe(404)
  })

  it("is 404 for another organization's key, which stays", async () => {
    const other = await app.createTenant()
    const [theirs] = (await other.call('GET', PATH)).body
    for (const id of [theirs.id, 999_999, 0, -1, 'abc', '9'.repeat(30)]) {
      const answer = await tenant.call('DELETE', `${PATH}/${id}`)
      expect([answer.status, answer.body]).toEqual([404, { detail: 'API key not found' }])
    }
    expect((await other.call('GET', PATH)).status).toBe(200)
  })
})
