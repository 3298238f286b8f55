import { insertQuarantined, type QuarantinedWebhook } from '@switchhook/core/store/quarantine'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { QuarantineResult } from '../src/api/api-deps.ts'
import { type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

const PATH = '/api/v1/quarantine'
const SID = `AC${'0'.repeat(32)}`
const NUMBER = '+61400000001'
const HIDDEN = {
  target: null,
  headers: null,
  client_ip: null,
  body_preview: null,
  body_bytes: null,
}

let app: ApiTestApp
let tenant: Tenant
let other: Tenant
let result: QuarantineResult | undefined
const asked: unknown[] = []
let rows = 0

const answer = async (...arguments_: unknown[]) => {
  asked.push(arguments_)
  return result
}

beforeAll(async () => {
  app = await startApiTestApp({ quarantine: { reverify: answer, release: answer } })
  tenant = await app.createTenant()
  other = await app.createTenant()
  await tenant.create('/api/v1/phone-numbers', { phone_number: NUMBER, provider: 'twilio' })
  await tenant.create('/api/v1/provider-accounts', {
    ...{ provider: 'twilio', account_sid: SID, auth_token: 'x' },
  })
})
afterAll(() => app.close())

async function hold(facts: Partial<QuarantinedWebhook> = {}): Promise<string> {
  rows += 1
  const id = `qua_${String(rows).padStart(26, '0')}`
  const receivedAtMs = Date.now() + rows
  await insertQuarantined(app.deps.database.pool, {
    ...{ id, organizationId: tenant.id, provider: 'twilio', providerAccountId: null },
    ...{ claimedAccountSid: null, claimedNumbers: [], reason: 'wrong_signature', detail: 'Why.' },
    ...{ isAuthentic: false, method: 'POST', target: '/twilio-sms-webhook?a=b' },
    ...{ headers: { 'x-twilio-signature': 'abc=' }, clientIp: '203.0.113.7' },
    ...{ body: Buffer.from('Body=planted+body'), receivedAtMs },
    expiresAtMs: receivedAtMs + 60_000,
    ...facts,
  })
  return id
}

const show = async (asker: Tenant, id: string) => await asker.call('GET', `${PATH}/${id}`)

describe('quarantined webhooks', () => {
  it('are shown whole to the organization they are for, and to no other', async () => {
    const claimed = { claimedAccountSid: SID, claimedNumbers: ['+61499999999', NUMBER] }
    const id = await hold(claimed)
    const shown = await show(tenant, id)
    expect(shown.status).toBe(200)
    expect(shown.body).toEqual({
      ...{ id, provider: 'twilio', provider_account_id: null, claimed_account_sid: SID },
      ...{ claimed_numbers: claimed.claimedNumbers, reason: 'wrong_signature', detail: 'Why.' },
      ...{ is_authentic: false, method: 'POST', state: 'held', seen_count: 1 },
      received_at: expect.any(String),
      last_seen_at: shown.body.received_at,
      expires_at: expect.any(String),
      ...{ released_at: null, event_ids: [], target: '/twilio-sms-webhook?a=b' },
      headers: { 'x-twilio-signature': 'abc=' },
      ...{ client_ip: '203.0.113.7', body_preview: 'Body=planted+body', body_bytes: 17 },
    })
    expect((await show(other, id)).status).toBe(404)
    expect((await other.call('GET', PATH)).body.items).toEqual([])
  })

  it.each([
    ['an account', { claimedAccountSid: SID }],
    ['a number', { claimedNumbers: ['+61499999999', NUMBER] }],
  ])(
    'that are nobody\u2019s and name %s of mine show nothing of what they hold',
    async (_, facts) => {
      const id = await hold({ ...facts, organizationId: null, reason: 'unknown_account' })
      const shown = await show(tenant, id)
      expect(shown.body).toMatchObject({ id, reason: 'unknown_account', ...HIDDEN })
      expect(shown.text).not.toMatch(/planted|abc=|twilio-sms|203\.0/)
      // The other side's number is somebody's, and nothing proves that this is about us.
      expect(shown.text).not.toContain('+61499999999')
      expect((await show(other, id)).status).toBe(404)
      expect((await other.call('GET', PATH)).body.items).toEqual([])
    },
  )

  it('that are nobody\u2019s and name nothing of mine are not there', async () => {
    const id = await hold({ organizationId: null, claimedNumbers: ['+61499999999'] })
    const accountOfOther = `AC${'1'.repeat(32)}`
    const second = await hold({ organizationId: null, claimedAccountSid: accountOfOther })
    for (const one of [id, second]) expect((await show(tenant, one)).status).toBe(404)
  })

  it('that have expired are not there', async () => {
    const id = await hold({ expiresAtMs: Date.now() - 1 })
    expect((await show(tenant, id)).status).toBe(404)
  })

  it('are listed in pages, newest first, by provider, reason and state', async () => {
    tenant = await app.createTenant()
    const made = [await hold(), await hold({ provider: 'telnyx', reason: 'stale_timestamp' })]
    made.push(await hold())
    const ids = async (query: string) => {
      const page = await tenant.call('GET', `${PATH}?${query}`)
      return page.body.items.map(({ id }: { id: string }) => id)
    }
    const first = await tenant.call('GET', `${PATH}?limit=2`)
    const rest = await tenant.call('GET', `${PATH}?limit=2&cursor=${first.body.next_cursor}`)
    const all = [...first.body.items, ...rest.body.items].map(({ id }: { id: string }) => id)
    expect(all).toEqual(made.toReversed())
    expect(await ids('provider=telnyx')).toEqual([made[1]])
    expect(await ids('reason=stale_timestamp')).toEqual([made[1]])
    expect(await ids('state=released')).toEqual([])
    expect(await ids('state=held&provider=twilio')).toEqual([made[2], made[0]])
    expect((await tenant.call('GET', `${PATH}?state=lost`)).status).toBe(422)
  })

  it('preview at most 2 KiB of clean text', async () => {
    const body = Buffer.from(`a\0b\u001b[31m\u202e\n${'é'.repeat(2000)}`)
    const shown = await show(tenant, await hold({ body }))
    expect(shown.body.body_bytes).toBe(body.length)
    expect(shown.body.body_preview).toMatch(/^a\ufffdb\ufffd\[31m\ufffd\né+$/)
    expect(Buffer.byteLength(shown.body.body_preview)).toBeLessThanOrEqual(2_060)
    const bytes = await show(tenant, await hold({ body: Buffer.from([0xff, 0xfe]) }))
    expect(bytes.body.body_preview).toBe('\ufffd\ufffd')
  })
})

describe('what was quarantined, looked at again', () => {
  it.each([
    [{ kind: 'verified' }, { verified: true, reason: null, detail: null }],
    [
      { kind: 'failed', reason: 'wrong_signature', detail: 'Still.' },
      { verified: false, reason: 'wrong_signature', detail: 'Still.' },
    ],
  ] as const)('%j is told', async (found, body) => {
    result = found
    const id = await hold()
    const told = await tenant.call('POST', `${PATH}/${id}/reverify`)
    expect([told.status, told.body]).toEqual([200, { id, ...body }])
    expect(asked.at(-1)).toEqual([tenant.id, id])
  })

  it('is released with its events and deliveries, and that is written down', async () => {
    result = { kind: 'released', eventIds: ['evt_a'], deliveryIds: ['dlv_a', 'dlv_b'] }
    const id = await hold()
    const told = await tenant.call('POST', `${PATH}/${id}/release`)
    expect([told.status, told.body]).toEqual([
      202,
      { event_ids: ['evt_a'], deliveries: ['dlv_a', 'dlv_b'] },
    ])
    const log = await app.deps.database.db
      .selectFrom('audit_logs')
      .selectAll()
      .where('resource_id', '=', id)
      .executeTakeFirstOrThrow()
    expect(log).toMatchObject({
      ...{ event_type: 'quarantine.released', action: 'release', organization_id: tenant.id },
      details: { event_ids: ['evt_a'] },
    })
  })

  it('is a conflict that says why when it does not hold, and 503 when nobody can tell', async () => {
    const id = await hold()
    result = { kind: 'failed', reason: 'unknown_number', detail: 'Nobody owns the number.' }
    const refused = await tenant.call('POST', `${PATH}/${id}/release`)
    expect([refused.status, refused.body]).toEqual([409, { detail: 'Nobody owns the number.' }])
    result = { kind: 'unavailable' }
    for (const action of ['reverify', 'release']) {
      const away = await tenant.call('POST', `${PATH}/${id}/${action}`)
      expect([away.status, away.headers.get('retry-after')]).toEqual([503, '1'])
    }
  })

  it('is asked about only by those who may see it', async () => {
    result = { kind: 'verified' }
    const id = await hold()
    const before = asked.length
    for (const action of ['reverify', 'release']) {
      expect((await other.call('POST', `${PATH}/${id}/${action}`)).status).toBe(404)
    }
    expect(asked).toHaveLength(before)
  })
})
