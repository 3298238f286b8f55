import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { createContent, keyOfBytes, stated, toUtc, wholeNumber } from './create-content.ts'
import { toNumber } from './e164.ts'
import { first, type Params, parseBoundedForm } from './form.ts'
import { type EventContent, MalformedPayloadError, type Verification } from './provider.ts'
import { messageStanding } from './status-rank.ts'

/** As PHP's urldecode: what is no escape stays as it is, and bytes that are no text become U+FFFD, which verify as nothing. */
function decode(text: string): string {
  const bytes = text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})|[^\0-\x7f]/giu, (unit, hex: string | undefined) =>
      hex === undefined
        ? Buffer.from(unit).toString('latin1')
        : String.fromCharCode(Number.parseInt(hex, 16)),
    )
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/**
 * `$_GET` as PHP would hold it: in the order of arrival, a repeated name in its first place with its last value, blanks
 * and dots in names as underscores. Undefined for names with brackets, which PHP makes nested arrays of: Kudosity sends none.
 */
function phpParams(query: string): ReadonlyMap<string, string> | undefined {
  const params = new Map<string, string>()
  for (const pair of query.split('&')) {
    const [name = '', ...value] = pair.split('=')
    const key = decode(name).replace(/^ +/, '').replace(/[ .]/g, '_')
    if (key.includes('[')) return undefined
    if (key !== '') params.set(key, decode(value.join('=')))
  }
  return params
}

/** PHP's json_encode without flags: `/` escaped, and all that is not ASCII as \uXXXX. An empty array is a list. */
function phpJson(params: ReadonlyMap<string, string>): string {
  if (params.size === 0) return '[]'
  const text = (value: string) =>
    JSON.stringify(value)
      .replaceAll('/', '\\/')
      .replace(/[\u0080-\uffff]/g, (unit) => {
        return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
      })
  return `{${[...params].map(([name, value]) => `${text(name)}:${text(value)}`).join(',')}}`
}

/**
 * Hex of HMAC-SHA256 over `json_encode($_GET)` with the account's API secret (developers.kudosity.com, Validating webhook
 * signatures). Without a secret there is nothing to verify: then the path token is all there is.
 */
export function verifyKudosityV1(
  query: Buffer,
  headers: IncomingHttpHeaders,
  keys: readonly KeyObject[],
): Verification {
  if (keys.length === 0) return { ok: true }
  const header = headers['x-transmitsms-signature']
  if (typeof header !== 'string' || header === '') {
    const detail =
      'The x-transmitsms-signature header is missing: V1 callbacks of an account with an `api_secret` are signed.'
    return { ok: false, reason: 'missing_signature', detail }
  }
  if (!/^[0-9a-f]{64}$/.test(header)) {
    const detail = 'The x-transmitsms-signature header is not the hex of an HMAC-SHA256.'
    return { ok: false, reason: 'malformed_signature', detail }
  }
  const signature = Buffer.from(header, 'hex')
  const params = phpParams(query.toString('utf8'))
  const signed = params === undefined ? undefined : phpJson(params)
  const holds =
    signed !== undefined &&
    keys.some(
      (key) =>
        // A key of another kind would make HMAC throw.
        key.type === 'secret' &&
        timingSafeEqual(createHmac('sha256', key).update(signed).digest(), signature),
    )
  if (holds) return { ok: true }
  const detail =
    'The signature does not match: check `api_secret` of the provider account, and that nothing on the way sorts, adds or removes query parameters, all of which are signed.'
  return { ok: false, reason: 'wrong_signature', detail }
}

/** `2020-05-16 12:10:00`, which is UTC (developers.kudosity.com/reference/troubleshooting). */
function timeOf(text: string): string | null {
  return toUtc(`${text}Z`)
}

/** A customer's answer; `message_id` is what it answers. */
function readReply(params: Params): readonly EventContent[] {
  const id = first(params, 'response_id')
  const from = first(params, 'mobile')
  const to = first(params, 'longcode')
  const answered = first(params, 'message_id')
  const last = { type: 'SMS', id: answered, recipient: from, sender: to }
  const shared = {
    messageId: id,
    from,
    to,
    body: first(params, 'response'),
    phoneNumber: toNumber(to),
    peerNumber: toNumber(from),
    occurredAt: timeOf(first(params, 'datetime_entry')),
  }
  const lastMessage = answered === '' || answered === '0' ? undefined : last
  const reply = createContent({
    ...shared,
    type: 'sms_received',
    dedupeKey: `reply.${id}`,
    data: stated({ last_message: lastMessage }),
  })
  if (!/^(yes|true|1)$/i.test(first(params, 'is_optout'))) return [reply]
  const optOut = createContent({
    ...shared,
    type: 'opt_out',
    dedupeKey: `opt_out.${id}`,
    data: stated({ source: 'SMS_INBOUND', source_message: lastMessage }),
  })
  return [reply, optOut]
}

/** One message may have gone to many: whose status it is, `mobile` says. It does not say who sent it. */
function readDeliveryReport(params: Params, status: string): EventContent {
  const messageId = first(params, 'message_id')
  const to = first(params, 'mobile')
  return createContent({
    ...messageStanding('kudosity', status, messageId, to),
    type: 'sms_status',
    dedupeKey: `status.${messageId}.${to}.${status}`,
    messageId,
    to,
    peerNumber: toNumber(to),
    status,
    occurredAt: timeOf(first(params, 'datetime')),
    data: stated({ rate: first(params, 'rate') }),
  })
}

/** The vendor does not list its parameters: a message, a customer and an address are what makes it one. */
function readLinkHit(params: Params, payload: Buffer, url: string): EventContent {
  const messageId = first(params, 'message_id')
  const to = first(params, 'mobile')
  return createContent({
    type: 'link_hit',
    dedupeKey: `link.${keyOfBytes(payload)}`,
    messageId,
    to,
    peerNumber: toNumber(to),
    occurredAt: timeOf(first(params, 'datetime')),
    data: stated({
      url,
      hits: wholeNumber(first(params, 'hits') || first(params, 'link_hits')),
      source_message: { type: 'SMS', id: messageId, recipient: to },
    }),
  })
}

/** The query of a V1 callback (developers.kudosity.com/reference/troubleshooting). Throws `MalformedPayloadError`. */
export function readKudosityV1(payload: Buffer): readonly EventContent[] {
  if (payload.length === 0) throw new MalformedPayloadError('the callback has no parameters')
  const params = parseBoundedForm(payload)
  if (first(params, 'response_id') !== '') return readReply(params)
  if (first(params, 'message_id') !== '') {
    const status = first(params, 'status')
    if (status !== '') return [readDeliveryReport(params, status)]
    const url = first(params, 'url') || first(params, 'link')
    if (url !== '') return [readLinkHit(params, payload, url)]
  }
  const mobile = first(params, 'mobile')
  return [
    createContent({
      type: 'unknown',
      dedupeKey: keyOfBytes(payload),
      from: mobile,
      peerNumber: toNumber(mobile),
    }),
  ]
}
