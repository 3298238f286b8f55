import { createSecretKey } from 'node:crypto'
import { parse } from 'node:querystring'
import fc from 'fast-check'
import {
  getExpectedTwilioSignature,
  validateRequest,
  validateRequestWithBody,
} from 'twilio/lib/webhooks/webhooks.js'
import { describe, expect, test } from 'vitest'
import { startReceiver } from './receiver.ts'
import {
  createTwilioCallback,
  createTwilioSms,
  sendTwilioSms,
  signTwilioFast,
  type TwilioParams,
  twilioCallStatus,
  twilioMessageStatus,
} from './twilio-simulator.ts'

const account = { authToken: '0'.repeat(32), accountSid: `AC${'1'.repeat(32)}` }
const message = { ...account, from: '+17035550630', to: '+14155551234', body: "It's working!!!" }
const url = 'https://hooks.example.com/webhooks/sms/twilio?tenant=a%20b'

describe('a message', () => {
  test('verifies with Twilio’s package from what goes over the wire alone', () => {
    const sms = createTwilioSms({
      ...message,
      body: 'café ☎ & = + %41\r\n"\'()*~!',
      extra: [
        ['Repeated', 'b'],
        ['Repeated', 'a'],
        ['__proto__', 'polluted'],
        ['Empty', ''],
      ],
    })
    const received = { ...parse(sms.body) }
    Object.setPrototypeOf(received, null)
    const signature = String(sms.headersFor(url)['x-twilio-signature'])
    expect(validateRequest(account.authToken, signature, url, parse(sms.body))).toBe(true)
    expect(received).toEqual(sms.params)
    expect(validateRequest('another token', signature, url, parse(sms.body))).toBe(false)
  })

  test('is encoded as Twilio encodes it', () => {
    const { body } = createTwilioSms({ ...message, messageSid: 'SM1' })
    expect(body).toContain('&Body=It%27s+working%21%21%21&')
    expect(body).toContain('&To=%2B14155551234&')
    expect(body).toContain('SmsMessageSid=SM1&')
  })

  test('has a random SID, and MM with its media', () => {
    const sids = [1, 2].map(() => createTwilioSms(message).params.MessageSid)
    expect(sids[0]).toMatch(/^SM[0-9a-f]{32}$/)
    expect(sids[0]).not.toBe(sids[1])
    const { params } = createTwilioSms({ ...message, mediaUrls: ['https://a/1', 'https://a/2'] })
    expect(params).toMatchObject({
      MessageSid: expect.stringMatching(/^MM[0-9a-f]{32}$/),
      NumMedia: '2',
      MediaUrl0: 'https://a/1',
      MediaUrl1: 'https://a/2',
    })
  })

  test('counts segments as Twilio does', () => {
    const segments = (body: string) => createTwilioSms({ ...message, body }).params.NumSegments
    expect(
      ['a'.repeat(160), 'a'.repeat(161), 'é'.repeat(70), '☎'.repeat(71)].map(segments),
    ).toEqual(['1', '2', '1', '2'])
  })

  test('keeps its idempotency token over retries', () => {
    const sms = createTwilioSms(message)
    expect(sms.headersFor(url)).toEqual(sms.headersFor(url))
    const other = createTwilioSms(message).headersFor(url)['i-twilio-idempotency-token']
    expect(other).not.toBe(sms.headersFor(url)['i-twilio-idempotency-token'])
  })

  test('is not signed with the connection overrides behind #', () => {
    const sms = createTwilioSms(message)
    expect(sms.headersFor(`${url}#rc=3&rp=5xx`)).toEqual(sms.headersFor(url))
  })
})

describe('sending', () => {
  test('connects to one URL and signs another', async () => {
    await using receiver = await startReceiver()
    receiver.on('/', { kind: 'answer', status: 403, body: '<Response/>', headers: { 'x-a': 'b' } })
    const answer = await sendTwilioSms({ ...message, url: `${receiver.url}/in`, signedUrl: url })
    expect(answer).toMatchObject({ status: 403, text: '<Response/>', headers: { 'x-a': 'b' } })
    const [seen] = receiver.received
    const signature = String(seen?.headers['x-twilio-signature'])
    const params = parse(String(seen?.body))
    expect(seen?.headers['content-type']).toBe('application/x-www-form-urlencoded; charset=UTF-8')
    expect(validateRequest(account.authToken, signature, url, params)).toBe(true)
    expect(validateRequest(account.authToken, signature, `${receiver.url}/in`, params)).toBe(false)
  })

  test('gives up after its time', async () => {
    await using receiver = await startReceiver()
    receiver.on('/', { kind: 'hang' })
    const sending = sendTwilioSms({ ...message, url: receiver.url, timeoutMs: 50 })
    await expect(sending).rejects.toThrow(/timeout/)
  })

  test('refuses an answer longer than Twilio takes', async () => {
    await using receiver = await startReceiver()
    receiver.on('/', { kind: 'infinite' })
    await expect(sendTwilioSms({ ...message, url: receiver.url })).rejects.toThrow(/exceeds 65536/)
  })
})

test('the fast signer signs as Twilio’s package does, whatever the parameters', () => {
  const text = fc.string({ unit: 'binary' })
  const value = fc.oneof(text, fc.array(text, { maxLength: 5 }))
  const token = fc.string({ minLength: 1 })
  const params: fc.Arbitrary<TwilioParams> = fc.dictionary(text, value)
  fc.assert(
    fc.property(token, fc.webUrl({ withQueryParameters: true }), params, (key, anyUrl, some) => {
      const fast = signTwilioFast(createSecretKey(Buffer.from(key)), anyUrl, some)
      expect(fast).toBe(getExpectedTwilioSignature(key, anyUrl, some))
    }),
    { numRuns: 100 },
  )
})

describe('a callback', () => {
  const publicBaseUrl = 'https://hooks.example.com'
  const { authToken, accountSid } = account
  const fields = twilioMessageStatus({
    ...{ accountSid, messageSid: 'SM1', from: '+14155551234', to: '+17035550630' },
    ...{ status: 'undelivered', errorCode: '30003' },
  })
  const callback = { authToken, publicBaseUrl, path: '/twilio-sms-webhook', fields }

  test('as a form, a query or JSON verifies with Twilio’s package', () => {
    const form = createTwilioCallback(callback)
    const query = createTwilioCallback({ ...callback, as: 'query' })
    const asJson = createTwilioCallback({ ...callback, as: 'json' })
    const signatureOf = (one: typeof form) => String(one.headers['x-twilio-signature'])
    const urlOf = (one: typeof form) => publicBaseUrl + one.target
    expect(
      validateRequest(authToken, signatureOf(form), urlOf(form), parse(String(form.body))),
    ).toBe(true)
    expect(query.method).toBe('GET')
    expect(validateRequest(authToken, signatureOf(query), urlOf(query), {})).toBe(true)
    const body = String(asJson.body)
    const holds = (text: string) =>
      validateRequestWithBody(authToken, signatureOf(asJson), urlOf(asJson), text)
    expect([holds(body), holds(`${body} `)]).toEqual([true, false])
    expect(JSON.parse(body)).toMatchObject({ MessageStatus: 'undelivered', ErrorCode: '30003' })
  })

  test('of a call counts its statuses', () => {
    const call = { accountSid, callSid: 'CA1', from: '+17035550630', to: '+14155551234' }
    const completed = twilioCallStatus({
      ...{ ...call, status: 'completed', sequenceNumber: 3, durationSeconds: 12 },
    })
    expect(Object.fromEntries(completed)).toMatchObject({
      CallStatus: 'completed',
      SequenceNumber: '3',
      CallDuration: '12',
    })
  })
})
