import { createHmac, hash, type KeyObject, timingSafeEqual } from 'node:crypto'
import { parse as parseQuery, stringify as stringifyQuery } from 'node:querystring'
import type { EventType } from '../event.ts'
import {
  type Answer,
  type EventContent,
  MalformedPayloadError,
  type ProviderAdapter,
  type Verification,
  type VerifyFailure,
  type Webhook,
} from './provider.ts'

const FORM = 'application/x-www-form-urlencoded'
const SIGNATURE_BYTES = 20
const MAX_MEDIA = 10
const EMPTY_TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'

export type Params = Readonly<Record<string, string | string[] | undefined>>

/**
 * Every name and value as Twilio sent them. `querystring` keeps bracket names flat, has no prototype to pollute,
 * and with maxKeys 0 drops nothing; `qs` and URLSearchParams would not verify (providers.md A.3).
 */
export function parseForm(body: Buffer): Params {
  return parseQuery(body.toString('utf8'), '&', '=', { maxKeys: 0 })
}

function first(params: Params, name: string): string {
  const value = params[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** What Twilio signs after the URL: each name and value, names in code unit order, repeated values once and sorted. */
function signedParams(params: Params): Buffer {
  let text = ''
  for (const name of Object.keys(params).sort()) {
    const value = params[name]
    if (Array.isArray(value)) for (const one of [...new Set(value)].sort()) text += name + one
    else text += name + (value ?? '')
  }
  return Buffer.from(text, 'utf8')
}

/** `url` without its port, or with its scheme's own port if it names none; every other byte untouched. */
function respell(url: string, port: 'without' | 'with'): string {
  const match = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*@)?(\[[^\]]*\]|[^/:?#]*)(:[^/?#]*)?(.*)$/is.exec(
    url,
  )
  if (match === null) return url
  const [, scheme = '', user = '', host = '', given = '', rest = ''] = match
  const ownPort = scheme.toLowerCase() === 'https://' ? ':443' : ':80'
  return scheme + user + host + (port === 'without' ? '' : given || ownPort) + rest
}

/** The query as the `querystring` module spells it: some signers at Twilio escape more than the URL did. */
function reencodeQuery(url: string): string {
  const start = url.indexOf('?')
  if (start === -1 || start === url.length - 1) return url
  return `${url.slice(0, start)}?${stringifyQuery(parseQuery(url.slice(start + 1)))}`
}

/**
 * The spellings of one URL that Twilio may have signed, likeliest first, as the official package 6.2 tries them
 * (lib/webhooks/webhooks.js): as received, then normalised, then with the query re-encoded.
 */
function* spellings(url: string): Generator<string> {
  yield respell(url, 'without')
  yield respell(url, 'with')
  const normalised = URL.parse(url)?.toString()
  if (normalised === undefined) return
  const bare = respell(normalised, 'without')
  const full = respell(normalised, 'with')
  yield* [bare, full, reencodeQuery(bare), reencodeQuery(full)]
}

/** Constant time per spelling; a match needs the whole 20 bytes. */
function signatureHolds(key: KeyObject, signature: Buffer, url: string, params: Buffer): boolean {
  for (const spelling of spellings(url)) {
    const expected = createHmac('sha1', key).update(spelling, 'utf8').update(params).digest()
    if (timingSafeEqual(expected, signature)) return true
  }
  return false
}

function bodyHashHolds(url: string, body: Buffer): boolean {
  const stated = URL.parse(url)?.searchParams.get('bodySHA256') ?? ''
  if (!/^[0-9a-f]{64}$/.test(stated)) return false
  return timingSafeEqual(hash('sha256', body, 'buffer'), Buffer.from(stated, 'hex'))
}

function refuse(reason: VerifyFailure): Verification {
  return { ok: false, reason }
}

export function isForm(contentType: string | undefined): boolean {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() === FORM
}

/** What is wrong with the signature header by itself: cheap, so that it is asked before anything is parsed. */
export function findSignatureFault({ headers }: Webhook): VerifyFailure | undefined {
  const header = headers['x-twilio-signature']
  if (typeof header !== 'string' || header === '') return 'missing_signature'
  const signature = Buffer.from(header, 'base64')
  const isWellFormed =
    signature.length === SIGNATURE_BYTES && signature.toString('base64') === header
  return isWellFormed ? undefined : 'malformed_signature'
}

/**
 * Twilio's request validation over the raw bytes (twilio.com/docs/usage/security): HMAC-SHA1 of URL and form
 * parameters; for any other body the URL carries `bodySHA256`. `keys` are the account's auth token and, during a
 * rotation, its secondary one. Never throws, whatever the header holds.
 */
export function verifyTwilio(
  webhook: Webhook,
  params: Params,
  keys: readonly KeyObject[],
): Verification {
  const fault = findSignatureFault(webhook)
  if (fault !== undefined) return refuse(fault)
  const signature = Buffer.from(String(webhook.headers['x-twilio-signature']), 'base64')
  const hasOtherBody = webhook.method !== 'GET' && !isForm(webhook.headers['content-type'])
  if (hasOtherBody && !bodyHashHolds(webhook.url, webhook.body)) return refuse('wrong_signature')
  const signed = signedParams(params)
  return keys.some((key) => signatureHolds(key, signature, webhook.url, signed))
    ? { ok: true }
    : refuse('wrong_signature')
}

/** What to verify and read: a form's parameters; none for GET (they are in the URL) or another body. */
export function paramsOf(webhook: Webhook): Params {
  return webhook.method !== 'GET' && isForm(webhook.headers['content-type'])
    ? parseForm(webhook.body)
    : {}
}

function mediaUrls(params: Params): string[] {
  const count = Math.min(Number.parseInt(first(params, 'NumMedia'), 10) || 0, MAX_MEDIA)
  const urls: string[] = []
  for (let index = 0; index < count; index += 1) {
    const url = first(params, `MediaUrl${index}`)
    if (url !== '') urls.push(url)
  }
  return urls
}

/** The account a webhook claims to be from. Not authentic before its signature holds with that account's token. */
export function claimedAccountSid(params: Params): string {
  return first(params, 'AccountSid')
}

/** The event in a webhook's parameters; `payload` are the bytes they were parsed from. */
export function readParams(params: Params, payload: Buffer): EventContent {
  const messageId = first(params, 'MessageSid') || first(params, 'SmsSid')
  const callSid = first(params, 'CallSid')
  const from = first(params, 'From')
  const to = first(params, 'To')
  const shared = { from, to, body: first(params, 'Body'), mediaUrls: mediaUrls(params) }
  const status = first(params, 'MessageStatus')
  if (messageId !== '' && status !== '' && status !== 'received') {
    const type: EventType = messageId.startsWith('MM') ? 'mms_status' : 'sms_status'
    const dedupeKey = `${messageId}.${status}`
    return {
      ...shared,
      type,
      dedupeKey,
      messageId,
      phoneNumber: from,
      peerNumber: to,
      callSid: null,
    }
  }
  if (messageId !== '') {
    if (to === '') throw new MalformedPayloadError('a message needs To')
    const type: EventType = shared.mediaUrls.length > 0 ? 'mms_received' : 'sms_received'
    return {
      ...shared,
      type,
      dedupeKey: messageId,
      messageId,
      phoneNumber: to,
      peerNumber: from,
      callSid: null,
    }
  }
  // Authentic, but of a kind we do not know: kept and forwarded as it is. Its bytes are its identity.
  const dedupeKey = `sha256.${hash('sha256', payload, 'hex')}`
  return {
    ...shared,
    type: 'unknown',
    dedupeKey,
    messageId: '',
    phoneNumber: to || null,
    peerNumber: from || null,
    callSid: callSid || null,
  }
}

/** twilio.com/docs/messaging/guides/webhook-request: TwiML for what came in, 204 for a status callback. */
function answerTwilio(type: EventType): Answer {
  return type === 'sms_status' || type === 'mms_status'
    ? { status: 204, contentType: null, body: '' }
    : { status: 200, contentType: 'text/xml', body: EMPTY_TWIML }
}

export const twilio: ProviderAdapter = {
  name: 'twilio',
  read: (payload) => readParams(parseForm(payload), payload),
  answer: answerTwilio,
}
