import { silentLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startTelnyxRest, type TelnyxRest } from '@switchhook/testing/telnyx-rest'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createProviderControl, type NumberRef, type WebhookRequest } from './provider-control.ts'
import { ProviderFailure, ProviderObstacle, ProviderStateChanged } from './provider-errors.ts'
import type { WebhookState } from './webhook-state.ts'

const GATEWAY = 'https://hooks.example.com'
const BOTH = { voiceUrl: 'https://own.example/voice', sms: { url: 'https://own.example/sms' } }

let telnyx: TelnyxRest
let ref: NumberRef
let phoneNumber: string
let nth = 0

const controlOf = (timeoutMs = 20_000) =>
  createProviderControl({
    ...{ telnyxApiBaseUrl: telnyx.baseUrl, publicBaseUrl: GATEWAY, timeoutMs },
    ...{ metrics: createMetrics(createRegistry()), log: silentLogger },
  })

async function change(request: WebhookRequest) {
  const control = controlOf()
  const plan = await control.plan(ref, request)
  const seen: WebhookState[] = []
  const after = await control.apply(ref, plan, async (state) => {
    seen.push(state)
  })
  return { ...plan, after, seen }
}

const rollBack = (done: { before: WebhookState; after: WebhookState }, isForced = false) =>
  controlOf().rollBack(ref, { ...done, isForced, wasCutOff: false })

beforeAll(async () => {
  telnyx = await startTelnyxRest({ apiKey: 'KEY123' })
})
afterAll(() => telnyx.stop())
beforeEach(() => {
  telnyx.reset()
  nth += 1
  phoneNumber = `+1415555${String(1000 + nth)}`
  const account = { provider: 'telnyx', accountId: 'pac_1', apiKey: 'KEY123' } as const
  ref = { organizationId: 'org_a', provider: 'telnyx', phoneNumber, accounts: [account] }
})

function addOwn() {
  const profile = telnyx.addProfile({ webhook_url: 'https://old.example/sms' })
  const application = telnyx.addApplication({ application_name: 'Mine' })
  const ids = { messaging_profile_id: profile.id, connection_id: application.id }
  const number = telnyx.addNumber(phoneNumber, ids)
  return { profile, application, number }
}

function addShared() {
  const own = addOwn()
  const { messaging_profile_id, connection_id } = own.number
  telnyx.addNumber(`${phoneNumber}9`, { messaging_profile_id, connection_id })
  return own
}

describe('a Telnyx number with a profile and an application of its own', () => {
  it('has both changed in place, under the name that the application has', async () => {
    const { profile, application, number } = addOwn()
    const { updated } = await change(BOTH)
    expect(updated).toEqual({ voice: BOTH.voiceUrl, sms: BOTH.sms.url })
    expect(profile).toMatchObject({
      ...{ webhook_url: BOTH.sms.url, webhook_api_version: '2' },
      webhook_failover_url: `${GATEWAY}/webhooks/sms/telnyx`,
    })
    expect(application).toMatchObject({
      ...{ application_name: 'Mine', webhook_event_url: BOTH.voiceUrl, webhook_api_version: '2' },
      webhook_event_failover_url: `${GATEWAY}/telnyx-webhook`,
    })
    expect(await controlOf().readNumber(ref)).toMatchObject({
      ...{ voiceUrl: BOTH.voiceUrl, smsUrl: BOTH.sms.url },
      configuration: { phone_number_id: number.id, messaging_profile_id: profile.id },
    })
  })

  it('sends messages nowhere once they are switched off, and here when they are on', async () => {
    const { profile } = addOwn()
    const { updated } = await change({ sms: 'disabled' })
    expect(updated).toEqual({ sms: 'disabled (empty URL)' })
    expect(profile).toMatchObject({ webhook_url: '', webhook_failover_url: '' })
    const url = `${GATEWAY}/webhooks/sms/telnyx`
    expect((await change({ sms: 'enabled' })).updated).toEqual({ sms: `enabled (${url})` })
    expect(profile).toMatchObject({
      ...{ webhook_url: url, webhook_failover_url: `${url}?fallback=1` },
    })
  })
})

describe('a Telnyx number that shares', () => {
  it('gets a profile and an application of its own; the shared ones stay', async () => {
    const { profile, application } = addShared()
    const held = [{ ...profile }, { ...application }]
    const { seen, after } = await change(BOTH)
    expect(telnyx.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url)
    expect(telnyx.voiceGoesTo(phoneNumber)).toBe(BOTH.voiceUrl)
    expect([profile, application]).toEqual(held)
    expect(telnyx.smsGoesTo(`${phoneNumber}9`)).toBe('https://old.example/sms')
    const made = telnyx.profiles.find(({ name }) => name === `Switchhook-SMS-${phoneNumber}`)
    expect(made).toMatchObject({ whitelisted_destinations: ['US'], webhook_api_version: '2' })
    expect(telnyx.applications.map((one) => one.application_name)).toContain(
      `Switchhook-${phoneNumber}`,
    )
    // Noted before the number is moved: else nobody would know of it after a crash.
    expect(seen[1]?.resources).toEqual(after.resources)
    expect(JSON.stringify(after)).toContain(made?.id)
  })

  it('goes back to the shared ones when it is rolled back, and its own are removed', async () => {
    const { profile, application, number } = addShared()
    const count = [telnyx.profiles.length, telnyx.applications.length]
    await rollBack(await change(BOTH))
    expect(number).toMatchObject({
      ...{ messaging_profile_id: profile.id, connection_id: application.id },
    })
    expect([telnyx.profiles.length, telnyx.applications.length]).toEqual(count)
  })

  it('is told by the numbers when the profile does not tell who has it', async () => {
    const { profile } = addShared()
    telnyx.fail({ path: /messaging_profiles\/[^/]+\/phone_numbers/, times: 9 }, { status: 404 })
    await change({ sms: BOTH.sms })
    expect(profile.webhook_url).toBe('https://old.example/sms')
    expect(telnyx.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url)
  })

  it('keeps the profile that other numbers have joined since', async () => {
    const { profile, number } = addShared()
    const done = await change({ sms: BOTH.sms })
    const made = number.messaging_profile_id
    telnyx.addNumber(`${phoneNumber}8`, { messaging_profile_id: made })
    await rollBack(done)
    expect(number.messaging_profile_id).toBe(profile.id)
    expect(telnyx.profiles.map(({ id }) => id)).toContain(made)
  })

  it('takes up what was left over instead of making another', async () => {
    addShared()
    const left = telnyx.addProfile({ name: `Switchhook-SMS-${phoneNumber}` })
    const count = telnyx.profiles.length
    await change({ sms: BOTH.sms })
    expect(left.webhook_url).toBe(BOTH.sms.url)
    expect(telnyx.profiles).toHaveLength(count)
  })

  it('is left alone when the shared profile sends there already', async () => {
    addShared()
    await change({ sms: { url: 'https://old.example/sms' } })
    expect(telnyx.writes()).toEqual([])
  })

  it('has nothing left behind when moving it fails', async () => {
    const { number } = addShared()
    const held = { ...number }
    const count = [telnyx.profiles.length, telnyx.applications.length]
    telnyx.fail({ method: 'PATCH', path: /messaging$/ }, { status: 422 })
    await expect(change(BOTH)).rejects.toMatchObject({ isUndone: true })
    expect(number).toEqual(held)
    expect([telnyx.profiles.length, telnyx.applications.length]).toEqual(count)
  })
})

describe('a Telnyx number without either', () => {
  it('gets both', async () => {
    telnyx.addNumber(phoneNumber)
    await change(BOTH)
    expect(telnyx.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url)
    expect(telnyx.voiceGoesTo(phoneNumber)).toBe(BOTH.voiceUrl)
  })

  it('has nothing to be switched off', async () => {
    telnyx.addNumber(phoneNumber)
    await change({ sms: 'disabled' })
    expect(telnyx.writes()).toEqual([])
  })

  it('on a SIP connection is refused with the name of the connection', async () => {
    const trunk = telnyx.addConnection({ connection_name: 'Office PBX' })
    telnyx.addNumber(phoneNumber, { connection_id: trunk.id })
    const failed = change(BOTH)
    await expect(failed).rejects.toThrow(ProviderObstacle)
    await expect(failed).rejects.toThrow(/"Office PBX" \(credential_connection/)
    expect(telnyx.writes()).toEqual([])
  })
})

describe('when Telnyx fails', () => {
  it.each([
    ['refuses', { status: 500 }],
    ['is too busy', { status: 429 }],
    ['does it and says otherwise', { status: 500, isDone: true }],
    ['ends the connection', 'cut'],
  ] as const)('and %s, both URLs are as before', async (_, fault) => {
    const { profile, application } = addOwn()
    const held = [{ ...profile }, { ...application }]
    telnyx.fail({ method: 'PATCH', path: /messaging_profiles/ }, fault)
    const failed = await change(BOTH).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(ProviderFailure)
    expect(failed).toMatchObject({ isUndone: true })
    expect([profile, application]).toEqual(held)
    // Voice, messages, and both put back: no request was tried twice.
    expect(telnyx.writes()).toHaveLength(4)
  })

  it.each(['hang', 'drip'] as const)(
    'and its answer does not come to an end (%s), the plan ends with its deadline',
    async (fault) => {
      addOwn()
      telnyx.fail({ path: /messaging_profiles/ }, fault)
      const startedAtMs = Date.now()
      await expect(controlOf(300).plan(ref, BOTH)).rejects.toThrow(ProviderFailure)
      expect(Date.now() - startedAtMs).toBeLessThan(10_000)
    },
  )

  it('no error tells the key', async () => {
    addOwn()
    telnyx.fail({ method: 'PATCH', times: 9 }, { status: 401 })
    const failed = await change(BOTH).catch((error: unknown) => error)
    expect(JSON.stringify(failed, Object.getOwnPropertyNames(failed))).not.toContain('KEY123')
  })
})

describe('rolling back', () => {
  it('is refused once somebody else has changed what the change left, unless it is forced', async () => {
    const { profile } = addOwn()
    const done = await change({ sms: BOTH.sms })
    profile.webhook_url = 'https://somebody.example/'
    await expect(rollBack(done)).rejects.toThrow(ProviderStateChanged)
    expect(profile.webhook_url).toBe('https://somebody.example/')
    await rollBack(done, true)
    expect(profile.webhook_url).toBe('https://old.example/sms')
  })

  it('of a change that was cut off half way takes what it did not write for what it is', async () => {
    const { profile, application } = addOwn()
    const plan = await controlOf().plan(ref, BOTH)
    application.webhook_event_url = BOTH.voiceUrl
    application.webhook_event_failover_url = `${GATEWAY}/telnyx-webhook`
    application.webhook_api_version = '2'
    const { before, after } = plan
    const cutOff = { before, after, isForced: false }
    await expect(controlOf().rollBack(ref, { ...cutOff, wasCutOff: false })).rejects.toThrow()
    await controlOf().rollBack(ref, { ...cutOff, wasCutOff: true })
    expect(application.webhook_event_url).toBe('https://example.com/calls')
    expect(profile.webhook_url).toBe('https://old.example/sms')
  })

  it('that fails half way leaves the change in place', async () => {
    const { profile, application } = addOwn()
    const done = await change(BOTH)
    telnyx.fail({ method: 'PATCH', path: /call_control/ }, { status: 500 })
    await expect(rollBack(done)).rejects.toMatchObject({ isUndone: true })
    expect(profile.webhook_url).toBe(BOTH.sms.url)
    expect(application.webhook_event_url).toBe(BOTH.voiceUrl)
  })
})
