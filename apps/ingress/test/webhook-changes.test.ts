import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  OVERRIDES,
  type ProviderRestApp,
  type ProviderTenant,
  startProviderRestApp,
} from './provider-rest-app.ts'

const PATH = '/api/v1/webhook-changes'
const OLD = 'https://old.example/sms'
const NEW = 'https://new.example/sms'

let rest: ProviderRestApp
let tenant: ProviderTenant
let number: string

beforeAll(async () => {
  rest = await startProviderRestApp()
})
afterAll(() => rest.close())
beforeEach(async () => {
  rest.twilio.reset()
  rest.telnyx.reset()
  tenant = await rest.createTenant()
  number = rest.nextNumber()
  await tenant.add(number, 'twilio')
})

const post = (id: string, action: string, key: string, body?: unknown) =>
  rest.app.send('POST', `${PATH}/${id}/${action}`, { key, ...(body === undefined ? {} : { body }) })
const changeTo = (url: string) => tenant.change({ phone_number: number, sms_webhook_url: url })

async function auditOf(id: string): Promise<string[]> {
  const rows = await rest.app.deps.database.db
    .selectFrom('audit_logs')
    .selectAll()
    .where('resource_id', '=', id)
    .orderBy('id')
    .execute()
  return rows.map((row) => row.event_type)
}

describe('every change', () => {
  it('is kept with what was there before and after, and audited', async () => {
    await changeTo(OLD)
    await changeTo(NEW)
    const change = await tenant.latest()
    expect(change).toMatchObject({
      ...{ phone_number: number, provider: 'twilio', state: 'applied', error: null },
      ...{ requested: { sms_webhook_url: NEW }, rollback_of: null },
      before: { sms_webhook_url: OLD },
      after: { sms_webhook_url: NEW },
    })
    const shown = await tenant.call('GET', `${PATH}/${change.id}`)
    expect(shown.body).toEqual(change)
    expect(await auditOf(change.id)).toEqual(['webhook_change.applied'])
    const { oldValues, newValues } = await rest.app.deps.database.db
      .selectFrom('audit_logs')
      .select(['old_values as oldValues', 'new_values as newValues'])
      .where('resource_id', '=', change.id)
      .executeTakeFirstOrThrow()
    expect([oldValues, newValues]).toEqual([change.before, change.after])
  })

  it('holds no secret of the account', async () => {
    rest.twilio.fail({ method: 'POST', times: 9 }, { status: 401 })
    await changeTo(NEW)
    const { rows } = await rest.app.deps.database.pool.query(
      'select webhook_changes::text as text from webhook_changes union all select audit_logs::text from audit_logs',
    )
    expect(rows.length).toBeGreaterThan(0)
    expect(JSON.stringify(rows)).not.toMatch(/c0ffeec0ffee|KEY0192CAFE/)
  })

  it('that failed is audited as a failure', async () => {
    rest.twilio.fail({ method: 'POST' }, { status: 500 })
    await changeTo(NEW)
    const { id } = await tenant.latest()
    expect(await auditOf(id)).toEqual(['webhook_change.failed'])
  })

  it('is listed by state and number, page by page', async () => {
    for (const url of [OLD, NEW]) await changeTo(url)
    const other = rest.nextNumber()
    await tenant.add(other, 'telnyx')
    await tenant.change({ phone_number: other, sms_webhook_url: NEW })
    const list = async (query: string) => (await tenant.call('GET', `${PATH}?${query}`)).body
    const first = await list('limit=2')
    expect(first.items).toHaveLength(2)
    expect((await list(`limit=2&cursor=${first.next_cursor}`)).items).toHaveLength(1)
    expect((await list(`phone_number=${encodeURIComponent(number)}`)).items).toHaveLength(2)
    expect((await list('state=applied')).items).toHaveLength(3)
    expect((await list('state=failed')).items).toEqual([])
    expect((await tenant.call('GET', `${PATH}?state=odd`)).status).toBe(422)
  })

  it("is another organization's only like one that nobody has made", async () => {
    await changeTo(NEW)
    const { id } = await tenant.latest()
    const { key } = await rest.createTenant()
    const random = `chg_${'a'.repeat(26)}`
    for (const [one, action] of [
      [id, ''],
      [random, ''],
      ['x', ''],
      ...['approve', 'reject', 'rollback'].flatMap((verb) => [
        [id, `/${verb}`],
        [random, `/${verb}`],
      ]),
    ]) {
      const method = action === '' ? 'GET' : 'POST'
      const answer = await rest.app.send(method, `${PATH}/${one}${action}`, { key })
      expect([answer.status, answer.body]).toEqual([404, { detail: 'Webhook change not found' }])
    }
    expect(rest.twilio.smsGoesTo(number)).toBe(NEW + OVERRIDES)
  })
})

describe('with approval', () => {
  let id: string

  beforeEach(async () => {
    await changeTo(OLD)
    await tenant.call('PATCH', '/api/v1/organization', { webhook_change_approval: true })
    rest.twilio.reset()
    const answer = await changeTo(NEW)
    expect(answer.status).toBe(202)
    expect(answer.body).toEqual({
      ...{ success: false, change_id: expect.stringMatching(/^chg_/), message: expect.any(String) },
    })
    id = answer.body.change_id
  })

  it('nothing is changed, and what would be is shown', async () => {
    expect(rest.twilio.writes()).toEqual([])
    expect(await tenant.latest()).toMatchObject({
      ...{ id, state: 'pending', decided_by: null },
      ...{ before: { sms_webhook_url: OLD }, after: { sms_webhook_url: NEW } },
    })
    expect(await auditOf(id)).toEqual(['webhook_change.requested'])
  })

  it('the key that asked can neither approve nor reject', async () => {
    for (const action of ['approve', 'reject']) {
      expect((await post(id, action, tenant.key)).status).toBe(403)
    }
    expect(rest.twilio.writes()).toEqual([])
  })

  it('another key approves, and it happens once', async () => {
    const answers = await Promise.all([1, 2].map(() => post(id, 'approve', tenant.otherKey)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
    const approved = answers.find(({ status }) => status === 200)
    expect(approved?.body).toMatchObject({ id, state: 'applied', error: null })
    expect(approved?.body.decided_by).not.toBe(approved?.body.requested_by)
    expect(rest.twilio.smsGoesTo(number)).toBe(NEW + OVERRIDES)
    expect(rest.twilio.writes()).toHaveLength(1)
    expect(await auditOf(id)).toEqual([
      ...['webhook_change.requested', 'webhook_change.approved', 'webhook_change.applied'],
    ])
    expect((await post(id, 'reject', tenant.otherKey)).status).toBe(409)
  })

  it('another key rejects, and it never happens', async () => {
    const rejected = await post(id, 'reject', tenant.otherKey)
    expect(rejected.body).toMatchObject({ id, state: 'rejected' })
    expect((await post(id, 'approve', tenant.otherKey)).status).toBe(409)
    expect(rest.twilio.smsGoesTo(number)).toBe(OLD + OVERRIDES)
  })

  it('needs a key that may write', async () => {
    const key = await rest.app.createKey(tenant, ['read'])
    expect((await post(id, 'approve', key)).status).toBe(403)
    expect((await post(id, 'rollback', key)).status).toBe(403)
  })

  it('an approved change that fails says so and is failed', async () => {
    rest.twilio.fail({ method: 'POST' }, { status: 500 })
    const answer = await post(id, 'approve', tenant.otherKey)
    expect(answer.status).toBe(500)
    expect(await tenant.latest()).toMatchObject({ id, state: 'failed' })
    expect(rest.twilio.smsGoesTo(number)).toBe(OLD + OVERRIDES)
  })
})

describe('a rollback', () => {
  let id: string

  beforeEach(async () => {
    await changeTo(OLD)
    await changeTo(NEW)
    id = (await tenant.latest()).id
  })

  it('puts back what was there, and is a change of its own', async () => {
    const answer = await post(id, 'rollback', tenant.key)
    expect(answer.status).toBe(200)
    expect(answer.body).toMatchObject({ id, state: 'rolled_back' })
    expect(rest.twilio.smsGoesTo(number)).toBe(OLD + OVERRIDES)
    const rollback = await tenant.latest()
    expect(rollback).toMatchObject({
      rollback_of: id,
      state: 'applied',
      requested_by: expect.any(String),
    })
    expect(await auditOf(id)).toContain('webhook_change.rolled_back')
    for (const one of [id, rollback.id]) {
      expect((await post(one, 'rollback', tenant.key)).status).toBe(409)
    }
  })

  it('is refused after a later change, unless it is forced', async () => {
    await changeTo('https://later.example/sms')
    const refused = await post(id, 'rollback', tenant.key)
    expect(refused.status).toBe(409)
    expect(refused.body.detail).toContain('{"force": true}')
    expect(rest.twilio.smsGoesTo(number)).toBe(`https://later.example/sms${OVERRIDES}`)
    expect((await post(id, 'rollback', tenant.key, { force: true })).status).toBe(200)
    expect(rest.twilio.smsGoesTo(number)).toBe(OLD + OVERRIDES)
  })

  it('that fails leaves the change applied', async () => {
    rest.twilio.fail({ method: 'POST' }, { status: 500 })
    expect((await post(id, 'rollback', tenant.key)).status).toBe(500)
    expect((await tenant.call('GET', `${PATH}/${id}`)).body.state).toBe('applied')
    expect(rest.twilio.smsGoesTo(number)).toBe(NEW + OVERRIDES)
    expect((await post(id, 'rollback', tenant.key)).status).toBe(200)
  })

  it('of a change that waits for approval is refused', async () => {
    await tenant.call('PATCH', '/api/v1/organization', { webhook_change_approval: true })
    const { change_id } = (await changeTo(OLD)).body
    expect((await post(change_id, 'rollback', tenant.key)).status).toBe(409)
  })
})
