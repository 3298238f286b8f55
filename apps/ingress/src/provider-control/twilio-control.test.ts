import { silentLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startTwilioRest, type TwilioRest } from '@switchhook/testing/twilio-rest'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createProviderControl, type NumberRef, type WebhookRequest } from './provider-control.ts'
import { NumberNotAtProvider, ProviderFailure, ProviderObstacle } from './provider-errors.ts'

const ACCOUNT = { accountSid: `AC${'1'.repeat(32)}`, authToken: 'the-token' }
const GATEWAY = 'https://hooks.example.com'
const OVERRIDES = '#rc=3&rp=5xx,ct,rt'
const BOTH = { voiceUrl: 'https://own.example/voice', sms: { url: 'https://own.example/sms' } }

const registry = createRegistry()
const metrics = createMetrics(registry)
let twilio: TwilioRest
let ref: NumberRef
let phoneNumber: string
let nth = 0

const controlOf = (timeoutMs = 20_000) =>
  createProviderControl({
    ...{ twilioApiBaseUrl: twilio.url, publicBaseUrl: GATEWAY, timeoutMs },
    ...{ metrics, log: silentLogger },
  })

async function change(request: WebhookRequest, timeoutMs?: number) {
  const control = controlOf(timeoutMs)
  const plan = await control.plan(ref, request)
  const after = await control.apply(ref, plan, async () => undefined)
  return { ...plan, after }
}

beforeAll(async () => {
  twilio = await startTwilioRest(ACCOUNT)
})
afterAll(() => twilio.stop())
beforeEach(() => {
  twilio.reset()
  nth += 1
  phoneNumber = `+1415555${String(1000 + nth)}`
  const account = { provider: 'twilio', accountId: 'pac_1', ...ACCOUNT } as const
  ref = { organizationId: 'org_a', provider: 'twilio', phoneNumber, accounts: [account] }
})

describe('a plain Twilio number', () => {
  it('gets both URLs, tried three times again, and this gateway for messages to fall back to', async () => {
    const number = twilio.addNumber(phoneNumber)
    const { updated } = await change(BOTH)
    expect(updated).toEqual({ voice: BOTH.voiceUrl, sms: BOTH.sms.url })
    expect(number).toMatchObject({
      voice_url: BOTH.voiceUrl + OVERRIDES,
      voice_method: 'POST',
      voice_fallback_url: '',
      sms_url: BOTH.sms.url + OVERRIDES,
      sms_method: 'POST',
      sms_fallback_url: `${GATEWAY}/webhooks/sms/twilio${OVERRIDES}`,
    })
    const reading = await controlOf().readNumber(ref)
    expect(reading).toMatchObject({ voiceUrl: BOTH.voiceUrl, smsUrl: BOTH.sms.url })
    expect(reading.configuration).toMatchObject({ phone_number_sid: number.sid })
  })

  it('keeps what is not asked for, an own fallback and own overrides', async () => {
    const own = 'https://second.example/sms'
    const number = twilio.addNumber(phoneNumber, {
      sms_fallback_url: own,
      voice_url: 'https://v.x/',
    })
    await change({ sms: { url: 'https://own.example/sms#rc=5' } })
    expect(number).toMatchObject({
      ...{ sms_url: 'https://own.example/sms#rc=5', sms_fallback_url: `${own}${OVERRIDES}` },
      ...{ voice_url: 'https://v.x/', voice_fallback_url: null },
    })
  })

  it('never has its calls fall back to this gateway, which answers no TwiML; an own fallback stays', async () => {
    const own = 'https://second.example/twiml'
    const number = twilio.addNumber(phoneNumber, { voice_fallback_url: own })
    await change({ voiceUrl: BOTH.voiceUrl })
    expect(number.voice_fallback_url).toBe(own + OVERRIDES)
    for (const voiceUrl of [BOTH.voiceUrl, `${GATEWAY}/twilio-voice-webhook`]) {
      number.voice_fallback_url = `${GATEWAY}/twilio-voice-webhook${OVERRIDES}`
      await change({ voiceUrl })
      expect(number.voice_fallback_url).toBe('')
    }
  })

  it('never has its primary for a fallback, also where both are this gateway', async () => {
    const number = twilio.addNumber(phoneNumber)
    await change({ sms: 'enabled' })
    const url = `${GATEWAY}/webhooks/sms/twilio`
    expect(number.sms_url).toBe(url + OVERRIDES)
    expect(number.sms_fallback_url).toBe(`${url}?fallback=1${OVERRIDES}`)
    await change({ sms: { url: 'https://own.example/sms' } })
    expect(number.sms_fallback_url).toBe(url + OVERRIDES)
    number.sms_fallback_url = 'https://second.example/sms'
    await change({ sms: { url: 'https://second.example/sms' } })
    expect(number.sms_fallback_url).toBe(url + OVERRIDES)
  })

  it('answers with the demo when its messages are switched off', async () => {
    const own = { sms_url: 'https://a.example/', sms_fallback_url: 'https://b.example/' }
    const number = twilio.addNumber(phoneNumber, own)
    const { updated } = await change({ sms: 'disabled' })
    expect(updated).toEqual({ sms: 'disabled (demo URL)' })
    expect(twilio.smsGoesTo(phoneNumber)).toBe('https://demo.twilio.com/welcome/sms/reply')
    expect(number.sms_fallback_url).toBe('')
  })

  it('is found in the second account when the first does not have it or cannot be asked', async () => {
    twilio.addNumber(phoneNumber)
    const [account] = ref.accounts
    const wrong = { provider: 'twilio', accountId: 'pac_0', ...ACCOUNT, authToken: 'old' } as const
    ref = { ...ref, accounts: account ? [wrong, account] : [] }
    const plan = await controlOf().plan(ref, BOTH)
    expect(plan.before.provider_account_id).toBe('pac_1')
  })

  it('that no account has is not found', async () => {
    await expect(change(BOTH)).rejects.toThrow(NumberNotAtProvider)
  })
})

describe('what decides before the number', () => {
  it('a service of its own is changed, and the messages really go there', async () => {
    const { sid } = twilio.addNumber(phoneNumber)
    const service = twilio.addService([sid], { inbound_request_url: 'https://old.example/' })
    const plan = await change(BOTH)
    expect(plan.before.sms_webhook_url).toBe('https://old.example/')
    expect(twilio.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url + OVERRIDES)
    expect(service.fallback_url).toBe(`${GATEWAY}/webhooks/sms/twilio${OVERRIDES}`)
  })

  it('a service that others share is not touched; the error names it and them', async () => {
    const { sid } = twilio.addNumber(phoneNumber)
    const other = twilio.addNumber(`${phoneNumber}9`)
    const service = twilio.addService([sid, other.sid], { friendly_name: 'Support' })
    const failed = change({ sms: BOTH.sms })
    await expect(failed).rejects.toThrow(ProviderObstacle)
    await expect(failed).rejects.toThrow(
      new RegExp(`"Support" \\(${service.sid}\\).*\\${other.phone_number}`),
    )
    expect(twilio.writes()).toEqual([])
  })

  it('a shared service that sends there already is no obstacle and stays as it is', async () => {
    const { sid } = twilio.addNumber(phoneNumber)
    const { sid: other } = twilio.addNumber(`${phoneNumber}9`)
    const service = twilio.addService([sid, other])
    for (const held of [BOTH.sms.url, `${BOTH.sms.url}#rc=1`, BOTH.sms.url + OVERRIDES]) {
      service.inbound_request_url = held
      await change({ sms: BOTH.sms })
      expect(service).toMatchObject({ inbound_request_url: held, fallback_url: null })
    }
    const otherwise = change({ sms: { url: `${BOTH.sms.url}#rc=5` } })
    await expect(otherwise).rejects.toThrow(ProviderObstacle)
  })

  it('a shared service that uses the URLs of its numbers is no obstacle', async () => {
    const { sid } = twilio.addNumber(phoneNumber)
    const { sid: other } = twilio.addNumber(`${phoneNumber}9`)
    twilio.addService([sid, other], { use_inbound_webhook_on_number: true })
    await change({ sms: BOTH.sms })
    expect(twilio.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url + OVERRIDES)
  })

  it('a service on a later page of the list is found', async () => {
    for (let filler = 0; filler < 120; filler += 1) twilio.addService([])
    const { sid } = twilio.addNumber(phoneNumber)
    twilio.addService([sid])
    await change({ sms: BOTH.sms })
    expect(twilio.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url + OVERRIDES)
  })

  it('applications are taken off the number and stay as they are for everybody else', async () => {
    const urls = { voice_url: 'https://app.example/v', sms_url: 'https://app.example/s' }
    const application = twilio.addApplication(urls)
    const sids = { voice_application_sid: application.sid, sms_application_sid: application.sid }
    twilio.addNumber(phoneNumber, sids)
    expect(await controlOf().readNumber(ref)).toMatchObject({
      ...{ voiceUrl: urls.voice_url, smsUrl: urls.sms_url },
    })
    const { before, after } = await change(BOTH)
    expect(before).not.toHaveProperty('detached_applications')
    expect(after.detached_applications).toEqual([application.sid])
    expect(twilio.voiceGoesTo(phoneNumber)).toBe(BOTH.voiceUrl + OVERRIDES)
    expect(twilio.smsGoesTo(phoneNumber)).toBe(BOTH.sms.url + OVERRIDES)
    expect(application).toMatchObject(urls)
    expect((await change(BOTH)).after).not.toHaveProperty('detached_applications')
  })

  it('a SIP trunk is an obstacle to the voice URL, not to the one for messages', async () => {
    twilio.addNumber(phoneNumber, { trunk_sid: 'TK77' })
    await expect(change(BOTH)).rejects.toThrow(/trunk TK77/)
    expect(twilio.writes()).toEqual([])
    await change({ sms: BOTH.sms })
  })
})

describe('when Twilio fails', () => {
  const number = /IncomingPhoneNumbers\/PN/
  const service = /Services\/MG/

  it.each([
    ['refuses', { status: 500 }],
    ['is too busy', { status: 429 }],
    ['does it and says otherwise', { status: 500, isDone: true }],
    ['ends the connection', 'cut'],
  ] as const)('and %s, the service that was changed already is put back', async (_, fault) => {
    const before = twilio.addNumber(phoneNumber)
    const held = { ...before }
    twilio.addService([before.sid], { inbound_request_url: 'https://old.example/' })
    twilio.fail({ method: 'POST', path: number }, fault)
    const failed = await change(BOTH).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(ProviderFailure)
    expect(failed).toMatchObject({ isUndone: true })
    expect(twilio.smsGoesTo(phoneNumber)).toBe('https://old.example/')
    expect(before).toMatchObject({ voice_url: held.voice_url, sms_url: held.sms_url })
  })

  it('a request is never tried again, also not after 429', async () => {
    twilio.addNumber(phoneNumber)
    twilio.fail({ method: 'POST', path: number }, { status: 429, headers: { 'retry-after': '0' } })
    await expect(change(BOTH)).rejects.toThrow(/429/)
    // The second is the number being put back.
    expect(twilio.writes()).toHaveLength(2)
  })

  it('what cannot be put back is said', async () => {
    const { sid } = twilio.addNumber(phoneNumber)
    twilio.addService([sid])
    twilio.fail({ method: 'POST', path: number, times: 1 }, { status: 500 })
    twilio.fail({ method: 'POST', path: service, skip: 1, times: 9 }, { status: 500 })
    const failed = await change(BOTH).catch((error: unknown) => error)
    expect(failed).toMatchObject({
      isUndone: false,
      message: expect.stringMatching(/messaging_service MG\w+ was not put back/),
    })
  })

  it.each(['hang', 'drip'] as const)(
    'and its answer does not come to an end (%s), the change ends with its deadline',
    async (fault) => {
      twilio.addNumber(phoneNumber)
      twilio.fail({ method: 'POST', path: number }, fault)
      const startedAtMs = Date.now()
      await expect(change(BOTH, 400)).rejects.toThrow(ProviderFailure)
      expect(Date.now() - startedAtMs).toBeLessThan(10_000)
      expect(twilio.smsGoesTo(phoneNumber)).toBe('https://demo.twilio.com/welcome/sms/reply')
    },
  )

  it.each([{ status: 401 }, 'cut'] as const)('no error tells the token: %j', async (fault) => {
    twilio.addNumber(phoneNumber)
    twilio.fail({ method: 'POST', times: 9 }, fault)
    const failed = await change(BOTH).catch((error: unknown) => error)
    const text = JSON.stringify(failed, Object.getOwnPropertyNames(failed))
    expect(text).not.toContain('the-token')
    const basic = Buffer.from(`${ACCOUNT.accountSid}:the-token`).toString('base64')
    expect(text).not.toContain(basic)
  })
})

describe('listing', () => {
  it('reads every page of the numbers, up to the limit', async () => {
    const account = { provider: 'twilio', accountId: 'pac_1', ...ACCOUNT } as const
    const all = Array.from({ length: 1_100 }, (_, index) => `+1212555${String(index + 1000)}`)
    for (const one of all) twilio.addNumber(one)
    const listed = await controlOf().listNumbers(account, 5_000)
    expect(listed).toEqual(expect.arrayContaining([all[0], all.at(-1)]))
    expect(await controlOf().listNumbers(account, 10)).toHaveLength(10)
  })
})

describe('metrics', () => {
  it('count what became of each change', async () => {
    const text = await registry.getSingleMetricAsString('switchhook_provider_updates_total')
    for (const outcome of ['applied', 'failed', 'not_undone', 'refused']) {
      expect(text).toMatch(new RegExp(`provider="twilio",outcome="${outcome}"} [1-9]`))
    }
  })
})
