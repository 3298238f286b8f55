import { createHmac, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { getExpectedBodyHash, getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js'
import { type ProviderAnswer, type ProviderRequest, sendWebhook } from './send-webhook.ts'

/** Decoded form parameters; a repeated one has all its values. */
export type TwilioParams = Record<string, string | string[]>

export type TwilioSmsOptions = {
  authToken: string
  accountSid: string
  /** E.164 */
  from: string
  /** E.164 */
  to: string
  body: string
  /** A random one unless given. */
  messageSid?: string
  mediaUrls?: readonly string[]
  /** Further parameters, after the others; a name that is there already is repeated. */
  extra?: readonly (readonly [name: string, value: string])[]
  /** The same on retries of one webhook; a random one unless given. Not signed. */
  idempotencyToken?: string
}

export type TwilioSms = {
  params: TwilioParams
  /** The form exactly as it goes over the wire. */
  body: string
  /** The headers of a POST that Twilio signed for this URL. */
  headersFor(url: string): Record<string, string>
}

/**
 * Builds an inbound message webhook as Twilio sends it. Signed by Twilio's own package.
 * Source: www.twilio.com/docs/messaging/guides/webhook-request.
 */
export function createTwilioSms(options: TwilioSmsOptions): TwilioSms {
  const { authToken, accountSid, from, to, body: text, mediaUrls = [], extra = [] } = options
  const sidPrefix = mediaUrls.length > 0 ? 'MM' : 'SM'
  const { messageSid = sidPrefix + randomBytes(16).toString('hex') } = options
  const { idempotencyToken = randomUUID() } = options
  const entries: [string, string][] = [
    ['ToCountry', 'US'],
    ['ToState', 'CA'],
    ['SmsMessageSid', messageSid],
    ['NumMedia', String(mediaUrls.length)],
    ['ToCity', ''],
    ['FromZip', '22036'],
    ['SmsSid', messageSid],
    ['FromState', 'VA'],
    ['SmsStatus', 'received'],
    ['FromCity', 'CENTREVILLE'],
    ['Body', text],
    ['FromCountry', 'US'],
    ['To', to],
    ['ToZip', ''],
    ['NumSegments', String(countSegments(text))],
    ['MessageSid', messageSid],
    ['AccountSid', accountSid],
    ['From', from],
    ['ApiVersion', '2010-04-01'],
    ...mediaUrls.flatMap((url, index): [string, string][] => [
      [`MediaContentType${index}`, 'image/jpeg'],
      [`MediaUrl${index}`, url],
    ]),
    ...extra.map(([name, value]): [string, string] => [name, value]),
  ]
  const params = collectParams(entries)
  return {
    params,
    body: new URLSearchParams(entries).toString(),
    headersFor: (url) => ({
      'content-type': 'application/x-www-form-urlencoded; charset=UTF-8',
      'user-agent': 'TwilioProxy/1.1',
      accept: '*/*',
      'i-twilio-idempotency-token': idempotencyToken,
      'x-twilio-signature': getExpectedTwilioSignature(authToken, withoutFragment(url), params),
    }),
  }
}

export type SendTwilioSmsOptions = TwilioSmsOptions & {
  /** Where to connect. */
  url: string
  /** The public URL that Twilio was configured with and signed, if it is another one. */
  signedUrl?: string
  /** For the whole exchange; Twilio's own limit of 15 s unless told. */
  timeoutMs?: number
}

export type TwilioAnswer = ProviderAnswer

/**
 * Sends a message webhook as Twilio would. Throws if there is no whole answer within `timeoutMs` or if it
 * is longer than 64 KB, which Twilio refuses too.
 */
export function sendTwilioSms(options: SendTwilioSmsOptions): Promise<TwilioAnswer> {
  const { url, signedUrl = url, timeoutMs } = options
  const { body, headersFor } = createTwilioSms(options)
  const webhook = { method: 'POST', target: '', headers: headersFor(signedUrl), body } as const
  return sendWebhook(withoutFragment(url), webhook, timeoutMs)
}

type Fields = readonly [name: string, value: string][]

export type TwilioCallbackOptions = {
  authToken: string
  /** What Twilio was told to call. */
  publicBaseUrl: string
  path: string
  /** As a text, it goes over the wire byte for byte. */
  fields: Fields | string
  /** A form unless told; `query` is a GET, `json` is signed by way of `bodySHA256` in the URL. */
  as?: 'form' | 'query' | 'json'
}

/** Any webhook of Twilio's, signed by its own package: www.twilio.com/docs/usage/webhooks/webhooks-security. */
export function createTwilioCallback(options: TwilioCallbackOptions): ProviderRequest {
  const { authToken, publicBaseUrl, path, as = 'form' } = options
  const given = new URLSearchParams(
    typeof options.fields === 'string' ? options.fields : [...options.fields],
  )
  const form = typeof options.fields === 'string' ? options.fields : given.toString()
  const fields = [...given]
  const make = (target: string, params: TwilioParams, contentType?: string) => ({
    target,
    headers: {
      'user-agent': 'TwilioProxy/1.1',
      'x-twilio-signature': getExpectedTwilioSignature(authToken, publicBaseUrl + target, params),
      ...(contentType === undefined ? {} : { 'content-type': contentType }),
    },
  })
  if (as === 'query') return { method: 'GET', ...make(`${path}?${form}`, {}) }
  if (as === 'json') {
    const body = JSON.stringify(Object.fromEntries(fields))
    const target = `${path}?bodySHA256=${getExpectedBodyHash(body)}`
    return { method: 'POST', body, ...make(target, {}, 'application/json') }
  }
  const contentType = 'application/x-www-form-urlencoded; charset=UTF-8'
  return { method: 'POST', body: form, ...make(path, collectParams(fields), contentType) }
}

export type TwilioMessageStatusOptions = {
  accountSid: string
  messageSid: string
  /** The tenant's number. */
  from: string
  to: string
  status: 'queued' | 'sent' | 'delivered' | 'undelivered' | 'failed' | 'read'
  errorCode?: string
}

/** The parameters of a message status callback. */
export function twilioMessageStatus(options: TwilioMessageStatusOptions): Fields {
  const { accountSid, messageSid, from, to, status, errorCode } = options
  return [
    ['AccountSid', accountSid],
    ['From', from],
    ['To', to],
    ['MessageSid', messageSid],
    ['SmsSid', messageSid],
    ['MessageStatus', status],
    ['SmsStatus', status],
    ...(errorCode === undefined ? [] : [['ErrorCode', errorCode] satisfies [string, string]]),
    ['ApiVersion', '2010-04-01'],
  ]
}

export type TwilioCallStatusOptions = {
  accountSid: string
  callSid: string
  from: string
  /** The tenant's number. */
  to: string
  status: 'initiated' | 'ringing' | 'in-progress' | 'completed' | 'busy' | 'failed' | 'no-answer'
  sequenceNumber: number
  durationSeconds?: number
}

/** The parameters of a status callback of an incoming call. */
export function twilioCallStatus(options: TwilioCallStatusOptions): Fields {
  const { accountSid, callSid, from, to, status, sequenceNumber, durationSeconds } = options
  return [
    ['AccountSid', accountSid],
    ['CallSid', callSid],
    ['From', from],
    ['To', to],
    ['CallStatus', status],
    ['Direction', 'inbound'],
    ['ApiVersion', '2010-04-01'],
    ['Timestamp', new Date().toUTCString()],
    ['CallbackSource', 'call-progress-events'],
    ['SequenceNumber', String(sequenceNumber)],
    ...(durationSeconds === undefined
      ? []
      : [['CallDuration', String(durationSeconds)] satisfies [string, string]]),
  ]
}

/**
 * The same signature as Twilio's package makes, for benches: the key is prepared once by
 * `createSecretKey(Buffer.from(authToken))`. `url` must have no fragment.
 */
export function signTwilioFast(tokenKey: KeyObject, url: string, params: TwilioParams): string {
  let signed = url
  for (const name of Object.keys(params).sort()) {
    const value = params[name]
    if (Array.isArray(value)) {
      for (const one of [...new Set(value)].sort()) signed += name + one
    } else {
      signed += name + value
    }
  }
  return createHmac('sha1', tokenKey).update(signed, 'utf8').digest('base64')
}

function collectParams(entries: Fields): TwilioParams {
  // Without a prototype, so that a parameter may be named __proto__.
  const params: TwilioParams = Object.create(null)
  for (const [name, value] of entries) {
    const earlier = params[name]
    if (earlier === undefined) params[name] = value
    else params[name] = Array.isArray(earlier) ? [...earlier, value] : [earlier, value]
  }
  return params
}

/** Twilio signs what it requests, and `#rc=…&rp=…` (its connection overrides) is never sent. */
function withoutFragment(url: string): string {
  const start = url.indexOf('#')
  return start === -1 ? url : url.slice(0, start)
}

/** 160 characters in one segment and 153 in each of several; with anything outside ASCII, 70 and 67. */
function countSegments(text: string): number {
  const isAscii = [...text].every((character) => character <= '\x7f')
  const [single, several] = isAscii ? [160, 153] : [70, 67]
  return text.length <= single ? 1 : Math.ceil(text.length / several)
}
