import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'
import { expectIssues } from './expect-issues.ts'

const PATH = '/api/v1/organization'

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
  tenant = await app.createTenant('Example')
})
afterAll(() => app.close())

describe('the settings of an organization', () => {
  it('begin without approval and without an operations destination', async () => {
    const { status, body } = await tenant.call('GET', PATH)
    expect([status, body]).toEqual([
      200,
      {
        id: tenant.id,
        name: 'Example',
        webhook_change_approval: false,
        operations_destination_id: null,
      },
    ])
  })

  it('change one by one, and every process knows at once', async () => {
    const { id } = await tenant.create('/api/v1/destinations', { url: 'https://example.com/' })
    const changes = [
      { webhook_change_approval: true },
      { operations_destination_id: id },
      { name: 'Renamed' },
    ]
    for (const change of changes) {
      const { status, body } = await tenant.call('PATCH', PATH, change)
      expect(status).toBe(200)
      expect(body).toMatchObject(change)
    }
    const all = Object.assign({ id: tenant.id }, ...changes)
    expect((await tenant.call('GET', PATH)).body).toEqual(all)
    expect(app.deps.snapshot.findOrganization(tenant.id)).toMatchObject({
      name: 'Renamed',
      needsChangeApproval: true,
    })
    const cleared = await tenant.call('PATCH', PATH, { operations_destination_id: null })
    expect(cleared.body).toEqual({ ...all, operations_destination_id: null })
  })

  it('forget an operations destination that is deleted, and no other', async () => {
    const make = () => tenant.create('/api/v1/destinations', { url: 'https://example.com/' })
    const [told, other] = [await make(), await make()]
    await tenant.call('PATCH', PATH, { operations_destination_id: told.id })
    const known = async () => [
      (await tenant.call('GET', PATH)).body.operations_destination_id,
      app.deps.snapshot.findOrganization(tenant.id)?.operationsDestinationId,
    ]
    await tenant.call('DELETE', `/api/v1/destinations/${other.id}`)
    expect(await known()).toEqual([told.id, told.id])
    await tenant.call('DELETE', `/api/v1/destinations/${told.id}`)
    expect(await known()).toEqual([null, null])

    const assistant = await tenant.create('/api/v1/assistants', { name: 'A' })
    const scoped = { url: 'https://example.com/', assistant_id: assistant.id }
    const { id } = await tenant.create('/api/v1/destinations', scoped)
    await tenant.call('PATCH', PATH, { operations_destination_id: id })
    expect(await known()).toEqual([id, id])
    await tenant.call('DELETE', `/api/v1/assistants/${assistant.id}`)
    expect(await known()).toEqual([null, null])
  })

  it("never name another organization's destination", async () => {
    const other = await app.createTenant()
    const theirs = await other.create('/api/v1/destinations', { url: 'https://example.com/' })
    const unknown = `dst_${'a'.repeat(26)}`
    for (const id of [theirs.id, unknown]) {
      const answer = await tenant.call('PATCH', PATH, { operations_destination_id: id })
      expect([answer.status, answer.body]).toEqual([404, { detail: 'Destination not found' }])
    }
  })

  it.each([
    [{ webhook_change_approval: 'yes' }],
    [{ webhook_change_approval: null }],
    [{ operations_destination_id: 'dst_1' }],
    [{ name: ' ' }],
    [{ id: 'org_1' }],
  ])('refuse %j', async (body) => {
    expectIssues(await tenant.call('PATCH', PATH, body))
  })

  it('are for admins to change', async () => {
    const key = await app.createKey(tenant, ['write'])
    const body = { webhook_change_approval: false }
    expect((await app.send('PATCH', PATH, { key, body })).status).toBe(403)
    expect((await app.send('GET', PATH, { key })).status).toBe(200)
  })
})
