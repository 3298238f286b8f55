import { generateKeyPairSync, hash } from 'node:crypto'
import { decryptSecret } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Answer, type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const SID = `AC${'0'.repeat(32)}`
const PATH = '/api/v1/provider-accounts'
const BASE = 'https://hooks.example.com'

let app: ApiTestApp
let tenant: Tenant

beforeAll(async () => {
  app = await startApiTestApp()
})
afterAll(() => app.close())

/** A 422 about these places, and no other. */
function expectIssues({ status, body }: Answer, places: (string | number)[][]): void {
  expect([status, body.detail.map(({ loc }: { loc: unknown }) => loc)]).toEqual([422, places])
}

/** Base64 of 32 bytes, as the portal shows it. */
function newPublicKey(): string {
  const { publicKey } = generateKeyPairSync('ed25519')
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64')
}

const rowOf = (id: string) =>
  app.deps.database.db
    .selectFrom('provider_accounts')
    .selectAll()
    .where('id', '=', id)
    .executeTakeFirstOrThrow()

/** The token at the end of a whole URL. */
const tokenOf = (url: string): string => url.slice(url.lastIndexOf('/') + 1)

const ownerOf = (token: string) =>
  app.deps.snapshot.findAccountByToken(hash('sha256', token, 'hex'))?.id

describe('Telnyx accounts', () => {
  beforeAll(async () => {
    tenant = await app.createTenant()
  })

  it('one has a public key, a path of its own, and an API key that nobody sees again', async () => {
    const publicKey = newPublicKey()
    const made = await tenant.create(PATH, {
      provider: 'telnyx',
      public_key: publicKey,
      api_key: 'KEY-planted',
    })
    expect(made).toMatchObject({ public_key: publicKey, account_sid: null, has_api_key: true })
    const own = made.webhook_urls.at(-1)
    expect(made.webhook_urls).toEqual([
      `${BASE}/telnyx-webhook`,
      `${BASE}/telnyx-sms-webhook`,
      `${BASE}/webhooks/sms/telnyx`,
      expect.stringMatching(/^https:\/\/hooks\.example\.com\/telnyx-webhook\/[a-z2-7]{52}$/),
    ])
    expect(ownerOf(tokenOf(own))).toBe(made.id)
    const shown = await tenant.call('GET', `${PATH}/${made.id}`)
    expect(shown.body).toEqual({
      ...made,
      webhook_urls: [...made.webhook_urls.slice(0, 3), `${BASE}/telnyx-webhook/{token}`],
    })
    const row = await rowOf(made.id)
    expect(decryptSecret(app.deps.ring, row.api_key ?? '', sealOf(made.id, 'api_key'))).toBe(
      'KEY-planted',
    )
    expect(app.deps.snapshot.findAccountByToken(hash('sha256', tokenOf(own), 'hex'))).toMatchObject(
      { verifyKeys: [{ asymmetricKeyType: 'ed25519' }] },
    )
  })

  it.each([
    ['text', 'not a key'],
    ['a short one', Buffer.alloc(31, 7).toString('base64')],
    [
      'the identity, with which anybody signs',
      Buffer.from([1, ...Array(31).fill(0)]).toString('base64'),
    ],
    ['zeros, which have a small order', Buffer.alloc(32).toString('base64')],
    ['nothing', ''],
  ])('%s is no public key', async (_name, public_key) => {
    const refused = await tenant.call('POST', PATH, { provider: 'telnyx', public_key })
    expectIssues(refused, [['body', 'public_key']])
    const [account] = (await tenant.call('GET', PATH)).body.items
    const path = `${PATH}/${account.id}`
    expect((await tenant.call('PATCH', path, { public_key })).status).toBe(422)
  })

  it('its key and API key can be replaced, the latter taken away', async () => {
    const [account] = (await tenant.call('GET', PATH)).body.items
    const publicKey = newPublicKey()
    const changes = { public_key: publicKey, api_key: null }
    const changed = await tenant.call('PATCH', `${PATH}/${account.id}`, changes)
    expect(changed.body).toEqual({ ...account, public_key: publicKey, has_api_key: false })
    expect((await rowOf(account.id)).api_key).toBeNull()
  })
})

describe('accounts of providers that sign nothing', () => {
  beforeAll(async () => {
    tenant = await app.createTenant()
  })

  it('a PBX gets one URL, with a token that is shown once and stored as a hash', async () => {
    const made = await tenant.create(PATH, { provider: 'pbx' })
    expect(made.webhook_urls).toEqual([
      expect.stringMatching(/^https:\/\/hooks\.example\.com\/webhooks\/pbx\/[a-z2-7]{52}$/),
    ])
    const token = tokenOf(made.webhook_urls[0])
    expect((await rowOf(made.id)).token_sha256).toEqual(hash('sha256', token, 'buffer'))
    expect((await tenant.call('GET', `${PATH}/${made.id}`)).body.webhook_urls).toEqual([
      `${BASE}/webhooks/pbx/{token}`,
    ])
    const { rows } = await app.deps.database.pool.query('select t::text from provider_accounts t')
    expect(JSON.stringify(rows)).not.toContain(token)
  })

  it('user, password and addresses can be asked for, changed and dropped', async () => {
    const made = await tenant.create(PATH, {
      provider: 'kudosity',
      basic: { username: 'hook', password: 'planted:päss' },
      allowed_cidrs: ['203.0.113.0/24', '2001:db8::/32', '198.51.100.7'],
    })
    expect(made).toMatchObject({
      has_basic: true,
      allowed_cidrs: ['203.0.113.0/24', '2001:db8::/32', '198.51.100.7'],
    })
    expect(JSON.stringify(made)).not.toContain('planted')
    const known = () => app.deps.snapshot.accountsOf(tenant.id, 'kudosity')[0]
    expect(known()).toMatchObject({
      basicSha256: hash('sha256', 'hook:planted:päss', 'buffer'),
      allowedCidrs: made.allowed_cidrs,
    })
    const path = `${PATH}/${made.id}`
    const dropped = await tenant.call('PATCH', path, { basic: null, allowed_cidrs: [] })
    expect(dropped.body).toMatchObject({ has_basic: false, allowed_cidrs: [] })
    expect(known()).toMatchObject({ basicSha256: null, allowedCidrs: [] })
  })

  it("Kudosity's V1 URL is there while an API secret is", async () => {
    const made = await tenant.create(PATH, { provider: 'kudosity', api_secret: 'planted-secret' })
    const token = tokenOf(made.webhook_urls[0])
    expect(made.webhook_urls).toEqual([
      `${BASE}/webhooks/kudosity/${token}`,
      `${BASE}/webhooks/kudosity-v1/${token}`,
    ])
    expect(made.has_api_secret).toBe(true)
    const changed = await tenant.call('PATCH', `${PATH}/${made.id}`, { api_secret: null })
    expect(changed.body.webhook_urls).toEqual([`${BASE}/webhooks/kudosity/{token}`])
  })

  it.each([
    '10.0.0.0/33',
    '2001:db8::/129',
    'example.com',
    '10.0.0.0/8/8',
    '10.0.0/8',
    'fe80::1%eth0',
    '',
  ])('%j is no CIDR', async (cidr) => {
    const body = { provider: 'pbx', allowed_cidrs: [cidr] }
    expectIssues(await tenant.call('POST', PATH, body), [['body', 'allowed_cidrs', 0]])
  })

  it.each([
    ['a colon in the user name', { username: 'a:b', password: 'x' }],
    ['a line break', { username: 'a', password: 'x\ny' }],
    ['no password', { username: 'a', password: '' }],
  ])('%s is refused', async (_name, basic) => {
    expect((await tenant.call('POST', PATH, { provider: 'pbx', basic })).status).toBe(422)
  })
})

describe('path tokens', () => {
  it('two live at once: the newest and the one before', async () => {
    tenant = await app.createTenant()
    const made = await tenant.create(PATH, { provider: 'pbx' })
    const rotate = async () => {
      const answer = await tenant.call('POST', `${PATH}/${made.id}/rotate-token`)
      expect(answer.status).toBe(200)
      expect(answer.body).toEqual({ ...made, webhook_urls: [expect.any(String)] })
      return tokenOf(answer.body.webhook_urls[0])
    }
    const first = tokenOf(made.webhook_urls[0])
    const second = await rotate()
    expect([ownerOf(first), ownerOf(second)]).toEqual([made.id, made.id])
    const third = await rotate()
    expect([ownerOf(first), ownerOf(second), ownerOf(third)]).toEqual([undefined, made.id, made.id])
    await tenant.call('DELETE', `${PATH}/${made.id}`)
    expect([ownerOf(second), ownerOf(third)]).toEqual([undefined, undefined])
    const row = await rowOf(made.id)
    expect([row.token_sha256, row.previous_token_sha256]).toEqual([null, null])
  })

  it('Twilio accounts have none to rotate', async () => {
    const body = { provider: 'twilio', account_sid: SID, auth_token: 'x' }
    const { id } = await tenant.create(PATH, body)
    const refused = await tenant.call('POST', `${PATH}/${id}/rotate-token`)
    expect([refused.status, refused.body]).toEqual([
      409,
      { detail: 'This account has no path token' },
    ])
  })
})

describe('fields of another provider', () => {
  it('are refused when an account is made and when it is changed', async () => {
    tenant = await app.createTenant()
    const wrong = [
      { provider: 'pbx', auth_token: 'x' },
      { provider: 'pbx', api_secret: 'x' },
      { provider: 'telnyx', public_key: newPublicKey(), basic: null },
      { provider: 'twilio', account_sid: SID, auth_token: 'x', allowed_cidrs: [] },
    ]
    for (const body of wrong) expect((await tenant.call('POST', PATH, body)).status).toBe(422)
    for (const provider of ['platform', 'none', undefined]) {
      expectIssues(await tenant.call('POST', PATH, { provider }), [['body', 'provider']])
    }
    const { id } = await tenant.create(PATH, { provider: 'pbx' })
    const refused = await tenant.call('PATCH', `${PATH}/${id}`, { auth_token: 'x' })
    expectIssues(refused, [['body', 'auth_token']])
    expect((await rowOf(id)).auth_token).toBeNull()
  })
})

describe('the audit log', () => {
  it('tells of accounts that were made, changed, rotated and deleted, and of no secret', async () => {
    tenant = await app.createTenant()
    const { id, webhook_urls } = await tenant.create(PATH, {
      provider: 'kudosity',
      api_secret: 'planted-secret',
    })
    await tenant.call('PATCH', `${PATH}/${id}`, { api_secret: 'planted-again' })
    await tenant.call('PATCH', `${PATH}/${id}`, { allowed_cidrs: ['10.0.0.0/8'] })
    await tenant.call('PATCH', `${PATH}/${id}`, {})
    await tenant.call('POST', `${PATH}/${id}/rotate-token`)
    await tenant.call('DELETE', `${PATH}/${id}`)
    expect((await rowOf(id)).api_secret).toBeNull()
    const logs = await app.deps.database.db
      .selectFrom('audit_logs')
      .selectAll()
      .where('resource_id', '=', id)
      .orderBy('id')
      .execute()
    expect(logs.map((log) => [log.event_type, log.action, log.details])).toEqual([
      ['provider_account.created', 'create', null],
      ['provider_account.updated', 'update', { replaced: ['api_secret'] }],
      ['provider_account.updated', 'update', null],
      ['provider_account.token_rotated', 'rotate_token', null],
      ['provider_account.deleted', 'delete', null],
    ])
    expect(logs.every((log) => log.api_key_id !== null)).toBe(true)
    expect(JSON.stringify(logs)).not.toContain('planted')
    expect(JSON.stringify(logs)).not.toContain(tokenOf(webhook_urls[0]))
  })
})
