import { createSecretKey, hash, randomBytes } from 'node:crypto'
import type { AcceptedEvent } from '@switchhook/core/event'
import { silentLogger } from '@switchhook/core/log'
import { pbx } from '@switchhook/core/providers/pbx'
import type { WebhookProvider } from '@switchhook/core/providers/provider'
import { twilio } from '@switchhook/core/providers/twilio'
import {
  type ConfigChanges,
  createSnapshot,
  type PhoneNumber,
  type ProviderAccount,
} from '@switchhook/core/routing/snapshot'
import { type DatabaseHandle, openDatabase } from '@switchhook/core/store/database'
import { migrate } from '@switchhook/core/store/migrate'
import type { QuarantinedWebhook } from '@switchhook/core/store/quarantine'
import { createIsolatedDatabase, type IsolatedDatabase } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import { createTwilioSms } from '@switchhook/testing/twilio-simulator'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type AcceptWebhookDeps, acceptWebhook } from '../src/accept-webhook.ts'
import { createQuarantine } from '../src/quarantine.ts'
import { createQuarantineActions } from '../src/release.ts'
import type { SentWebhook } from '../src/verify-webhook.ts'

const BASE = 'https://hooks.example.com'
const TARGET = '/twilio-sms-webhook?account=7'
const SID = `AC${'0'.repeat(32)}`
const NUMBER = '+14155550100'

let isolated: IsolatedDatabase
let database: DatabaseHandle
beforeAll(async () => {
  // Time passes when a test says so: a machine that stands still must not end the 300 ms of a quarantine.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const options = { url: isolated.url, applicationName: 'test', maxConnections: 4 }
  database = openDatabase({ ...options, queryTimeoutMs: 5_000 }, silentLogger)
  await migrate(database)
  await database.pool.query(
    "insert into organizations (id, name) values ('org_1','A'), ('org_2','B')",
  )
})
beforeEach(() => database.pool.query('truncate quarantine'))
afterAll(async () => {
  vi.useRealTimers()
  await database.close()
  await isolated.drop()
})

const NOTHING: ConfigChanges = {
  ...{ organizations: [], apiKeys: [], assistants: [], destinations: [] },
  ...{ providerAccounts: [], phoneNumbers: [] },
}

function account(organizationId: string, token: string): ProviderAccount {
  return {
    ...{ id: `pac_${organizationId}`, organizationId, provider: 'twilio', accountSid: SID },
    verifyKeys: [createSecretKey(token, 'utf8')],
    ...{
      createdAtMs: 1,
      basicSha256: null,
      allowedCidrs: [],
      tokenHashes: [],
      version: 1,
      isDeleted: false,
    },
  }
}

const number = (organizationId: string): PhoneNumber => ({
  ...{ id: Number(organizationId.at(-1)), organizationId, phoneNumber: NUMBER, assistantId: null },
  ...{ serviceId: null, version: 1, isDeleted: false },
})

function createRig(changes: Partial<ConfigChanges>) {
  const snapshot = createSnapshot()
  const apply = (more: Partial<ConfigChanges>) => snapshot.apply({ ...NOTHING, ...more })
  apply(changes)
  const events: AcceptedEvent[] = []
  const spooled: QuarantinedWebhook[] = []
  const base: Omit<AcceptWebhookDeps, 'quarantine'> = {
    snapshot,
    isReady: () => true,
    nowMs: Date.now,
    async accept(event) {
      events.push(event)
      return { kind: 'accepted', deliveryIds: [`dlv_of_${event.id}`] }
    },
    calls: { findOwner: async () => undefined, findTenants: async () => [] },
    mayFail: () => true,
  }
  const quarantineOver = (pool: DatabaseHandle['pool']) =>
    createQuarantine({
      pool,
      spool: { addQuarantined: async (row) => void spooled.push(row) },
      keepForMs: 60_000,
      log: silentLogger,
    })
  const deps = { ...base, quarantine: quarantineOver(database.pool) }
  const actions = createQuarantineActions({ ...base, database, publicBaseUrl: BASE })
  return { deps, actions, apply, events, spooled, quarantineOver }
}

function signed(token: string): SentWebhook {
  const sms = createTwilioSms({
    ...{ authToken: token, accountSid: SID, from: '+14155550101', to: NUMBER, body: 'Hi' },
  })
  const url = BASE + TARGET
  return {
    ...{ method: 'POST', url, headers: sms.headersFor(url), body: Buffer.from(sms.body) },
    ...{ clientIp: '192.0.2.1', account: undefined, tenantsOfCall: [], checkBasic: true },
  }
}

const take = (deps: AcceptWebhookDeps, webhook: SentWebhook, provider: WebhookProvider = twilio) =>
  acceptWebhook(deps, provider, webhook, TARGET)

async function heldRows() {
  return (await database.pool.query('select * from quarantine order by received_at')).rows
}

describe('a webhook that failed verification', () => {
  it('is kept as it came, and is delivered once the secret is mended and it is released', async () => {
    const { deps, actions, apply, events } = createRig({
      providerAccounts: [account('org_1', 'wrong')],
      phoneNumbers: [number('org_1')],
    })
    const webhook = signed('right')
    await take(deps, webhook)
    await take(deps, webhook)
    const [row, ...others] = await heldRows()
    expect(others).toEqual([])
    expect(row).toMatchObject({
      ...{ organization_id: 'org_1', reason: 'wrong_signature', target: TARGET, seen_count: 2 },
      ...{ is_authentic: false, state: 'held', body: webhook.body },
    })
    expect(await actions.reverify('org_1', row.id)).toMatchObject({ kind: 'failed' })
    expect(await actions.release('org_1', row.id)).toMatchObject({ reason: 'wrong_signature' })
    expect(events).toEqual([])

    apply({ providerAccounts: [account('org_1', 'right')] })
    expect(await actions.reverify('org_1', row.id)).toEqual({ kind: 'verified' })
    expect(events).toEqual([])
    const released = await actions.release('org_1', row.id)
    expect(events).toMatchObject([{ organizationId: 'org_1', receivedAtMs: +row.received_at }])
    expect(released).toEqual({
      kind: 'released',
      eventIds: [events[0]?.id],
      deliveryIds: [`dlv_of_${events[0]?.id}`],
    })
    expect(await heldRows()).toMatchObject([{ state: 'released', event_ids: [events[0]?.id] }])
  })

  it('is nobody’s while two tenants claim the account, and becomes that of the one whose key holds', async () => {
    const { deps, actions, apply } = createRig({
      providerAccounts: [account('org_1', 'wrong'), account('org_2', 'wrong too')],
      phoneNumbers: [number('org_1'), number('org_2')],
    })
    await take(deps, signed('right'))
    const [row] = await heldRows()
    expect(row.organization_id).toBeNull()
    expect(await actions.reverify('org_1', row.id)).toMatchObject({ kind: 'failed' })
    apply({ providerAccounts: [account('org_2', 'right')] })
    expect(await actions.release('org_1', row.id)).toBeUndefined()
    expect(await actions.reverify('org_2', row.id)).toEqual({ kind: 'verified' })
    expect(await heldRows()).toMatchObject([{ organization_id: 'org_2' }])
    expect(await actions.reverify('org_1', row.id)).toBeUndefined()
  })

  it('that claims nothing of a tenant’s does not exist for it', async () => {
    const { deps, actions } = createRig({ phoneNumbers: [number('org_1')] })
    await take(deps, signed('right'))
    const [row] = await heldRows()
    expect(row.reason).toBe('unknown_account')
    expect(await actions.reverify('org_1', row.id)).toBeUndefined()
    expect(await actions.release('org_1', 'qua_unknown')).toBeUndefined()
  })

  it('makes place for newer ones: a thousand are kept of a tenant, 200 of a sender', async () => {
    const { deps } = createRig({ providerAccounts: [account('org_1', 'right')] })
    const fill = (prefix: string, ip: string, count: number) =>
      database.pool.query(
        `insert into quarantine (id, organization_id, provider, claimed_numbers, reason, detail, is_authentic, method,
           target, headers, client_ip, body, received_at, last_seen_at, expires_at)
         select $1 || n, 'org_1', 'twilio', '{}', 'r', 'd', false, 'POST', '/', '{}', $2, '', now(), now(), now()
           from generate_series(1, $3::int) as n`,
        [`qua_${prefix}`, ip, count],
      )
    const count = async (where: string) =>
      Number(
        (await database.pool.query(`select count(*) from quarantine where ${where}`)).rows[0].count,
      )
    await fill('old', '192.0.2.1', 250)
    await take(deps, signed('wrong'))
    expect(await count("client_ip = '192.0.2.1'")).toBe(200)
    expect(await count("reason = 'wrong_signature'")).toBe(1)

    for (let sender = 0; sender < 6; sender += 1)
      await fill(`s${sender}_`, `198.51.100.${sender}`, 190)
    await take(deps, { ...signed('wrong'), clientIp: '203.0.113.9' })
    expect(await count('true')).toBe(1_000)
    expect(await count("client_ip = '203.0.113.9'")).toBe(1)
  })

  it('gives way to an authentic one of the same bytes', async () => {
    const desk: ProviderAccount = {
      ...account('org_1', 'x'),
      ...{ provider: 'pbx', accountSid: null, verifyKeys: [] },
      basicSha256: hash('sha256', 'a:b', 'buffer'),
    }
    const { deps, actions, apply } = createRig({ providerAccounts: [desk] })
    const post = (authorization: string) =>
      acceptWebhook(
        deps,
        pbx,
        {
          ...signed('x'),
          headers: { 'content-type': 'application/x-www-form-urlencoded', authorization },
          body: Buffer.from('sms_number=%2B14155550100&message_id=m2&from=A&body=Hi&timestamp=1'),
          account: desk,
        },
        '/webhooks/pbx/{token}',
      )
    expect((await post('Basic eDp5')).kind).toBe('forged')
    expect((await post(`Basic ${btoa('a:b')}`)).kind).toBe('quarantined')
    expect((await post('Basic eDp5')).kind).toBe('forged')
    const [row] = await heldRows()
    expect(row).toMatchObject({ is_authentic: true, reason: 'unknown_number', seen_count: 3 })
    apply({ phoneNumbers: [number('org_1')] })
    expect(await actions.reverify('org_1', row.id)).toEqual({ kind: 'verified' })
  })

  it('is not kept when it is large, and is answered while Postgres hangs', async () => {
    const { deps, quarantineOver } = createRig({ providerAccounts: [account('org_1', 'right')] })
    const body = Buffer.concat([signed('wrong').body, Buffer.from(`&x=${'y'.repeat(70_000)}`)])
    expect((await take(deps, { ...signed('wrong'), body })).kind).toBe('forged')
    expect(await heldRows()).toEqual([])
    const hanging = { query: () => new Promise(() => undefined) } as never
    const result = take({ ...deps, quarantine: quarantineOver(hanging) }, signed('wrong'))
    await vi.advanceTimersByTimeAsync(999)
    expect(await Promise.race([result, undefined])).toMatchObject({ kind: 'forged' })
  })
})

describe('an authentic webhook for a number that nobody owns', () => {
  const setUp = () => createRig({ providerAccounts: [account('org_1', 'right')] })

  it('can be released once the number is registered', async () => {
    const { deps, actions, apply, events } = setUp()
    expect((await take(deps, signed('right'))).kind).toBe('quarantined')
    const [row] = await heldRows()
    expect(row.is_authentic).toBe(true)
    expect(row.claimed_numbers).toContain(NUMBER)
    expect(await actions.release('org_1', row.id)).toMatchObject({ reason: 'unknown_number' })
    apply({ phoneNumbers: [number('org_1')] })
    expect(await actions.release('org_1', row.id)).toMatchObject({ kind: 'released' })
    expect(events).toHaveLength(1)
  })

  it('is taken by Redis while Postgres is away', async () => {
    const { deps, spooled, quarantineOver } = setUp()
    const gone = { query: () => Promise.reject(new Error('connection refused')) } as never
    const quarantine = quarantineOver(gone)
    expect((await take({ ...deps, quarantine }, signed('right'))).kind).toBe('quarantined')
    expect(spooled).toMatchObject([{ organizationId: 'org_1', isAuthentic: true }])
  })
})

describe('an unsigned webhook with the wrong password', () => {
  it('keeps neither password nor token, cannot be verified again, and can be vouched for', async () => {
    const token = randomBytes(32).toString('hex')
    const desk: ProviderAccount = {
      ...account('org_1', 'x'),
      ...{ provider: 'pbx', accountSid: null, verifyKeys: [], basicSha256: Buffer.alloc(32) },
    }
    const { deps, actions, events } = createRig({
      providerAccounts: [desk],
      phoneNumbers: [number('org_1')],
    })
    const form = { sms_number: NUMBER, message_id: 'm1', from: 'A', body: 'Hi', timestamp: '1' }
    const webhook: SentWebhook = {
      ...signed('x'),
      url: `${BASE}/webhooks/pbx/${token}`,
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        authorization: `Basic ${Buffer.from('desk:hunter2').toString('base64')}`,
      },
      body: Buffer.from(new URLSearchParams(form).toString()),
      account: desk,
    }
    await acceptWebhook(deps, pbx, webhook, '/webhooks/pbx/{token}')
    const [row] = await heldRows()
    expect(JSON.stringify(row)).not.toMatch(new RegExp(`hunter2|authorization|${token}`, 'i'))
    expect(await actions.reverify('org_1', row.id)).toMatchObject({ reason: 'wrong_credentials' })
    expect(await actions.release('org_1', row.id)).toMatchObject({ kind: 'released' })
    expect(events).toMatchObject([{ provider: 'pbx' }])
  })
})
