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
  tenant = await rest.createTenant()
  number = rest.nextNumber()
  await tenant.add(number, 'twilio')
})

const post = (id: string, action: string, key: string, body?: unknown) =>
  rest.app.send('POST', `${PATH}/${id}/${action}`, { key, ...(body === undefined ? {} : { body }) })
const changeTo = (url: string) => tenant.change({ phone_number: number, sms_webhook_url: url })
const find = async (id: string) => (await tenant.call('GET', `${PATH}/${id}`)).body
const goesTo = () => rest.twilio.smsGoesTo(number)

async function needApproval(): Promise<void> {
  await tenant.call('PATCH', '/api/v1/organization', { webhook_change_approval: true })
  rest.twilio.reset()
}

/** Two changes, the first of which the tests roll back; and approval from then on. */
async function changeTwice(): Promise<string> {
  await changeTo(OLD)
  await changeTo(NEW)
  const { id } = await tenant.latest()
  await needApproval()
  return id
}

async function deleteNumber(): Promise<void> {
  const { items } = (await tenant.call('GET', '/api/v1/phone-numbers')).body
  const { id } = items.find((item: { phone_number: string }) => item.phone_number === number)
  expect((await tenant.call('DELETE', `/api/v1/phone-numbers/${id}`)).status).toBeLessThan(300)
  rest.twilio.reset()
}

async function auditOf(id: string): Promise<string[]> {
  const rows = await rest.app.deps.database.db
    .selectFrom('audit_logs')
    .select('event_type')
    .where('resource_id', '=', id)
    .orderBy('id')
    .execute()
  return rows.map((row) => row.event_type.replace('webhook_change.', ''))
}

describe('with approval, a rollback', () => {
  it.each([undefined, { force: true }])('waits for another key (%j)', async (body) => {
    const id = await changeTwice()
    const asked = await post(id, 'rollback', tenant.key, body)
    expect(asked.status).toBe(202)
    expect(asked.body).toEqual({
      ...{ success: false, change_id: expect.stringMatching(/^chg_/) },
      message: `The rollback of ${number} waits for approval by another API key`,
    })
    expect([rest.twilio.writes(), goesTo()]).toEqual([[], NEW + OVERRIDES])
    const rollback = asked.body.change_id
    expect(await find(rollback)).toMatchObject({
      ...{ state: 'pending', rollback_of: id, requested: { rollback_of: id, ...body } },
      ...{ before: { sms_webhook_url: NEW }, after: { sms_webhook_url: OLD } },
    })
    expect((await post(rollback, 'approve', tenant.key)).status).toBe(403)
    expect(goesTo()).toBe(NEW + OVERRIDES)

    const approved = await post(rollback, 'approve', tenant.otherKey)
    expect(approved.status).toBe(200)
    expect(approved.body).toMatchObject({ id: rollback, state: 'applied', error: null })
    expect(goesTo()).toBe(OLD + OVERRIDES)
    expect((await find(id)).state).toBe('rolled_back')
    expect(await auditOf(rollback)).toEqual(['requested', 'approved', 'applied'])
    expect(await auditOf(id)).toContain('rolled_back')
  })

  it('that is rejected never happens', async () => {
    const id = await changeTwice()
    const { change_id } = (await post(id, 'rollback', tenant.key)).body
    expect((await post(change_id, 'reject', tenant.otherKey)).body.state).toBe('rejected')
    expect((await find(id)).state).toBe('applied')
    expect(goesTo()).toBe(NEW + OVERRIDES)
  })

  it('is forced only when that was asked for', async () => {
    const id = await changeTwice()
    await post(
      (await changeTo('https://later.example/')).body.change_id,
      'approve',
      tenant.otherKey,
    )
    const plain = (await post(id, 'rollback', tenant.key)).body.change_id
    expect((await post(plain, 'approve', tenant.otherKey)).status).toBe(409)
    expect(await find(plain)).toMatchObject({ state: 'failed', error: expect.any(String) })
    expect(goesTo()).toBe(`https://later.example/${OVERRIDES}`)
    const forced = (await post(id, 'rollback', tenant.key, { force: true })).body.change_id
    expect((await post(forced, 'approve', tenant.otherKey)).status).toBe(200)
    expect(goesTo()).toBe(OLD + OVERRIDES)
  })

  it('happens once, however often it was asked for', async () => {
    const id = await changeTwice()
    const force = { force: true }
    const asked = await Promise.all([1, 2].map(() => post(id, 'rollback', tenant.key, force)))
    const approvals = asked.map(({ body }) => post(body.change_id, 'approve', tenant.otherKey))
    const statuses = (await Promise.all(approvals)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([200, 409])
    expect(rest.twilio.writes()).toHaveLength(1)
    const states = await Promise.all(asked.map(async ({ body }) => await find(body.change_id)))
    expect(states.map(({ state }) => state).sort()).toEqual(['applied', 'failed'])
  })

  it('of what cannot be rolled back is refused at once', async () => {
    const id = await changeTwice()
    const { change_id } = (await changeTo(OLD)).body
    expect((await post(change_id, 'rollback', tenant.key)).status).toBe(409)
    const rollback = (await post(id, 'rollback', tenant.key)).body.change_id
    expect((await post(rollback, 'rollback', tenant.key)).status).toBe(409)
  })
})

describe('a number that the organization has given away since', () => {
  const gone = () => ({ detail: `Phone number ${number} not found in database` })

  it('is not changed by an approval, and the change says why', async () => {
    await changeTo(OLD)
    await needApproval()
    const { change_id } = (await changeTo(NEW)).body
    await deleteNumber()
    const answer = await post(change_id, 'approve', tenant.otherKey)
    expect([answer.status, answer.body]).toEqual([404, gone()])
    expect(await find(change_id)).toMatchObject({ state: 'failed', error: gone().detail })
    expect(rest.twilio.calls).toEqual([])
  })

  it('is not rolled back', async () => {
    await changeTo(OLD)
    const { id } = await tenant.latest()
    await deleteNumber()
    const answer = await post(id, 'rollback', tenant.key, { force: true })
    expect([answer.status, answer.body]).toEqual([404, gone()])
    // Nothing else was written down, either.
    expect(await tenant.latest()).toMatchObject({ id, state: 'applied' })
    expect(rest.twilio.calls).toEqual([])
  })

  it('is not rolled back by an approval', async () => {
    const id = await changeTwice()
    const { change_id } = (await post(id, 'rollback', tenant.key)).body
    await deleteNumber()
    expect((await post(change_id, 'approve', tenant.otherKey)).body).toEqual(gone())
    expect(await find(change_id)).toMatchObject({ state: 'failed', error: gone().detail })
    expect(rest.twilio.calls).toEqual([])
  })

  it('is not touched where it is with another provider by now', async () => {
    await changeTo(OLD)
    const { id } = await tenant.latest()
    await deleteNumber()
    await tenant.create('/api/v1/phone-numbers', { phone_number: number, provider: 'telnyx' })
    const answer = await post(id, 'rollback', tenant.key)
    expect(answer.status).toBe(409)
    expect(answer.body.detail).toContain('is with telnyx by now')
    expect(rest.twilio.calls).toEqual([])
  })
})

it('a change that waits says which application it would take off the number', async () => {
  const application = rest.twilio.addApplication()
  number = rest.nextNumber()
  rest.twilio.addNumber(number, { sms_application_sid: application.sid })
  await tenant.create('/api/v1/phone-numbers', { phone_number: number, provider: 'twilio' })
  await needApproval()
  expect((await changeTo(NEW)).body.message).toBe(
    `The change of ${number} waits for approval by another API key; the number will be detached from application ${application.sid}`,
  )
})
