import { createHmac, randomUUID } from 'node:crypto'
import { type BasicCredentials, basicAuthorization, type ProviderRequest } from './send-webhook.ts'

export type KudosityWebhookOptions = {
  /** With the path token: nothing else tells who sent it. */
  readonly target: string
  /** The JSON, byte for byte. */
  readonly body: string
  readonly basic?: BasicCredentials
}

/** A V2 webhook, with the headers that were captured from the live service. It is not signed. */
export function createKudosityWebhook(options: KudosityWebhookOptions): ProviderRequest {
  const { target, body, basic } = options
  return {
    method: 'POST',
    target,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'Go-http-client/2.0',
      ...(basic === undefined ? {} : { authorization: basicAuthorization(basic) }),
    },
    body,
  }
}

export type KudosityInboundOptions = {
  readonly sender: string
  /** The tenant's number, as Kudosity writes it: without a plus. */
  readonly recipient: string
  readonly message?: string
  readonly id?: string
  /** With media it is an MMS; `content` is base64. */
  readonly media?: readonly { readonly name: string; readonly content: string }[]
}

/** `SMS_INBOUND` or `MMS_INBOUND`: developers.kudosity.com/reference/about-webhooks. */
export function kudosityInbound(options: KudosityInboundOptions): string {
  const { sender, recipient, message = 'YES', id = randomUUID(), media } = options
  const type = media === undefined ? 'SMS' : 'MMS'
  const mo = { type, id, message, sender, recipient, ...(media === undefined ? {} : { media }) }
  return JSON.stringify({ event_type: `${type}_INBOUND`, timestamp: nowToTheSecond(), mo })
}

export type KudosityStatusOptions = {
  readonly id: string
  readonly status: 'SENT' | 'ACCEPTED' | 'DELIVERED' | 'FAILED' | 'SOFT_BOUNCE' | 'HARD_BOUNCE'
  /** The tenant's number. */
  readonly sender: string
  readonly recipient: string
  readonly messageRef?: string
}

/** `SMS_STATUS`. */
export function kudosityStatus(options: KudosityStatusOptions): string {
  const { id, status, sender, recipient, messageRef = '' } = options
  return JSON.stringify({
    event_type: 'SMS_STATUS',
    timestamp: nowToTheSecond(),
    status: { type: 'SMS', id, message_ref: messageRef, recipient, sender, status },
  })
}

const nowToTheSecond = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z')

type Fields = readonly [name: string, value: string][]

export type KudosityV1Options = {
  /** With the path token. */
  readonly path: string
  /** In the order in which they go over the wire, which is signed. */
  readonly fields: Fields
  /** Not signed without it. */
  readonly apiSecret?: string
}

/** A V1 callback: a GET, signed as the vendor's PHP recipe does. */
export function createKudosityV1Callback(options: KudosityV1Options): ProviderRequest {
  const { path, fields, apiSecret } = options
  const query = new URLSearchParams([...fields]).toString()
  return {
    method: 'GET',
    target: `${path}?${query}`,
    headers: {
      'user-agent': 'Go-http-client/2.0',
      ...(apiSecret === undefined
        ? {}
        : { 'x-transmitsms-signature': signKudosityV1(apiSecret, fields) }),
    },
  }
}

/** Hex of HMAC-SHA256 over PHP's `json_encode($_GET)`: developers.kudosity.com, Validating webhook signatures. */
export function signKudosityV1(apiSecret: string, fields: Fields): string {
  return createHmac('sha256', apiSecret).update(phpJson(fields)).digest('hex')
}

/** PHP escapes `/`, writes what is not ASCII as \uXXXX, and takes dots and blanks in names for underscores. */
function phpJson(fields: Fields): string {
  const pairs = fields.map(
    ([name, value]) => `${JSON.stringify(name.replace(/[. ]/g, '_'))}:${JSON.stringify(value)}`,
  )
  return `{${pairs.join(',')}}`
    .replaceAll('/', '\\/')
    .replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
