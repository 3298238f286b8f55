import { AUDIT_EVENT_TYPES, writeAudit } from '@switchhook/core/store/audit-logs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'
import { expectBurki } from './burki-schemas.ts'
import { expectIssues } from './expect-issues.ts'

type Entry = Record<string, unknown> & { readonly event_type: string }

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant('Audited')
})
afterAll(() => app.close())

async function logsOf(owner: Tenant, query = ''): Promise<Entry[]> {
  const { status, body } = await owner.call('GET', `/api/v1/audit/logs${query}`)
  expect(status).toBe(200)
  return body.logs
}

/** Newest first. */
const entriesOf = (type: string, id: string | number): Promise<Entry[]> =>
  logsOf(tenant, `?resource_type=${type}&resource_id=${encodeURIComponent(id)}`)

describe('what is written down', () => {
  it.each([
    ['assistant', '/api/v1/assistants', { name: 'Ava' }, { name: 'Eve' }],
    [
      'phone_number',
      '/api/v1/phone-numbers',
      { phone_number: '+61400000009', provider: 'twilio' },
      { service_id: 'svc-1' },
    ],
  ])('%s: making, changing and deleting it, each with old and new values', async (...what) => {
    const [type, path, body, change] = what
    const made = await tenant.create(path, body)
    const changed = (await tenant.call('PATCH', `${path}/${made.id}`, change)).body
    await tenant.call('DELETE', `${path}/${made.id}`)
    const entries = await entriesOf(type, made.id)
    expect(entries).toMatchObject([
      { event_type: `${type}.deleted`, action: 'delete', old_values: changed, new_values: null },
      { event_type: `${type}.updated`, action: 'update', old_values: made, new_values: changed },
      { event_type: `${type}.created`, action: 'create', old_values: null, new_values: made },
    ])
    expect(entries[0]).toMatchObject({
      status: 'success',
      resource_name: changed.name ?? changed.phone_number,
      ip_address: expect.stringContaining('127.0.0.1'),
      user_agent: expect.any(String),
      error_message: null,
    })
  })

  it('an API key, made by either API, without its secret', async () => {
    const one = await tenant.create('/api/v1/api-keys', { name: 'One', scopes: ['read'] })
    const { body } = await tenant.call('POST', '/api/v1/users/me/api-keys', { name: 'Two' })
    const [made] = await entriesOf('api_key', one.id)
    expect(made).toMatchObject({ event_type: 'api_key.created', new_values: { name: 'One' } })
    const all = await logsOf(tenant, '?resource_type=api_key')
    expect(all.map(({ resource_name }) => resource_name)).toContain('Two')
    await tenant.call('DELETE', `/api/v1/api-keys/${one.id}`)
    await tenant.call('DELETE', `/api/v1/users/me/api-keys/${body.api_key.id}`)
    const deleted = await logsOf(tenant, '?event_type=api_key.deleted')
    expect(deleted.map(({ resource_name }) => resource_name)).toEqual(['Two', 'One'])
    const text = JSON.stringify(await logsOf(tenant))
    for (const key of [one.api_key, body.key]) expect(text).not.toContain(key.split('_')[2])
    expect(text).not.toContain('sha256')
  })

  it('the organization and its settings, making it by nobody of its own', async () => {
    const other = await app.createTenant('New')
    await other.call('PATCH', '/api/v1/organization', { webhook_change_approval: true })
    const entries = await logsOf(other)
    expect(entries).toMatchObject([
      {
        event_type: 'organization.updated',
        old_values: { webhook_change_approval: false },
        new_values: { webhook_change_approval: true },
        api_key_id: expect.any(Number),
      },
      { event_type: 'organization.created', api_key_id: null, user_id: null },
    ])
  })

  it('nothing for a change that changes nothing, or that fails', async () => {
    const { id } = await tenant.create('/api/v1/assistants', { name: 'Same' })
    await tenant.call('PATCH', `/api/v1/assistants/${id}`, { name: 'Same' })
    await tenant.call('PATCH', `/api/v1/assistants/${id}`, { webhook_url: 'ftp://example.com' })
    expect(await entriesOf('assistant', id)).toHaveLength(1)
    const { body } = await tenant.call('GET', '/api/v1/audit/logs?event_type=phone_number.created')
    const twice = { phone_number: '+61400000010', provider: 'twilio' }
    await tenant.create('/api/v1/phone-numbers', twice)
    expect((await tenant.call('POST', '/api/v1/phone-numbers', twice)).status).toBe(409)
    const after = await tenant.call('GET', '/api/v1/audit/logs?event_type=phone_number.created')
    expect(after.body.total).toBe(body.total + 1)
  })

  it('is there with the change or neither is', async () => {
    const { pool } = app.deps.database
    const constraint = "check (resource_name <> 'Refused') not valid"
    await pool.query(`alter table audit_logs add constraint refused ${constraint}`)
    const { status } = await tenant.call('POST', '/api/v1/assistants', { name: 'Refused' })
    await pool.query('alter table audit_logs drop constraint refused')
    expect(status).toBe(500)
    expect((await tenant.call('GET', '/api/v1/assistants')).text).not.toContain('Refused')
  })

  it('tells the key that did it by the number it has in /users/me/api-keys', async () => {
    const { body } = await tenant.call('POST', '/api/v1/users/me/api-keys', {
      name: 'Writer',
      permissions: { write: true },
    })
    const made = await app.send('POST', '/api/v1/assistants', {
      key: body.key,
      body: { name: 'By the writer' },
    })
    const [entry] = await entriesOf('assistant', made.body.id)
    expect(entry).toMatchObject({ api_key_id: body.api_key.id, user_id: body.api_key.user_id })
  })
})

describe('GET /api/v1/audit/logs', () => {
  it("answers Burki's AuditLogsResponse, every entry with its fields", async () => {
    const { body } = await tenant.call('GET', '/api/v1/audit/logs')
    expectBurki('AuditLogsResponse', body)
    expect(body.logs.length).toBeGreaterThan(5)
    for (const entry of body.logs) expectBurki('AuditLogEntry', entry)
    expect(body).toMatchObject({ total: body.logs.length, limit: 50, offset: 0 })
  })

  it('pages newest first, total counting what matches', async () => {
    const owner = await app.createTenant()
    for (const name of ['1', '2', '3']) await owner.create('/api/v1/assistants', { name })
    const query = '?event_type=assistant.created&limit=2'
    const first = (await owner.call('GET', `/api/v1/audit/logs${query}`)).body
    const second = (await owner.call('GET', `/api/v1/audit/logs${query}&offset=2`)).body
    const names = [...first.logs, ...second.logs].map(({ resource_name }) => resource_name)
    expect(names).toEqual(['3', '2', '1'])
    expect(first).toMatchObject({ total: 3, limit: 2, offset: 0 })
    expect(second).toMatchObject({ total: 3, limit: 2, offset: 2 })
  })

  it('filters by time, both ends included; a day alone is the whole day', async () => {
    const owner = await app.createTenant()
    const at = async (time: string) => {
      await writeAudit(app.deps.database.db, {
        ...{ organizationId: owner.id, eventType: 'assistant.updated', apiKeyId: null },
        ...{ resourceType: 'assistant', resourceId: time, action: 'update' },
      })
      await app.deps.database.pool.query(
        'update audit_logs set event_timestamp = $1 where resource_id = $2',
        [new Date(time), time],
      )
    }
    await at('2026-03-01T00:00:00Z')
    await at('2026-03-02T23:59:59Z')
    const found = async (query: string) =>
      (await logsOf(owner, `?resource_type=assistant&${query}`)).map(({ resource_id }) =>
        String(resource_id).slice(0, 10),
      )
    expect(await found('start_date=2026-03-02')).toEqual(['2026-03-02'])
    expect(await found('end_date=2026-03-01')).toEqual(['2026-03-01'])
    expect(await found('start_date=2026-03-01&end_date=2026-03-02')).toHaveLength(2)
    expect(await found('end_date=2026-03-01T00:00:00')).toEqual(['2026-03-01'])
    expect(await found('start_date=2026-03-01T10:00:00.5+10:00')).toEqual(['2026-03-02'])
  })

  it('knows one user, and no reading of health data', async () => {
    const [entry] = await logsOf(tenant)
    expect((await logsOf(tenant, `?user_id=${entry?.user_id}`)).length).toBeGreaterThan(0)
    expect(await logsOf(tenant, '?user_id=1')).toEqual([])
    expect(await logsOf(tenant, '?phi_only=true')).toEqual([])
    expect((await logsOf(tenant, '?phi_only=false&event_type=')).length).toBeGreaterThan(0)
    expect(await logsOf(tenant, '?event_type=nonsense')).toEqual([])
  })

  it.each([
    ...['limit=0', 'limit=501', 'limit=a', 'offset=-1', 'offset=99999999999', 'user_id=me'],
    ...[
      'start_date=yesterday',
      'end_date=2026-02-30',
      'phi_only=maybe',
      'event_type=a&event_type=b',
    ],
    ...['event_type=%00', `resource_id=${'x'.repeat(500)}`],
  ])('?%s is 422', async (query) => {
    expectIssues(await tenant.call('GET', `/api/v1/audit/logs?${query}`))
  })

  it('is for admins only', async () => {
    const key = await app.createKey(tenant, ['write'])
    for (const path of ['/api/v1/audit/logs', '/api/v1/audit/event-types']) {
      expect((await app.send('GET', path, { key })).status).toBe(403)
    }
  })

  it("never shows another organization's", async () => {
    const other = await app.createTenant('Not theirs')
    const entries = await logsOf(other)
    expect(entries.map(({ resource_name }) => resource_name)).toEqual(['Not theirs'])
  })
})

describe('GET /api/v1/audit/event-types', () => {
  it('lists every type that the log holds', async () => {
    const { status, body } = await tenant.call('GET', '/api/v1/audit/event-types')
    expect([status, body]).toEqual([200, { event_types: AUDIT_EVENT_TYPES }])
    for (const { event_type } of await logsOf(tenant, '?limit=500')) {
      expect(body.event_types).toContain(event_type)
    }
  })
})
