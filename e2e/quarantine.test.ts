import { kudosityInbound } from '@switchhook/testing/kudosity-simulator'
import type { ProviderRequest } from '@switchhook/testing/send-webhook'
import { createTelnyxKey, telnyxMessage } from '@switchhook/testing/telnyx-simulator'
import { twilioMessageStatus } from '@switchhook/testing/twilio-simulator'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newMessageSid } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createProviderTenant, type ProviderTenant } from './support/provider-tenant.ts'
import { bare, createWebhooks, PERSON, type ProviderWebhooks } from './support/provider-webhooks.ts'
import { sendAgain } from './support/send-again.ts'

type Quarantined = {
  readonly id: string
  readonly provider: string
  readonly reason: string
  readonly detail: string
  readonly is_authentic: boolean
  readonly state: 'held' | 'released'
  readonly seen_count: number
  readonly event_ids: readonly string[]
}
type ApiEvent = { readonly id: string; readonly provider: string; readonly type: string }
type Setting = {
  readonly number: string
  readonly tenant: ProviderTenant
  readonly webhooks: ProviderWebhooks
  /** Requests that came for the tenant. */
  readonly received: () => number
}

let product: Product
let tenantsMade = 0

beforeAll(async () => {
  product = await startProduct()
})

afterAll(async () => {
  await product?.stop()
})

async function prepare(options = {}): Promise<Setting> {
  tenantsMade += 1
  const tenant = await createProviderTenant(product, options)
  const { path } = await tenant.addDestination(`/quarantine/${tenantsMade}`)
  const received = () => product.receiver.received.filter((one) => one.path === path).length
  const number = `+1${200 + tenantsMade}5550142`
  return { number, tenant, webhooks: createWebhooks(product, tenant), received }
}

const listOf = ({ api }: ProviderTenant) => api.list<Quarantined>('/api/v1/quarantine')
const eventsOf = ({ api }: ProviderTenant) => api.list<ApiEvent>('/api/v1/events')

async function act(tenant: ProviderTenant, id: string, action: 'reverify' | 'release') {
  const path = `/api/v1/quarantine/${id}/${action}`
  const { status, text } = await sendAgain(() => tenant.api.send('POST', path))
  return { status, text }
}

function onlyOne<T>(items: readonly T[]): T {
  const [only] = items
  if (only === undefined || items.length > 1) throw new Error(`${items.length} items`)
  return only
}

/** What is held, once all was written down that came so often: a 403 does not wait for a slow store. */
function waitForHeld(tenant: ProviderTenant, times = 1): Promise<readonly Quarantined[]> {
  const isThere = async () => {
    const held = await listOf(tenant)
    return held.reduce((sum, { seen_count }) => sum + seen_count, 0) >= times && held
  }
  return waitFor(isThere, { timeoutMs: 20_000, everyMs: 50, what: 'what is quarantined' })
}

/** A genuine webhook while we hold the wrong secret, and how that is put right. */
type Fault = {
  readonly provider: string
  readonly reason: string
  readonly send: (setting: Setting) => ProviderRequest
  readonly mend: (setting: Setting) => object
}

const realKey = createTelnyxKey()
const REAL_TOKEN = 'a'.repeat(32)
const REAL_SECRET = 'kudosity-secret-0123456789'

const FAULTS: readonly Fault[] = [
  {
    ...{ provider: 'twilio', reason: 'wrong_signature' },
    send: ({ webhooks, number }) => webhooks.twilioMessage(number, [], { authToken: REAL_TOKEN }),
    mend: () => ({ auth_token: REAL_TOKEN }),
  },
  {
    ...{ provider: 'telnyx', reason: 'wrong_signature' },
    send: ({ webhooks, number }) =>
      webhooks.telnyx(telnyxMessage({ from: PERSON, to: [number] }), { key: realKey }),
    mend: () => ({ public_key: realKey.publicKey }),
  },
  {
    ...{ provider: 'kudosity', reason: 'wrong_signature' },
    send: ({ webhooks, number }) =>
      webhooks.kudosityV1(REAL_SECRET, [
        ['message_id', '331694668'],
        ['mobile', bare(PERSON)],
        ['longcode', bare(number)],
        ['response', 'yes / no'],
        ['response_id', '35566670'],
        ['datetime_entry', '2026-11-21 12:10:00'],
        ['is_optout', 'no'],
      ]),
    mend: () => ({ api_secret: REAL_SECRET }),
  },
]

describe.each(FAULTS)('of $provider', ({ provider, reason, send, mend }) => {
  test('what failed verification is kept, and delivered once our secret is right', async () => {
    const setting = await prepare({ kudosity: { api_secret: 'not-the-secret-at-all' } })
    const { tenant, number, received } = setting
    await tenant.addNumber(number, provider)
    const webhook = send(setting)
    for (let times = 0; times < 2; times += 1) {
      const answer = await tenant.send(webhook)
      expect(answer.status, answer.text).toBe(403)
      expect(JSON.parse(answer.text)).toEqual({ detail: expect.stringMatching(/.{20}/) })
    }
    const held = onlyOne(await waitForHeld(tenant, 2))
    expect(held).toMatchObject({
      ...{ provider, reason, is_authentic: false, state: 'held', seen_count: 2, event_ids: [] },
      detail: expect.stringMatching(/.{20}/),
    })
    // Nothing has changed, so that it does not hold yet.
    const early = await act(tenant, held.id, 'release')
    expect(early.status).toBe(409)
    const still = await act(tenant, held.id, 'reverify')
    expect(JSON.parse(still.text)).toMatchObject({ verified: false, reason })
    expect(await eventsOf(tenant)).toEqual([])

    const account = tenant.accounts[provider as keyof ProviderTenant['accounts']]
    const path = `/api/v1/provider-accounts/${account.id}`
    await tenant.api.call('PATCH', path, mend(setting))
    const reverified = await act(tenant, held.id, 'reverify')
    expect(JSON.parse(reverified.text)).toMatchObject({ verified: true, reason: null })
    expect(await eventsOf(tenant)).toEqual([])
    const released = await act(tenant, held.id, 'release')
    expect(released.status, released.text).toBe(202)
    await tenant.settle()
    const event = onlyOne(await eventsOf(tenant))
    expect(event.provider).toBe(provider)
    expect(received()).toBe(1)
    expect(onlyOne(await listOf(tenant))).toMatchObject({
      ...{ state: 'released', event_ids: [event.id] },
    })
    // Twice is once; and so is the same webhook from its provider afterwards.
    await act(tenant, held.id, 'release')
    expect((await tenant.send(webhook)).status).toBe(200)
    await tenant.settle()
    expect(received()).toBe(1)
  })
})

const FOREIGN: readonly (readonly [string, number, (one: Setting) => ProviderRequest])[] = [
  ['a message of Twilio', 200, ({ webhooks, number }) => webhooks.twilioMessage(number)],
  [
    'a status of Twilio',
    204,
    ({ webhooks, number, tenant: { accountSid } }) => {
      const message = { accountSid, messageSid: newMessageSid(), from: number, to: PERSON }
      return webhooks.twilio(twilioMessageStatus({ ...message, status: 'sent' }))
    },
  ],
  [
    'a message of Telnyx at the URL with the token',
    200,
    ({ webhooks, number, tenant }) => {
      const target = tenant.pathOf(tenant.accounts.telnyx, '/telnyx-webhook/')
      return webhooks.telnyx(telnyxMessage({ from: PERSON, to: [number] }), { target })
    },
  ],
  [
    'a message of Kudosity',
    200,
    ({ webhooks, number }) =>
      webhooks.kudosity(kudosityInbound({ sender: bare(PERSON), recipient: bare(number) })),
  ],
  [
    'a message of a PBX',
    200,
    ({ webhooks, number }) =>
      webhooks.pbx({ from: 'ACME', smsNumber: bare(number), body: 'Hello' }),
  ],
]

test.each(FOREIGN)(
  '%s for a foreign number is answered %i, and delivered once the number is ours',
  async (_name, status, make) => {
    const setting = await prepare()
    const { tenant, number, received } = setting
    const owner = await prepare()
    const answer = await tenant.send(make(setting))
    expect(answer.status, answer.text).toBe(status)
    const held = onlyOne(await waitForHeld(tenant))
    expect(held).toMatchObject({ is_authentic: true, reason: 'unknown_number', state: 'held' })
    expect(await eventsOf(tenant)).toEqual([])

    // Another organization sees and gets nothing of it, even with the number.
    await owner.tenant.addNumber(number, 'twilio')
    expect(await listOf(owner.tenant)).toEqual([])
    for (const action of ['reverify', 'release'] as const) {
      const theirs = await act(owner.tenant, held.id, action)
      const unknown = await act(owner.tenant, `qua_${'a'.repeat(held.id.length - 4)}`, action)
      expect(theirs).toEqual({ ...unknown, status: 404 })
    }
    expect((await act(tenant, held.id, 'release')).status).toBe(409)

    await tenant.addNumber(number, 'twilio')
    const released = await act(tenant, held.id, 'release')
    expect(released.status, released.text).toBe(202)
    await tenant.settle()
    expect(received()).toBe(1)
    expect(owner.received()).toBe(0)
    expect(onlyOne(await eventsOf(tenant)).id).toBe(
      onlyOne((await listOf(tenant))[0]?.event_ids ?? []),
    )
  },
)

test('a webhook with nobody’s key and number is 403, and shown to nobody', async () => {
  const { tenant, webhooks } = await prepare()
  const body = telnyxMessage({ from: PERSON, to: ['+12025550199'] })
  const answer = await tenant.send(webhooks.telnyx(body))
  expect(answer.status).toBe(403)
  expect(await listOf(tenant)).toEqual([])
})

const BASIC = { username: 'gateway', password: 'the-right-password' }
const WRONG_BASIC = { ...BASIC, password: 'a-wrong-password' }

test('neither path tokens nor passwords are kept with what is quarantined, however the URL spells them', async () => {
  const { tenant, number, webhooks } = await prepare({ pbx: { basic: BASIC } })
  await tenant.addNumber(number, 'pbx')
  const wrong = webhooks.pbx({ from: 'ACME', smsNumber: bare(number), body: 'Hi' }, WRONG_BASIC)
  const { target } = wrong
  const token = target.split('/').at(-1) ?? ''
  const percentEncode = (letter: string) => `%${letter.charCodeAt(0).toString(16)}`
  const spellings = [target, target.replace(/.$/, percentEncode), `${target}?copy=${token}`]
  for (const spelling of spellings) {
    expect([403, 404]).toContain((await tenant.send({ ...wrong, target: spelling })).status)
  }
  const held = await waitForHeld(tenant, spellings.length)
  expect(new Set(held.map(({ reason }) => reason))).toEqual(new Set(['wrong_credentials']))
  const { rows } = await product.database.pool.query<{ row: string }>(
    `select quarantine::text || convert_from(body, 'UTF8') as row from quarantine where organization_id = $1`,
    [tenant.organizationId],
  )
  const kept = [...rows.map(({ row }) => row), JSON.stringify(held)].join()
  for (const secret of [token.slice(0, -1), WRONG_BASIC.password, wrong.headers.authorization]) {
    expect(kept).not.toContain(secret)
  }
})

test.each(['pbx', 'kudosity'] as const)(
  'of %s what came without its password is delivered when a person vouches for it',
  async (provider) => {
    const { tenant, number, webhooks, received } = await prepare({
      pbx: { basic: BASIC },
      kudosity: { basic: BASIC, api_secret: REAL_SECRET },
    })
    await tenant.addNumber(number, provider)
    const webhook =
      provider === 'pbx'
        ? webhooks.pbx({ from: 'ACME', smsNumber: bare(number), body: 'Hello' })
        : webhooks.kudosity(kudosityInbound({ sender: bare(PERSON), recipient: bare(number) }))
    expect((await tenant.send(webhook)).status).toBe(403)
    const { id } = onlyOne(await waitForHeld(tenant))
    // The password is not kept, so that nothing can be verified again.
    expect(JSON.parse((await act(tenant, id, 'reverify')).text)).toMatchObject({ verified: false })
    const released = await act(tenant, id, 'release')
    expect(released.status, released.text).toBe(202)
    await tenant.settle()
    expect(received()).toBe(1)
  },
)
