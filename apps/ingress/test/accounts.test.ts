import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ADMIN_KEY, type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const SID = `AC${'0'.repeat(32)}`

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
})
afterAll(() => app.close())

describe('organizations', () => {
  it('the admin key makes one, with a key that may do everything in it', async () => {
    const made = await app.send('POST', '/api/v1/organizations', {
      key: ADMIN_KEY,
      body: { name: 'Müller & Söhne' },
    })
    expect(made.status).toBe(201)
    expect(made.body).toEqual({
      id: expect.stringMatching(/^org_[a-z2-7]{26}$/),
      name: 'Müller & Söhne',
      api_key: expect.stringMatching(/^swh_[a-z2-7]{12}_[a-z2-7]{52}$/),
    })
    const { api_key: key } = made.body
    const keys = await app.send('GET', '/api/v1/api-keys', { key })
    expect(keys.body.items[0].scopes).toEqual(['read', 'write', 'admin'])
  })

  it('can be renamed, and a PATCH of nothing changes nothing', async () => {
    tenant = await app.createTenant('Before')
    const renamed = await tenant.call('PATCH', '/api/v1/organization', { name: 'After' })
    expect(renamed.body).toMatchObject({ id: tenant.id, name: 'After' })
    expect((await tenant.call('PATCH', '/api/v1/organization', {})).body).toEqual(renamed.body)
    expect((await tenant.call('GET', '/api/v1/organization')).body).toEqual(renamed.body)
  })
})

describe('API keys', () => {
  beforeAll(async () => {
    tenant = await app.createTenant()
  })

  it('a new key works at once and is shown once', async () => {
    const key = await tenant.create('/api/v1/api-keys', {
      name: 'reader',
      scopes: ['read', 'read'],
    })
    expect(key).toMatchObject({ name: 'reader', scopes: ['read'] })
    expect((await app.send('GET', '/api/v1/organization', { key: key.api_key })).status).toBe(200)
    const shown = await tenant.call('GET', `/api/v1/api-keys/${key.id}`)
    expect(shown.body).toEqual({ ...key, api_key: undefined })
  })

  it('a key that deletes itself is answered 204, and is unknown from then on', async () => {
    const { id, api_key: key } = await tenant.create('/api/v1/api-keys', { scopes: ['admin'] })
    expect((await app.send('DELETE', `/api/v1/api-keys/${id}`, { key })).status).toBe(204)
    expect((await app.send('GET', '/api/v1/organization', { key })).status).toBe(401)
    expect((await tenant.call('DELETE', `/api/v1/api-keys/${id}`)).status).toBe(404)
  })

  it('without scopes a key may read only', async () => {
    const { scopes } = await tenant.create('/api/v1/api-keys', {})
    expect(scopes).toEqual(['read'])
  })

  it('pages hold every key once, newest first', async () => {
    tenant = await app.createTenant()
    const made: string[] = []
    for (let count = 0; count < 4; count += 1)
      made.unshift((await tenant.create('/api/v1/api-keys', {})).id)
    const seen: string[] = []
    let cursor = ''
    do {
      const page = await tenant.call(
        'GET',
        `/api/v1/api-keys?limit=2${cursor && `&cursor=${cursor}`}`,
      )
      seen.push(...page.body.items.map(({ id }: { id: string }) => id))
      cursor = page.body.next_cursor
    } while (cursor)
    expect(seen.slice(0, 4)).toEqual(made)
    expect(seen).toHaveLength(5)
  })
})

describe('Twilio accounts', () => {
  beforeAll(async () => {
    tenant = await app.createTenant()
  })

  it('one can be registered, gets its webhook URLs, and its tokens are never shown', async () => {
    const account = await tenant.create('/api/v1/provider-accounts', {
      provider: 'twilio',
      account_sid: SID,
      auth_token: 'planted-auth-token',
    })
    expect(account).toEqual({
      id: expect.stringMatching(/^pac_[a-z2-7]{26}$/),
      provider: 'twilio',
      account_sid: SID,
      public_key: null,
      allowed_cidrs: [],
      has_secondary_auth_token: false,
      has_api_key: false,
      has_api_secret: false,
      has_basic: false,
      webhook_urls: [
        'https://hooks.example.com/twilio-sms-webhook',
        'https://hooks.example.com/webhooks/sms/twilio',
        'https://hooks.example.com/twilio-voice-webhook',
        'https://hooks.example.com/recording-status',
      ],
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
    })
    expect((await tenant.call('GET', `/api/v1/provider-accounts/${account.id}`)).body).toEqual(
      account,
    )
    expect((await tenant.call('GET', '/api/v1/provider-accounts')).body.items).toEqual([account])
  })

  it('the same account twice is a conflict in one organization, and none between two', async () => {
    const body = { provider: 'twilio', account_sid: SID, auth_token: 'x' }
    const again = await tenant.call('POST', '/api/v1/provider-accounts', body)
    expect(again.status).toBe(409)
    const other = await app.createTenant()
    const elsewhere = await app.send('POST', '/api/v1/provider-accounts', { key: other.key, body })
    expect(elsewhere.status).toBe(201)
  })

  it('its tokens can be replaced, and the next webhook is verified with them', async () => {
    const [account] = (await tenant.call('GET', '/api/v1/provider-accounts')).body.items
    const path = `/api/v1/provider-accounts/${account.id}`
    const rotated = await tenant.call('PATCH', path, { secondary_auth_token: 'new-token' })
    expect(rotated.body.has_secondary_auth_token).toBe(true)
    const keysOf = () =>
      app.deps.snapshot
        .findAccounts('twilio', SID)
        .filter(({ id }) => id === account.id)
        .flatMap(({ verifyKeys }) => verifyKeys.map((key) => key.export().toString()))
    expect(keysOf()).toEqual(['planted-auth-token', 'new-token'])
    await tenant.call('PATCH', path, { auth_token: 'new-token', secondary_auth_token: null })
    expect(keysOf()).toEqual(['new-token'])
  })

  it('once deleted it is gone, with its tokens, and can be registered again', async () => {
    const [account] = (await tenant.call('GET', '/api/v1/provider-accounts')).body.items
    expect((await tenant.call('DELETE', `/api/v1/provider-accounts/${account.id}`)).status).toBe(
      204,
    )
    expect((await tenant.call('DELETE', `/api/v1/provider-accounts/${account.id}`)).status).toBe(
      404,
    )
    const row = await app.deps.database.db
      .selectFrom('provider_accounts')
      .selectAll()
      .where('id', '=', account.id)
      .executeTakeFirstOrThrow()
    expect([row.auth_token, row.secondary_auth_token]).toEqual([null, null])
    await tenant.create('/api/v1/provider-accounts', {
      provider: 'twilio',
      account_sid: SID,
      auth_token: 'x',
    })
  })
})
