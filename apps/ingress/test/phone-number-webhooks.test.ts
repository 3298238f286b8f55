import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { expectBurki } from './burki-schemas.ts'
import { expectIssues } from './expect-issues.ts'
import {
  GATEWAY,
  OVERRIDES,
  type ProviderRestApp,
  type ProviderTenant,
  startProviderRestApp,
} from './provider-rest-app.ts'

let rest: ProviderRestApp
let tenant: ProviderTenant
let number: string

beforeAll(async () => {
  rest = await startProviderRestApp()
  tenant = await rest.createTenant()
})
afterAll(() => rest.close())
beforeEach(() => {
  rest.twilio.reset()
  rest.telnyx.reset()
  number = rest.nextNumber()
})

const voice_webhook_url = 'https://own.example/voice'
const sms_webhook_url = 'https://own.example/sms'
const BOTH = { voice_webhook_url, sms_webhook_url }

describe('PUT …/webhooks', () => {
  it.each(['/phone-numbers/webhooks', '/api/v1/phone-numbers/webhooks'])(
    'changes both URLs at Twilio, on %s',
    async (path) => {
      await tenant.add(number, 'twilio')
      const answer = await tenant.call('PUT', path, { phone_number: number, ...BOTH })
      expect(answer.status).toBe(200)
      expect(answer.body).toEqual({
        success: true,
        phone_number: number,
        provider: 'twilio',
        updated_webhooks: { voice: voice_webhook_url, sms: sms_webhook_url },
        message: `Successfully updated 2 webhook(s) for ${number} via twilio`,
      })
      expectBurki('UpdateWebhookResponse', answer.body)
      expect(rest.twilio.voiceGoesTo(number)).toBe(voice_webhook_url + OVERRIDES)
      expect(rest.twilio.smsGoesTo(number)).toBe(sms_webhook_url + OVERRIDES)
    },
  )

  it('changes one only, and tells of that one', async () => {
    await tenant.add(number, 'telnyx')
    const answer = await tenant.change({
      ...{ phone_number: number, sms_webhook_url, voice_webhook_url: null, provider: null },
    })
    expect(answer.body).toMatchObject({
      updated_webhooks: { sms: sms_webhook_url },
      message: `Successfully updated 1 webhook(s) for ${number} via telnyx`,
    })
    expect(rest.telnyx.smsGoesTo(number)).toBe(sms_webhook_url)
    expect(rest.telnyx.voiceGoesTo(number)).toBeNull()
  })

  it.each([
    ['twilio', '/webhooks/sms/twilio', 'disabled (demo URL)'],
    ['telnyx', '/webhooks/sms/telnyx', 'disabled (empty URL)'],
  ] as const)('switches messages of %s on and off', async (provider, path, disabled) => {
    await tenant.add(number, provider)
    const on = await tenant.change({ phone_number: number, enable_sms: true, disable_sms: false })
    expect(on.body.updated_webhooks).toEqual({ sms: `enabled (${GATEWAY}${path})` })
    const off = await tenant.change({ phone_number: number, disable_sms: true })
    expect(off.body.updated_webhooks).toEqual({ sms: disabled })
    expectBurki('UpdateWebhookResponse', off.body)
  })

  it.each([
    [{}, 'At least one webhook URL (voice_webhook_url or sms_webhook_url) must be provided'],
    [
      { disable_sms: false },
      'At least one webhook URL (voice_webhook_url or sms_webhook_url) must be provided',
    ],
    [{ disable_sms: true, enable_sms: true }, 'Cannot set both disable_sms and enable_sms to true'],
    [{ ...BOTH, provider: 'vonage' }, "Provider must be 'twilio' or 'telnyx'"],
    [
      { ...BOTH, phone_number: '4155551234' },
      'Phone number must be in E.164 format (e.g., +1234567890)',
    ],
  ])('refuses %j in the words of Burki', async (body, detail) => {
    const answer = await tenant.change({ phone_number: number, ...body })
    expect(answer.status).toBe(400)
    expect(answer.body).toEqual({ detail })
  })

  it.each([
    'http://own.example/sms',
    'https://127.0.0.1/sms',
    'https://localhost/sms',
    'https://10.1.2.3/sms',
    'https://[::1]/sms',
    'https://169.254.169.254/latest',
    'https://router.local/sms',
    'https://user:secret@own.example/',
    'https://own.example/sms#section',
    'ftp://own.example/sms',
    'own.example/sms',
    'https://',
    'https://own.example/a b',
    '',
  ])('refuses the URL "%s" with 400 and asks no provider', async (url) => {
    await tenant.add(number, 'twilio')
    for (const field of ['voice_webhook_url', 'sms_webhook_url']) {
      const answer = await tenant.change({ phone_number: number, [field]: url })
      expect(answer.status).toBe(400)
    }
    expect(rest.twilio.calls).toEqual([])
  })

  it('takes Twilio its own connection overrides, and Telnyx none', async () => {
    const sms = `${sms_webhook_url}#rc=5&rp=all`
    await tenant.add(number, 'twilio')
    const body = { phone_number: number, sms_webhook_url: sms }
    expect((await tenant.change(body)).body.updated_webhooks.sms).toBe(sms)
    expect(rest.twilio.smsGoesTo(number)).toBe(sms)
    const other = rest.nextNumber()
    await tenant.add(other, 'telnyx')
    expect((await tenant.change({ ...body, phone_number: other })).status).toBe(400)
  })

  it('may send to this gateway itself', async () => {
    await tenant.add(number, 'twilio')
    const url = `${GATEWAY}/twilio-sms-webhook`
    const answer = await tenant.change({ phone_number: number, sms_webhook_url: url })
    expect(answer.status).toBe(200)
  })

  it('wants a phone_number, in the shape of FastAPI', async () => {
    const answer = await tenant.change(BOTH)
    expectIssues(answer)
    expectBurki('HTTPValidationError', answer.body)
    expect(answer.body.detail[0]).toMatchObject({ loc: ['body', 'phone_number'], type: 'missing' })
    expectIssues(await tenant.change({ phone_number: number, ...BOTH, surprise: 1 }))
    expectIssues(await tenant.change({ phone_number: number, enable_sms: 'yes' }))
  })

  it("answers another organization's number like one that nobody has", async () => {
    const other = await rest.createTenant()
    await other.add(number, 'twilio')
    const unknown = rest.nextNumber()
    for (const phone_number of [number, unknown]) {
      const answer = await tenant.change({ phone_number, ...BOTH })
      expect(answer.status).toBe(404)
      expect(answer.body).toEqual({ detail: `Phone number ${phone_number} not found in database` })
    }
    expect(rest.twilio.calls).toEqual([])
  })

  it('refuses a provider that the number is not with', async () => {
    await tenant.add(number, 'twilio')
    const answer = await tenant.change({ phone_number: number, ...BOTH, provider: 'telnyx' })
    expect(answer.status).toBe(400)
    expect(answer.body.detail).toContain('is with twilio')
  })

  it('needs a key that may write', async () => {
    const key = await rest.app.createKey(tenant, ['read'])
    const body = { phone_number: number, ...BOTH }
    const path = '/phone-numbers/webhooks'
    expect((await rest.app.send('PUT', path, { key, body })).status).toBe(403)
    const unknown = await rest.app.send('PUT', path, { body })
    expect(unknown.status).toBe(401)
    expect(unknown.headers.get('www-authenticate')).toBe('Bearer')
  })

  it('names the obstacle', async () => {
    rest.twilio.addNumber(number, { trunk_sid: 'TK1' })
    await tenant.create('/api/v1/phone-numbers', { phone_number: number, provider: 'twilio' })
    const answer = await tenant.change({ phone_number: number, ...BOTH })
    expect(answer.status).toBe(409)
    expect(answer.body.detail).toContain('TK1')
    expect(rest.twilio.writes()).toEqual([])
  })

  it('tells which applications it took off the number, also to the audit log', async () => {
    const applications = [rest.twilio.addApplication(), rest.twilio.addApplication()]
    const [voice, sms] = applications.map(({ sid }) => sid)
    const sids = { voice_application_sid: voice ?? null, sms_application_sid: sms ?? null }
    rest.twilio.addNumber(number, sids)
    await tenant.create('/api/v1/phone-numbers', { phone_number: number, provider: 'twilio' })
    const answer = await tenant.change({ phone_number: number, ...BOTH })
    expect(answer.body.message).toBe(
      `Successfully updated 2 webhook(s) for ${number} via twilio; the number was detached from applications ${voice} and ${sms}`,
    )
    const { id, after } = await tenant.latest()
    expect(after.detached_applications).toEqual([voice, sms])
    const { details } = await rest.app.deps.database.db
      .selectFrom('audit_logs')
      .select('details')
      .where('resource_id', '=', id)
      .executeTakeFirstOrThrow()
    expect(details).toMatchObject({ detached_applications: [voice, sms] })
  })

  it('says that there is no account to do it with', async () => {
    const bare = await rest.app.createTenant()
    await bare.create('/api/v1/phone-numbers', { phone_number: number, provider: 'twilio' })
    const body = { phone_number: number, ...BOTH }
    const answer = await bare.call('PUT', '/phone-numbers/webhooks', body)
    expect(answer.status).toBe(409)
    expect(answer.body.detail).toBe('There is no Twilio account with an auth token')
  })

  it('when one of two writes fails both URLs are as before, and the answer is a 500', async () => {
    await tenant.add(number, 'telnyx')
    await tenant.change({ phone_number: number, ...BOTH })
    rest.telnyx.fail({ method: 'PATCH', path: /messaging_profiles/ }, { status: 500 })
    const next = {
      voice_webhook_url: 'https://new.example/v',
      sms_webhook_url: 'https://n.ex.com/',
    }
    const answer = await tenant.change({ phone_number: number, ...next })
    expect(answer.status).toBe(500)
    expect(answer.body).toEqual({ detail: `Failed to update webhooks for ${number} via telnyx` })
    expect(rest.telnyx.voiceGoesTo(number)).toBe(voice_webhook_url)
    expect(rest.telnyx.smsGoesTo(number)).toBe(sms_webhook_url)
    expect(await tenant.latest()).toMatchObject({
      ...{ state: 'failed', error: expect.stringContaining('500') },
    })
  })

  it('a provider that hangs is given up', async () => {
    await tenant.add(number, 'twilio')
    rest.twilio.fail({ path: /IncomingPhoneNumbers/ }, 'hang')
    const answer = await tenant.change({ phone_number: number, ...BOTH })
    expect(answer.status).toBe(500)
  })

  it('two changes of one number at once are made one after the other', async () => {
    await tenant.add(number, 'telnyx')
    const bodies = [1, 2, 3].map((nth) => ({
      ...{ phone_number: number, voice_webhook_url: `https://own.example/v${nth}` },
      sms_webhook_url: `https://own.example/s${nth}`,
    }))
    const answers = await Promise.all(bodies.map((body) => tenant.change(body)))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200])
    const voice = rest.telnyx.voiceGoesTo(number) ?? ''
    expect(rest.telnyx.smsGoesTo(number)).toBe(voice.replace('/v', '/s'))
    // Had they overlapped, each would have made a profile.
    expect(rest.telnyx.profiles.filter(({ name }) => name.endsWith(number))).toHaveLength(1)
  })
})

describe('GET …/{phone_number}/webhooks', () => {
  const read = (phoneNumber: string, query = '') =>
    tenant.call('GET', `/api/v1/phone-numbers/${encodeURIComponent(phoneNumber)}/webhooks${query}`)

  it.each(['twilio', 'telnyx'] as const)('shows what %s holds', async (provider) => {
    await tenant.add(number, provider)
    await tenant.change({ phone_number: number, ...BOTH })
    const answer = await read(number, `?provider=${provider}`)
    expect(answer.status).toBe(200)
    expectBurki('GetWebhookResponse', answer.body)
    expect(answer.body).toMatchObject({ success: true, phone_number: number, provider, ...BOTH })
    const known =
      provider === 'twilio'
        ? ['voice_method', 'sms_method', 'status_callback_url', 'status_callback_method']
        : ['connection_id', 'messaging_profile_id', 'phone_number_id', 'status', 'features']
    expect(Object.keys(answer.body.configuration)).toEqual(expect.arrayContaining(known))
  })

  it('knows only the numbers of the organization', async () => {
    const other = await rest.createTenant()
    await other.add(number, 'twilio')
    const answer = await read(number)
    expect(answer.status).toBe(404)
    expect(answer.body).toEqual({ detail: `Phone number ${number} not found in database` })
    expect((await read('123')).status).toBe(400)
    expect((await read(number, '?provider=other')).status).toBe(400)
  })

  it('says that the provider fails', async () => {
    await tenant.add(number, 'twilio')
    rest.twilio.fail({ times: 9 }, { status: 503 })
    const answer = await read(number)
    expect(answer.status).toBe(500)
    expect(answer.body.detail).toBe(`Failed to get webhooks for ${number} via twilio`)
  })
})
