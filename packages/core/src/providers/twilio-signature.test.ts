import { createSecretKey } from 'node:crypto'
import { stringify } from 'node:querystring'
import { getExpectedBodyHash, getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js'
import { describe, expect, it } from 'vitest'
import type { Verification, Webhook } from './provider.ts'
import { twilio } from './twilio.ts'

const FORM = 'application/x-www-form-urlencoded'
const URL_SEEN = 'https://hooks.example.com/twilio-sms-webhook?key=hidden'
const params = { MessageSid: 'SM1', From: '+1', To: '+2', Body: 'secret words' }

function verify(
  signedUrl: string,
  overrides: Partial<Webhook> = {},
  signed: object = params,
): Verification {
  const signature = getExpectedTwilioSignature('token', signedUrl, { ...signed })
  const webhook: Webhook = {
    method: 'POST',
    url: URL_SEEN,
    body: Buffer.from(stringify(params)),
    ...overrides,
    headers: { 'content-type': FORM, ...overrides.headers, 'x-twilio-signature': signature },
  }
  return twilio.open(webhook).verify({ verifyKeys: [createSecretKey(Buffer.from('token'))] }, 0)
}

function detailOf(verification: Verification): string {
  if (verification.ok) throw new Error('it verified')
  expect(verification.reason).toBe('wrong_signature')
  expect(verification.detail).not.toMatch(/hidden|secret words|token=|x=1/)
  return verification.detail
}

describe('a wrong signature says what Twilio has signed instead', () => {
  it('http, where we believe https, and the other way round', () => {
    expect(detailOf(verify(URL_SEEN.replace('https', 'http')))).toBe(
      'The signature matches http://…, not https://…: PUBLIC_BASE_URL must begin like the URL that is set at Twilio, whatever a proxy speaks to this server.',
    )
    const url = URL_SEEN.replace('https', 'http')
    expect(detailOf(verify(URL_SEEN, { url }))).toMatch(
      /^The signature matches https:\/\/…, not http:/,
    )
  })

  it('the host that the request names, where PUBLIC_BASE_URL is another', () => {
    const signed = URL_SEEN.replace('hooks.example.com', 'real.example.net')
    for (const name of ['host', 'x-forwarded-host']) {
      expect(detailOf(verify(signed, { headers: { [name]: 'real.example.net' } }))).toMatch(
        /the host that the request names, not PUBLIC_BASE_URL/,
      )
    }
  })

  it('a port that a proxy hides', () => {
    const signed = URL_SEEN.replace('.com', '.com:8443')
    expect(detailOf(verify(signed))).toMatch(/^The signature matches port 8443/)
  })

  it('a path with or without a slash at its end', () => {
    expect(detailOf(verify(URL_SEEN.replace('?', '/?')))).toMatch(/with a slash at its end/)
    const url = URL_SEEN.replace('?', '/?')
    expect(detailOf(verify(URL_SEEN, { url }))).toMatch(/without a slash at its end/)
  })

  it('no query', () => {
    expect(detailOf(verify(URL_SEEN.replace(/\?.*/, '')))).toMatch(/the URL without its query/)
  })

  it('another path of ours, which is rewritten', () => {
    const signed = URL_SEEN.replace('/twilio-sms-webhook', '/webhooks/sms/twilio')
    expect(detailOf(verify(signed))).toBe(
      'The signature matches the path /webhooks/sms/twilio: something on the way rewrites it to /twilio-sms-webhook.',
    )
  })

  it('the URL alone, without the form that came', () => {
    expect(detailOf(verify(URL_SEEN, {}, {}))).toMatch(/matches the URL without the form/)
  })

  it('nothing that we can think of: then the token or the host', () => {
    const wrong = detailOf(verify('https://elsewhere.example.com/'))
    expect(wrong).toMatch(/check the auth token of the provider account, and that PUBLIC_BASE_URL/)
    const host = 'x" onload="alert(1)'
    expect(detailOf(verify('https://elsewhere.example.com/', { headers: { host } }))).toBe(wrong)
  })
})

describe('a JSON body', () => {
  const body = Buffer.from('{"AccountSid":"AC1","MessageSid":"SM1"}')
  const headers = { 'content-type': 'application/json' }
  const url = `${URL_SEEN}&bodySHA256=${getExpectedBodyHash(body.toString())}`

  it('is vouched for by its hash in the signed URL', () => {
    expect(verify(url, { url, body, headers }, {})).toEqual({ ok: true })
  })

  it('that was written anew is told apart from a wrong signature', () => {
    const rewritten = Buffer.from('{"AccountSid": "AC1", "MessageSid": "SM1"}')
    expect(detailOf(verify(url, { url, body: rewritten, headers }, {}))).toBe(
      'The body is not the one that bodySHA256 in the URL vouches for: something on the way writes the body anew.',
    )
    expect(detailOf(verify(URL_SEEN, { body, headers }, {}))).toBe(
      'The body is no form, and the URL has no bodySHA256 that vouches for it.',
    )
  })

  it('that is no JSON is refused for what it holds, not for its signature', () => {
    const broken = Buffer.from('{"AccountSid":')
    const own = `${URL_SEEN}&bodySHA256=${getExpectedBodyHash(broken.toString())}`
    expect(verify(own, { url: own, body: broken, headers }, {})).toEqual({ ok: true })
    const opened = twilio.open({ method: 'POST', url: own, headers, body: broken })
    expect(() => opened.contents()).toThrow('the body is not JSON')
  })
})

describe('a form of more parameters than anybody sends', () => {
  it('is never parsed, and never believed', () => {
    const body = Buffer.from(`MessageSid=SM1&${'a&'.repeat(1_000)}`)
    const opened = twilio.open({
      method: 'POST',
      url: URL_SEEN,
      headers: { 'content-type': FORM },
      body,
    })
    expect(opened.claimedAccountSid).toBeNull()
    expect(() => opened.contents()).toThrow('more than 1,000 parameters')
    expect(detailOf(verify(URL_SEEN, { body }))).toBe(
      'Twilio sends no form of more than 1,000 parameters.',
    )
  })
})
