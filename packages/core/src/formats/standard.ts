import { z } from 'zod'
import { type AcceptedEvent, type EventType, OPERATIONAL_EVENTS, PROVIDERS } from '../event.ts'
import { stated } from '../providers/create-content.ts'
import type { EventContent } from '../providers/provider.ts'
import {
  type Format,
  fromTo,
  kindOf,
  occurrenceOf,
  operationalOf,
  USER_AGENT,
  unknownData,
} from './format.ts'
import { jsonBody } from './json-body.ts'

const words = z.record(z.string(), z.unknown())
const seconds = z.number().describe('whole seconds')

const shared = {
  provider: z.enum(PROVIDERS),
  phone_number: z.string().nullable().describe('the number here, as it is configured'),
  assistant_id: z.number().nullable(),
  stale: z.literal(true).optional().describe('a later status of the same subject came before'),
}

const aboutMessage = {
  ...shared,
  message_id: z.string().describe("the provider's"),
  from: z.string().describe('as the provider spells it'),
  to: z.string(),
  message_ref: z.string().optional().describe("the sender's reference of the message it is about"),
  campaign_id: z.string().optional(),
}

const received = {
  ...aboutMessage,
  body: z.string(),
  media_urls: z.array(z.string()),
  media: z
    .array(z.looseObject({ name: z.string(), content: z.string() }))
    .optional()
    .describe('media that came without a URL, content in base64'),
  last_message: words.optional().describe('what was sent to the other side last'),
  routed_via: z.string().optional(),
}

const status = {
  ...aboutMessage,
  status: z.string().describe("the provider's word"),
  message_status: z
    .enum([
      'SENT',
      'ACCEPTED',
      'DELIVERED',
      'FAILED',
      'SOFT_BOUNCE',
      'HARD_BOUNCE',
      'REJECTED',
      'OTHER',
    ])
    .describe('the same for all providers'),
  error_code: z.string().optional(),
  description: z.string().optional(),
  routed_via: z.string().optional(),
}

const linkHit = {
  ...aboutMessage,
  url: z.string().optional(),
  hits: z.number().optional(),
  source_message: words.optional(),
}

const optOut = {
  ...aboutMessage,
  body: z.string().optional(),
  source: z.string().optional().describe('LINK_HIT or SMS_INBOUND'),
  source_message: words.optional(),
}

const voice = {
  ...shared,
  call_sid: z.string().nullable(),
  from: z.string().optional(),
  to: z.string().optional(),
  status: z.string().optional().describe("Twilio's words: completed, busy, no-answer, …"),
  duration: seconds.optional(),
}

const call = {
  ...voice,
  customer_phone_number: z.string().optional(),
  direction: z.string().optional(),
  hangup_cause: z.string().optional(),
}

const recording = {
  ...voice,
  recording_sid: z.string().optional(),
  recording_url: z.string().optional(),
  channels: z.union([z.number(), z.string()]).optional(),
}

const unknown = {
  ...shared,
  content_type: z.string().optional(),
  payload: z.string().optional().describe('the webhook as it came'),
  payload_base64: z.string().optional().describe('the same, when it is no UTF-8'),
}

const operational = {
  message: z.string().optional().describe('what happened, for a person'),
  destination_id: z.string().optional().describe('the destination that it happened to'),
  delivery_id: z.string().optional(),
  reason: z.string().optional(),
}

const timestamp = z.iso.datetime().describe('when it happened, in UTC')

/**
 * The body of every event in the `standard` format: one schema for all providers. `data` may hold more names than are
 * described, by the provider or by who published the event; the described ones are always of their types.
 */
export const standardPayloadSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.enum(['sms_received', 'mms_received']),
    timestamp,
    data: z.looseObject(received),
  }),
  z.object({ type: z.enum(['sms_status', 'mms_status']), timestamp, data: z.looseObject(status) }),
  z.object({ type: z.literal('link_hit'), timestamp, data: z.looseObject(linkHit) }),
  z.object({ type: z.literal('opt_out'), timestamp, data: z.looseObject(optOut) }),
  z.object({
    type: z.enum(['call_started', 'call_answered', 'call_ended', 'call_failed']),
    timestamp,
    data: z.looseObject(call),
  }),
  z.object({
    type: z.enum(['recording_started', 'recording_completed']),
    timestamp,
    data: z.looseObject(recording),
  }),
  z.object({
    type: z.enum(['transcript', 'tool_call', 'transfer_initiated']),
    timestamp,
    data: z.looseObject(voice),
  }),
  z.object({ type: z.literal('unknown'), timestamp, data: z.looseObject(unknown) }),
  z.object({
    type: z.enum([...OPERATIONAL_EVENTS, 'operational']),
    timestamp,
    data: z.looseObject(operational),
  }),
])

export type StandardPayload = z.infer<typeof standardPayloadSchema>

type Fields = Readonly<Record<string, unknown>>

function shapeOf(type: EventType): Readonly<Record<string, z.ZodType>> {
  switch (type) {
    case 'sms_received':
    case 'mms_received':
      return received
    case 'sms_status':
    case 'mms_status':
      return status
    case 'link_hit':
      return linkHit
    case 'opt_out':
      return optOut
    case 'recording_started':
    case 'recording_completed':
      return recording
    case 'unknown':
      return unknown
    case 'operational':
      return operational
    default:
      return call
  }
}

/** Whoever published an event may give a described name another type: it is then left out, as the schema promises. */
function withoutMistyped(type: EventType, data: Fields): Fields {
  const shape = shapeOf(type)
  const isRight = ([name, value]: readonly [string, unknown]): boolean =>
    !Object.hasOwn(shape, name) || shape[name]?.safeParse(value).success === true
  return Object.fromEntries(Object.entries(data).filter(isRight))
}

function messageFields(event: AcceptedEvent, content: EventContent): Fields {
  const kind = kindOf(event.type)
  const about = {
    message_id: content.messageId,
    ...fromTo(event, content),
    ...stated({ message_ref: content.messageRef, campaign_id: content.campaignId }),
  }
  if (kind === 'received') return { ...about, body: content.body, media_urls: content.mediaUrls }
  if (kind !== 'status') return { ...about, ...stated({ body: content.body }) }
  const { status, messageStatus, errorCode } = content
  const word = { status, message_status: messageStatus ?? 'OTHER' }
  return { ...about, ...word, ...stated({ error_code: errorCode }) }
}

function voiceFields({ callSid }: AcceptedEvent, { from, to }: EventContent): Fields {
  return { call_sid: callSid, ...stated({ from, to }) }
}

function fieldsOf(event: AcceptedEvent, content: EventContent): Fields {
  if (event.type === 'unknown') return {}
  return kindOf(event.type) === 'other'
    ? voiceFields(event, content)
    : messageFields(event, content)
}

/** A call's status in `data` is in the words of all providers, where the provider's own is not. */
function withStatus({ type }: AcceptedEvent, { status, data }: EventContent): Fields {
  return kindOf(type) === 'other' ? { ...stated({ status }), ...data } : data
}

function bodyOf(event: AcceptedEvent, content: EventContent): StandardPayload {
  const { type, provider, phoneNumber, assistantId, isStale } = event
  if (type === 'operational') {
    const { name, data } = operationalOf(content)
    const timestamp = occurrenceOf(event, content)
    return { type: name, timestamp, data: withoutMistyped(type, data) }
  }
  const fixed = {
    provider,
    phone_number: phoneNumber,
    assistant_id: assistantId,
    ...(isStale ? { stale: true } : {}),
    ...fieldsOf(event, content),
  }
  const said = type === 'unknown' ? unknownData(event, content) : withStatus(event, content)
  const { stale: _, ...extra } = withoutMistyped(type, said)
  const timestamp = occurrenceOf(event, content)
  // The fixed names come first and win. That the whole is of the schema is what the property test proves.
  return { type, timestamp, data: { ...fixed, ...extra, ...fixed } } as StandardPayload
}

/** Standard Webhooks' `{type, timestamp, data}` (github.com/standard-webhooks), as `standardPayloadSchema` says. */
export const standard: Format = ({ event, content }) => ({
  contentType: 'application/json',
  userAgent: USER_AGENT,
  body: jsonBody(bodyOf(event, content)),
})
