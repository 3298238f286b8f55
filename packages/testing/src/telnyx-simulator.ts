import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomUUID,
  sign,
} from 'node:crypto'
import type { ProviderRequest } from './send-webhook.ts'

/** The pair of which Mission Control shows the public half. */
export type TelnyxKey = {
  /** Base64 of 32 bytes. */
  readonly publicKey: string
  readonly privateKey: KeyObject
}

/** DER before the 32 bytes of an ed25519 seed (PKCS #8). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const SEED_BYTES = 32

/** A throw-away key; always the same one from a seed of 32 bytes. */
export function createTelnyxKey(seed?: Buffer): TelnyxKey {
  const privateKey =
    seed === undefined
      ? generateKeyPairSync('ed25519').privateKey
      : createPrivateKey({
          key: Buffer.concat([PKCS8_PREFIX, seed]),
          format: 'der',
          type: 'pkcs8',
        })
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return { privateKey, publicKey: spki.subarray(-SEED_BYTES).toString('base64') }
}

export type TelnyxWebhookOptions = {
  readonly key: TelnyxKey
  readonly target: string
  /** The JSON, byte for byte. */
  readonly body: string
  /** Now unless given. */
  readonly timestampSeconds?: number
}

/** A webhook as Telnyx signs it: developers.telnyx.com/docs/development/api-fundamentals/webhooks. */
export function createTelnyxWebhook(options: TelnyxWebhookOptions): ProviderRequest {
  const { key, target, body, timestampSeconds = Math.floor(Date.now() / 1000) } = options
  const signed = Buffer.from(`${timestampSeconds}|${body}`)
  return {
    method: 'POST',
    target,
    headers: {
      'content-type': 'application/json',
      'user-agent': 'telnyx-webhooks',
      'telnyx-signature-ed25519': sign(null, signed, key.privateKey).toString('base64'),
      'telnyx-timestamp': String(timestampSeconds),
    },
    body,
  }
}

export type TelnyxMessageOptions = {
  readonly from: string
  /** More than one make a group message. */
  readonly to: readonly string[]
  readonly cc?: readonly string[]
  readonly text?: string
  /** With media it is an MMS. */
  readonly mediaUrls?: readonly string[]
  /** Of the event, and of the message; random ones unless given. */
  readonly id?: string
  readonly messageId?: string
  /** STOP or START, when Telnyx answered it by itself. */
  readonly autoresponseType?: string
}

/** `message.received`: developers.telnyx.com/docs/messaging/messages/receiving-webhooks. */
export function telnyxMessage(options: TelnyxMessageOptions): string {
  const { from, to, cc = [], text = 'Hello', mediaUrls = [], autoresponseType } = options
  return envelope('message.received', options.id, {
    record_type: 'message',
    id: options.messageId ?? randomUUID(),
    direction: 'inbound',
    type: mediaUrls.length > 0 ? 'MMS' : 'SMS',
    from: { phone_number: from, carrier: 'T-Mobile USA', line_type: 'long_code' },
    to: to.map((phone_number) => ({ phone_number, carrier: 'Telnyx', line_type: 'Wireless' })),
    cc: cc.map((phone_number) => ({ phone_number })),
    text,
    media: mediaUrls.map((url) => ({ url, content_type: 'image/png', size: 1024 })),
    received_at: new Date().toISOString(),
    errors: [],
    ...(autoresponseType === undefined ? {} : { autoresponse_type: autoresponseType }),
  })
}

export type TelnyxStatusOptions = {
  readonly eventType: 'message.sent' | 'message.finalized'
  readonly status:
    | 'queued'
    | 'sending'
    | 'sent'
    | 'delivered'
    | 'delivery_failed'
    | 'sending_failed'
  readonly from: string
  readonly to: string
  readonly messageId: string
  readonly id?: string
}

/** What became of a message that the tenant sent. */
export function telnyxStatus(options: TelnyxStatusOptions): string {
  const { eventType, status, from, to, messageId } = options
  return envelope(eventType, options.id, {
    record_type: 'message',
    id: messageId,
    direction: 'outbound',
    type: 'SMS',
    from: { phone_number: from },
    to: [{ phone_number: to, status }],
    text: 'Hello',
    media: [],
    errors: [],
  })
}

export type TelnyxCallOptions = {
  readonly eventType: 'call.initiated' | 'call.answered' | 'call.hangup'
  readonly from: string
  readonly to: string
  readonly callControlId: string
  readonly payload?: Readonly<Record<string, unknown>>
  readonly id?: string
}

/** An event of an incoming call: developers.telnyx.com/docs/voice/programmable-voice/receiving-webhooks. */
export function telnyxCall(options: TelnyxCallOptions): string {
  const { eventType, from, to, callControlId, payload = {} } = options
  return envelope(eventType, options.id, {
    call_control_id: callControlId,
    call_leg_id: randomUUID(),
    call_session_id: randomUUID(),
    connection_id: '1684641123236054244',
    direction: 'incoming',
    from,
    to,
    ...payload,
  })
}

function envelope(
  eventType: string,
  id: string = randomUUID(),
  payload: Readonly<Record<string, unknown>>,
): string {
  return JSON.stringify({
    data: {
      record_type: 'event',
      event_type: eventType,
      id,
      occurred_at: new Date().toISOString(),
      payload,
    },
    meta: { attempt: 1, delivered_to: 'https://hooks.example.com/telnyx-webhook' },
  })
}
