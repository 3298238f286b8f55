import { createHmac, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js'
import { request } from 'undici'

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

export type TwilioAnswer = {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

/** Twilio's limits: www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides and error 11750. */
const TWILIO_TIMEOUT_MS = 15_000
const MAX_ANSWER_BYTES = 64 * 1024

/**
 * Sends a message webhook as Twilio would. Throws if there is no whole answer within `timeoutMs` or if it
 * is longer than 64 KB, which Twilio refuses too.
 */
export async function sendTwilioSms(options: SendTwilioSmsOptions): Promise<TwilioAnswer> {
  const { url, signedUrl = url, timeoutMs = TWILIO_TIMEOUT_MS } = options
  const sms = createTwilioSms(options)
  const response = await request(withoutFragment(url), {
    method: 'POST',
    headers: sms.headersFor(signedUrl),
    body: sms.body,
    signal: AbortSignal.timeout(timeoutMs),
  })
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer exceeds ${MAX_ANSWER_BYTES} bytes`)
    chunks.push(chunk)
  }
  const { statusCode: status, headers } = response
  return { status, headers, text: Buffer.concat(chunks).toString('utf8') }
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

function collectParams(entries: readonly [string, string][]): TwilioParams {
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
