import { setTimeout as sleep } from 'node:timers/promises'
import {
  claimNumber,
  insertWebhookChange,
  updateWebhookChange,
} from '@switchhook/core/store/webhook-changes'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  OVERRIDES,
  type ProviderRestApp,
  type ProviderTenant,
  startProviderRestApp,
} from './provider-rest-app.ts'

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
  tenant = await rest.createTenant()
  number = rest.nextNumber()
  await tenant.add(number, 'twilio')
})

const changeTo = (url: string) => tenant.change({ phone_number: number, sms_webhook_url: url })
const rollBack = (id: string) => tenant.call('POST', `/api/v1/webhook-changes/${id}/rollback`)

describe('a change that was cut off', () => {
  async function cutOff(ageMinutes: number): Promise<string> {
    await changeTo(OLD)
    await changeTo(NEW)
    const { id } = await tenant.latest()
    const { db } = rest.app.deps.database
    await updateWebhookChange(db, { id, state: 'applied' }, { state: 'applying' })
    await db
      .updateTable('webhook_changes')
      .set({ created_at: new Date(Date.now() - ageMinutes * 60_000) })
      .where('id', '=', id)
      .execute()
    return id
  }

  it('can be rolled back, and keeps no later one from being made', async () => {
    const id = await cutOff(5)
    expect((await rollBack(id)).body.state).toBe('rolled_back')
    expect(rest.twilio.smsGoesTo(number)).toBe(OLD + OVERRIDES)
    await cutOff(5)
    expect((await changeTo('https://later.example/')).status).toBe(200)
  })

  it('while it may still go on is waited for, and not rolled back', async () => {
    const id = await cutOff(0)
    expect((await rollBack(id)).status).toBe(409)
    const { db } = rest.app.deps.database
    const waiting = changeTo('https://later.example/')
    const first = await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 500))])
    expect(first).toBeUndefined()
    await updateWebhookChange(db, { id, state: 'applying' }, { state: 'applied' })
    expect((await waiting).status).toBe(200)
  })

  it('says what to do while it is being made', async () => {
    rest.twilio.fail({ method: 'POST' }, 'hang')
    const { db } = rest.app.deps.database
    const change = changeTo(NEW)
    await expect
      .poll(
        async () => {
          const row = await db
            .selectFrom('webhook_changes')
            .selectAll()
            .where('phone_number', '=', number)
            .executeTakeFirst()
          return row?.before === null ? undefined : row
        },
        { timeout: 20_000 },
      )
      .toMatchObject({
        state: 'applying',
        error: expect.stringContaining('a rollback puts back'),
        before: { sms_webhook_url: expect.stringContaining('demo.twilio.com') },
      })
    expect((await change).status).toBe(500)
  })
})

describe('claiming a number', () => {
  const claim = (organizationId: string, phoneNumber: string) =>
    claimNumber(rest.app.deps.database.db, organizationId, phoneNumber, async (tx) => {
      // Without the lock the others would look while this one has nothing to be seen yet.
      await sleep(100)
      return await insertWebhookChange(tx, {
        ...{ organizationId, phoneNumber, provider: 'twilio', requested: {}, requestedBy: 'k' },
        state: 'applying',
      })
    })

  it('lets one change of a number be made at a time, and others beside it', async () => {
    const other = rest.nextNumber()
    const claims = [number, number, number, other].map((one) => claim(tenant.id, one))
    const claimed = (await Promise.all(claims)).filter((one) => one !== undefined)
    expect(claimed.map((one) => one.phoneNumber).sort()).toEqual([number, other].sort())
  })

  it('a change that another has decided meanwhile stays decided', async () => {
    const change = await claim(tenant.id, number)
    const { db } = rest.app.deps.database
    const { id } = change ?? { id: '' }
    const update = { state: 'applied' } as const
    expect(await updateWebhookChange(db, { id, state: 'pending' }, update)).toBeUndefined()
    expect(await tenant.latest()).toMatchObject({ id, state: 'applying' })
  })
})
