import { Webhook } from 'standardwebhooks'
import { z } from 'zod'
import type { ReceivedRequest } from './receiver.ts'

/**
 * Whether a delivery is what the vendor whose place it takes documents. Strict: one field too many fails too; the few
 * that we add say so.
 */

export type Delivered = Pick<ReceivedRequest, 'method' | 'headers' | 'body'>

const text = z.string()
/** The vendors' times all name their zone; we give UTC. */
const utc = z.iso.datetime()

const mediaFile = z.strictObject({ name: text, content: z.base64() })

const burkiMessage = z.strictObject({
  type: z.literal('sms_received'),
  timestamp: utc,
  data: z.strictObject({
    message_id: text.min(1),
    from: text,
    to: text,
    body: text,
    media_urls: z.array(z.url()),
    provider: text.min(1),
    // Ours: Burki has no name for media that come without a URL.
    media: z.array(mediaFile).optional(),
  }),
})
export type BurkiMessage = z.infer<typeof burkiMessage>

const jsonValue = z.json()
const burkiVoiceBase = z
  .object({
    event: text,
    call_sid: text.min(1).nullable(),
    assistant_id: z.int().nullable(),
    timestamp: utc,
  })
  // What the engine says besides stands at the top level.
  .catchall(jsonValue)
const burkiVoice = z.discriminatedUnion('event', [
  burkiVoiceBase.extend({ event: z.literal('call_started'), customer_phone_number: text.min(1) }),
  burkiVoiceBase.extend({
    event: z.literal('call_ended'),
    duration: z.int().nonnegative(),
    status: text.min(1),
  }),
  burkiVoiceBase.extend({
    event: z.enum([
      'call_answered',
      'call_failed',
      'recording_started',
      'recording_completed',
      'transcript',
      'tool_call',
      'transfer_initiated',
    ]),
  }),
])
export type BurkiVoice = z.infer<typeof burkiVoice>

const kudosityCommon = {
  timestamp: utc,
  webhook_id: text.optional(),
  webhook_name: text.optional(),
}
const message = {
  type: z.enum(['SMS', 'MMS']),
  id: text.min(1),
  recipient: text.min(1),
  sender: text,
}
const sourceMessage = z.strictObject({
  ...message,
  message: text,
  message_ref: text,
  subject: text.optional(),
  content_urls: z.array(z.url()).optional(),
})
const lastMessage = z.strictObject({
  ...message,
  message: text,
  message_ref: text,
  routed_via: text.optional(),
})
const inbound = { ...message, routed_via: text.optional(), last_message: lastMessage.optional() }
const status = z.strictObject({
  ...message,
  message_ref: text,
  status: z.enum([
    'SENT',
    'ACCEPTED',
    'DELIVERED',
    'FAILED',
    'SOFT_BOUNCE',
    'HARD_BOUNCE',
    'OTHER',
    'REJECTED',
  ]),
  routed_via: text.optional(),
  description: text.optional(),
  // Not in the example, but what the filter of the same name is about.
  campaign_id: text.optional(),
})
const kudosity = z.discriminatedUnion('event_type', [
  z.strictObject({
    ...kudosityCommon,
    event_type: z.literal('SMS_INBOUND'),
    mo: z.strictObject({ ...inbound, type: z.literal('SMS'), message: text }),
  }),
  z.strictObject({
    ...kudosityCommon,
    event_type: z.literal('MMS_INBOUND'),
    mo: z.strictObject({
      ...inbound,
      type: z.literal('MMS'),
      message: text.optional(),
      media: z.array(mediaFile),
      // Ours: for media of which the provider gives a URL, not the bytes.
      content_urls: z.array(z.url()).optional(),
    }),
  }),
  z.strictObject({ ...kudosityCommon, event_type: z.enum(['SMS_STATUS', 'MMS_STATUS']), status }),
  z.strictObject({
    ...kudosityCommon,
    event_type: z.literal('LINK_HIT'),
    link_hit: z.strictObject({
      hits: z.int().nonnegative(),
      url: z.url(),
      source_message: sourceMessage,
    }),
  }),
  z.strictObject({
    ...kudosityCommon,
    event_type: z.literal('OPT_OUT'),
    opt_out: z.strictObject({
      source: z.enum(['LINK_HIT', 'SMS_INBOUND']),
      source_message: sourceMessage,
    }),
  }),
])
export type KudosityEvent = z.infer<typeof kudosity>

const standard = z.strictObject({
  type: text.regex(/^[a-z_]+(\.[a-z_]+)*$/),
  timestamp: utc,
  data: z.record(text, jsonValue),
})
export type StandardEvent = z.infer<typeof standard>

/** In the order in which the PBX documents them. */
export const PBX_FIELDS = [
  ...['service_id', 'from', 'sms_number', 'body', 'message_id', 'timestamp'],
  ...['webhook_url', 'webhook_url_fallback'],
] as const

function checkPost({ method, headers }: Delivered, contentType: string): void {
  if (method !== 'POST') throw new Error(`a ${method}, not a POST`)
  const got = headers['content-type']
  if (got !== contentType) throw new Error(`content-type is ${got}, not ${contentType}`)
}

function checkJson<T>(delivered: Delivered, schema: z.ZodType<T>): T {
  checkPost(delivered, 'application/json')
  const body = delivered.body.toString('utf8')
  const result = schema.safeParse(JSON.parse(body))
  if (result.success) return result.data
  throw new Error(`${z.prettifyError(result.error)}\nin ${body.slice(0, 2_000)}`)
}

/** Burki's incoming message, MMS included: `{type, timestamp, data}` from `Burki-SMS-Webhook/1.0`. Throws when it is not. */
export function checkBurkiMessage(delivered: Delivered): BurkiMessage {
  const agent = delivered.headers['user-agent']
  if (agent !== 'Burki-SMS-Webhook/1.0') throw new Error(`user-agent is ${agent}`)
  return checkJson(delivered, burkiMessage)
}

/** Burki's voice event: flat, `event` names it. */
export function checkBurkiVoice(delivered: Delivered): BurkiVoice {
  return checkJson(delivered, burkiVoice)
}

/** One of Kudosity's six events: developers.kudosity.com/reference/about-webhooks. */
export function checkKudosity(delivered: Delivered): KudosityEvent {
  return checkJson(delivered, kudosity)
}

/** Standard Webhooks' `{type, timestamp, data}`. */
export function checkStandard(delivered: Delivered): StandardEvent {
  return checkJson(delivered, standard)
}

/** The PBX's form, each of its eight fields once and in its order. */
export function checkPbxForm(delivered: Delivered): Readonly<Record<string, string>> {
  checkPost(delivered, 'application/x-www-form-urlencoded')
  const fields = [...new URLSearchParams(delivered.body.toString('utf8'))]
  const names = fields.map(([name]) => name).join()
  if (names !== PBX_FIELDS.join()) throw new Error(`the fields are ${names}`)
  const form = Object.fromEntries(fields)
  if (!/^\d{10}$/.test(form.timestamp ?? '')) throw new Error('timestamp is not epoch seconds')
  if (form.message_id === '') throw new Error('no message_id')
  return form
}

/** Verifies with the `standardwebhooks` package, as a receiver would. Throws when the signature does not hold. */
export function checkSignature({ headers, body }: Delivered, secret: string): void {
  const signed = Object.fromEntries(
    ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => [
      name,
      String(headers[name]),
    ]),
  )
  new Webhook(secret).verify(body, signed, { jsonParse: false })
}
