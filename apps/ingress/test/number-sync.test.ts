import { silentLogger } from '@switchhook/core/log'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { expectBurki } from './burki-schemas.ts'
import {
  type ProviderRestApp,
  type ProviderTenant,
  startProviderRestApp,
} from './provider-rest-app.ts'

const PATH = '/api/v1/assistants/organization/phone-numbers'

let rest: ProviderRestApp
let tenant: ProviderTenant

beforeAll(async () => {
  rest = await startProviderRestApp({ timeoutMs: 10_000 })
  tenant = await rest.createTenant()
})
afterAll(() => rest.close())

const sync = (owner = tenant) => owner.call('POST', `${PATH}/sync`)
const list = async (query = '') => (await tenant.call('GET', PATH + query)).body
const numbersOf = (items: { phone_number: string }[]) => items.map((item) => item.phone_number)

describe('syncing', () => {
  it('imports the numbers of all accounts, page by page, and each once', async () => {
    for (let nth = 0; nth < 1_020; nth += 1) rest.twilio.addNumber(rest.nextNumber())
    for (let nth = 0; nth < 270; nth += 1) rest.telnyx.addNumber(rest.nextNumber())
    const first = await sync()
    expect(first.status).toBe(200)
    expectBurki('SyncPhoneNumbersResponse', first.body)
    expect(first.body).toMatchObject({ success: true, synced_count: 1_290 })
    expect((await sync()).body).toMatchObject({ success: true, synced_count: 0 })
    expect(await list()).toHaveLength(1_290)
  })

  it('leaves the numbers that are there as they are', async () => {
    const number = rest.nextNumber()
    const { id } = await tenant.create('/api/v1/assistants', { name: 'Ava' })
    const body = { phone_number: number, provider: 'pbx', assistant_id: id, service_id: 'S1' }
    const before = await tenant.create('/api/v1/phone-numbers', body)
    rest.twilio.addNumber(number)
    expect((await sync()).body.synced_count).toBe(0)
    const after = await tenant.call('GET', `/api/v1/phone-numbers/${before.id}`)
    expect(after.body).toEqual(before)
  })

  it('takes no number away from another organization, and deletes none that is gone', async () => {
    const other = await rest.createTenant()
    const number = rest.nextNumber()
    await other.create('/api/v1/phone-numbers', { phone_number: number, provider: 'twilio' })
    const own = rest.nextNumber()
    await tenant.create('/api/v1/phone-numbers', { phone_number: own, provider: 'twilio' })
    await sync()
    expect(numbersOf(await list())).toContain(own)
    expect(numbersOf(await list())).not.toContain(number)
    const theirs = await other.call('GET', '/api/v1/phone-numbers')
    expect(numbersOf(theirs.body.items)).toEqual([number])
  })

  it('imports what can be read when one account fails, and says so', async () => {
    const number = rest.nextNumber()
    rest.telnyx.addNumber(number)
    rest.twilio.fail({ path: /IncomingPhoneNumbers/ }, { status: 401 })
    const answer = await sync()
    expect(answer.body).toMatchObject({
      ...{ success: false, synced_count: 1, message: expect.stringContaining('1 account(s)') },
    })
    expect(numbersOf(await list())).toContain(number)
    rest.twilio.fail({ path: /IncomingPhoneNumbers/ }, { status: 401 })
    rest.telnyx.fail({ path: /phone_numbers/ }, { status: 500 })
    expect((await sync()).status).toBe(500)
    rest.twilio.reset()
    rest.telnyx.reset()
  })

  it('logs no number when an account fails, also when the provider quotes one', async () => {
    const number = rest.nextNumber()
    rest.twilio.addNumber(number)
    rest.twilio.fail({ path: /IncomingPhoneNumbers/ }, { status: 400 })
    const warn = vi.spyOn(silentLogger, 'warn')
    await sync()
    const calls = warn.mock.calls.filter(([, message]) => message === 'number_sync.failed')
    warn.mockRestore()
    expect(calls).toMatchObject([
      [{ organization_id: tenant.id, code: 'status_400_21211' }, 'number_sync.failed'],
    ])
    expect(JSON.stringify(calls)).not.toContain(number.slice(1))
  })

  it('of an organization without an account imports nothing', async () => {
    const bare = await rest.app.createTenant()
    const answer = await bare.call('POST', `${PATH}/sync`)
    expect(answer.body).toMatchObject({ success: true, synced_count: 0 })
  })

  it('makes a number that routes at once', async () => {
    const number = rest.nextNumber()
    rest.twilio.addNumber(number)
    await sync()
    expect(rest.app.deps.snapshot.findPhoneNumber(tenant.id, number)).toBeDefined()
  })
})

describe('the list', () => {
  it('has the shape of Burki, with the assistant', async () => {
    const number = rest.nextNumber()
    const { id } = await tenant.create('/api/v1/assistants', { name: 'Bea' })
    const body = { phone_number: number, provider: 'telnyx', assistant_id: id }
    await tenant.create('/api/v1/phone-numbers', body)
    const [newest] = await list()
    expectBurki('OrganizationPhoneNumberResponse', newest)
    expect(newest).toMatchObject({
      ...{ phone_number: number, provider: 'telnyx', is_active: true },
      assistant: { id, name: 'Bea', is_active: true },
    })
    expect(numbersOf(await list('?include_assigned=false'))).not.toContain(number)
    expect(numbersOf(await list('?include_unassigned=false'))).toContain(number)
    expect(await list('?include_assigned=false&include_unassigned=false')).toEqual([])
    expect((await tenant.call('GET', `${PATH}?include_assigned=maybe`)).status).toBe(422)
  })
})
