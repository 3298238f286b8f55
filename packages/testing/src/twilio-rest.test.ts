import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startTwilioRest, type TwilioRest } from './twilio-rest.ts'

const ACCOUNT = { accountSid: `AC${'2'.repeat(32)}`, authToken: 'a-token' }
const NUMBERS = `/2010-04-01/Accounts/${ACCOUNT.accountSid}/IncomingPhoneNumbers`

let twilio: TwilioRest

beforeAll(async () => {
  twilio = await startTwilioRest(ACCOUNT)
})
afterAll(() => twilio.stop())

async function send(method: string, path: string, form?: Record<string, string>, token?: string) {
  const credentials = `${ACCOUNT.accountSid}:${token ?? ACCOUNT.authToken}`
  const response = await fetch(twilio.url + path, {
    method,
    headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` },
    ...(form === undefined ? {} : { body: new URLSearchParams(form) }),
    signal: AbortSignal.timeout(5_000),
  })
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came
  const body: any = await response.json()
  return { status: response.status, body }
}

describe("the stand-in for Twilio's REST API", () => {
  it('finds a number by its E.164 text and changes what the form names', async () => {
    const { sid } = twilio.addNumber('+14155550001')
    const found = await send('GET', `${NUMBERS}.json?PhoneNumber=%2B14155550001`)
    expect(found.body.incoming_phone_numbers).toEqual([
      expect.objectContaining({
        sid,
        phone_number: '+14155550001',
        account_sid: ACCOUNT.accountSid,
      }),
    ])
    const form = { SmsUrl: 'https://a.example/', SmsApplicationSid: '' }
    const changed = await send('POST', `${NUMBERS}/${sid}.json`, form)
    expect(changed.body).toMatchObject({ sms_url: form.SmsUrl, sms_application_sid: null })
    expect(twilio.writes()).toEqual([`POST ${NUMBERS}/${sid}.json`])
  })

  it('shows lists page by page, each API with the link of its generation', async () => {
    for (const number of ['+14155550002', '+14155550003']) twilio.addNumber(number)
    const page = await send('GET', `${NUMBERS}.json?PageSize=1`)
    expect(page.body).toMatchObject({ page: 0, page_size: 1 })
    const next = await send('GET', page.body.next_page_uri)
    expect(next.body.incoming_phone_numbers[0].sid).not.toBe(
      page.body.incoming_phone_numbers[0].sid,
    )
    for (let nth = 0; nth < 2; nth += 1) twilio.addService([])
    const services = await send('GET', '/v1/Services?PageSize=1')
    expect(services.body.meta).toMatchObject({
      key: 'services',
      next_page_url: expect.stringMatching(/^https:\/\/messaging\.twilio\.com\/v1\/Services\?/),
    })
  })

  it('answers errors as Twilio does', async () => {
    const unknown = await send('GET', `${NUMBERS}/PN0.json`)
    expect(unknown).toMatchObject({ status: 404, body: { code: 20404, status: 404 } })
    expect(Object.keys(unknown.body)).toEqual(['code', 'message', 'more_info', 'status'])
    const denied = await send('GET', `${NUMBERS}.json`, undefined, 'wrong')
    expect(denied).toMatchObject({ status: 401, body: { code: 20003 } })
    twilio.fail({ method: 'GET', skip: 1 }, { status: 429 })
    expect((await send('GET', `${NUMBERS}.json`)).status).toBe(200)
    expect(await send('GET', `${NUMBERS}.json`)).toMatchObject({
      status: 429,
      body: { code: 20429 },
    })
    expect((await send('GET', `${NUMBERS}.json`)).status).toBe(200)
  })

  it('lets a service decide before an application, and that before the number', async () => {
    const application = twilio.addApplication({ sms_url: 'https://app.example/' })
    const { sid } = twilio.addNumber('+14155550009', { sms_url: 'https://number.example/' })
    expect(twilio.smsGoesTo('+14155550009')).toBe('https://number.example/')
    await send('POST', `${NUMBERS}/${sid}.json`, { SmsApplicationSid: application.sid })
    expect(twilio.smsGoesTo('+14155550009')).toBe('https://app.example/')
    const service = twilio.addService([sid], { inbound_request_url: 'https://service.example/' })
    expect(twilio.smsGoesTo('+14155550009')).toBe('https://service.example/')
    const form = { UseInboundWebhookOnNumber: 'true' }
    await send('POST', `/v1/Services/${service.sid}`, form)
    expect(twilio.smsGoesTo('+14155550009')).toBe('https://app.example/')
    const members = await send('GET', `/v1/Services/${service.sid}/PhoneNumbers`)
    expect(members.body.phone_numbers[0]).toMatchObject({ sid, service_sid: service.sid })
  })
})
