import { createHmac, hash, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { isForm, type Params } from './form.ts'
import type { Verification, Webhook } from './provider.ts'
import { mistakenUrls, portSpellings, spellings } from './twilio-spellings.ts'

const SIGNATURE_BYTES = 20
/** Trying what else may have been signed is for people's mistakes, which are small. */
const MAX_EXPLAINED_BYTES = 16_384

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

/** Constant time per spelling; a match needs the whole 20 bytes. A key of another kind would make HMAC throw. */
function holdsWith(
  key: KeyObject,
  signature: Buffer,
  urls: Iterable<string>,
  params: Buffer,
): boolean {
  if (key.type !== 'secret') return false
  for (const spelling of urls) {
    const expected = createHmac('sha1', key).update(spelling, 'utf8').update(params).digest()
    if (timingSafeEqual(expected, signature)) return true
  }
  return false
}

/** What Twilio says of a body that is no form: in the URL, lower-case hex. */
function findBodyHashFault(url: string, body: Buffer): string | undefined {
  const given = URL.parse(url)?.searchParams.get('bodySHA256') ?? ''
  if (!/^[0-9a-f]{64}$/.test(given)) {
    return 'The body is no form, and the URL has no bodySHA256 that vouches for it.'
  }
  return timingSafeEqual(hash('sha256', body, 'buffer'), Buffer.from(given, 'hex'))
    ? undefined
    : 'The body is not the one that bodySHA256 in the URL vouches for: something on the way writes the body anew.'
}

/** What is wrong with the signature header by itself. */
function findHeaderFault(headers: IncomingHttpHeaders): Verification | undefined {
  const header = headers['x-twilio-signature']
  if (typeof header !== 'string' || header === '') {
    const detail = 'The X-Twilio-Signature header is missing: this did not come from Twilio.'
    return { ok: false, reason: 'missing_signature', detail }
  }
  const signature = Buffer.from(header, 'base64')
  if (signature.length === SIGNATURE_BYTES && signature.toString('base64') === header) {
    return undefined
  }
  const detail = 'The X-Twilio-Signature header is not a base64 HMAC-SHA1.'
  return { ok: false, reason: 'malformed_signature', detail }
}

const WRONG =
  'The signature does not match: check the auth token of the provider account, and that PUBLIC_BASE_URL is the URL that Twilio calls.'

/** `host` as a browser would write it, or nothing: only letters, digits and what separates them. */
function hostsOf({ url, headers }: Webhook): string[] {
  const named = [headers.host, headers['x-forwarded-host']].filter(
    (host): host is string => typeof host === 'string' && /^[a-z0-9.:[\]-]{1,255}$/i.test(host),
  )
  const own = URL.parse(url)?.host
  return [...new Set(named)].filter((host) => host.toLowerCase() !== own)
}

/** A sentence on which mistake the signature betrays; quotes no query, no value and no token. */
function explain(
  webhook: Webhook,
  keys: readonly KeyObject[],
  signature: Buffer,
  params: Buffer,
  paths: readonly string[],
): string {
  if (webhook.url.length + params.length > MAX_EXPLAINED_BYTES) return WRONG
  const holds = (url: string, signed: Buffer) =>
    keys.some((key) => holdsWith(key, signature, portSpellings(url), signed))
  if (params.length > 0 && holds(webhook.url, Buffer.alloc(0))) {
    return 'The signature matches the URL without the form: Twilio sent another method or body than what arrived here.'
  }
  for (const { url, detail } of mistakenUrls(webhook.url, hostsOf(webhook), paths)) {
    if (holds(url, params)) return detail
  }
  return WRONG
}

/**
 * Twilio's request validation over the raw bytes (twilio.com/docs/usage/security): HMAC-SHA1 of URL and form
 * parameters; for any other body the URL carries `bodySHA256`. `params` are undefined when the body could not be read.
 * `keys` are the account's auth token and, during a rotation, its secondary one; `paths` are ours, for the explanation.
 * Never throws, whatever the request holds.
 */
export function verifyTwilio(
  webhook: Webhook,
  params: Params | undefined,
  keys: readonly KeyObject[],
  paths: readonly string[],
): Verification {
  const fault = findHeaderFault(webhook.headers)
  if (fault !== undefined) return fault
  const refuse = (detail: string): Verification => ({
    ok: false,
    reason: 'wrong_signature',
    detail,
  })
  const { method, url, headers, body } = webhook
  const signature = Buffer.from(String(headers['x-twilio-signature']), 'base64')
  const hasForm = method !== 'GET' && isForm(headers['content-type'])
  if (hasForm && params === undefined) {
    return refuse('Twilio sends no form of more than 1,000 parameters.')
  }
  const signed = signedParams(hasForm && params !== undefined ? params : {})
  if (!keys.some((key) => holdsWith(key, signature, spellings(url), signed))) {
    return refuse(explain(webhook, keys, signature, signed, paths))
  }
  const bodyFault = method === 'GET' || hasForm ? undefined : findBodyHashFault(url, body)
  return bodyFault === undefined ? { ok: true } : refuse(bodyFault)
}
