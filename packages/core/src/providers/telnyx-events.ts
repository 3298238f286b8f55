import type { EventType } from '../event.ts'
import { createContent, keyOfBytes, secondsBetween, stated, toUtc } from './create-content.ts'
import { toNumber } from './e164.ts'
import { type JsonObject, listOf, objectOf, textOf } from './json-payload.ts'
import { type EventContent, MalformedPayloadError } from './provider.ts'
import { callOrder, messageStanding, recordingOrder } from './status-rank.ts'

const MAX_RECIPIENTS = 50

/** One event as Telnyx wraps it: `data.{id, event_type, occurred_at, payload}`. */
type Envelope = {
  readonly type: string
  readonly dedupeKey: string
  readonly occurredAt: string | null
  readonly payload: JsonObject
}

function unwrap(root: JsonObject, bytes: Buffer): Envelope {
  const data = objectOf(root.data)
  const type = textOf(data.event_type)
  if (type === '') throw new MalformedPayloadError('data.event_type is missing')
  return {
    type,
    dedupeKey: textOf(data.id) || keyOfBytes(bytes),
    occurredAt: toUtc(textOf(data.occurred_at)),
    payload: objectOf(data.payload),
  }
}

/** `"+1…"` in voice and WhatsApp, `{phone_number}` in messages. */
function phoneOf(value: unknown): string {
  return textOf(value) || textOf(objectOf(value).phone_number)
}

type Recipient = { readonly number: string; readonly status: string }

/** Everybody a message is for, each once: `to`, then `cc`. */
function recipientsOf(payload: JsonObject): readonly Recipient[] {
  const recipients = new Map<string, Recipient>()
  for (const value of [...listOf(payload.to), ...listOf(payload.cc)]) {
    const number = phoneOf(value)
    if (number === '' || recipients.has(number)) continue
    if (recipients.size === MAX_RECIPIENTS) break
    recipients.set(number, { number, status: textOf(objectOf(value).status) })
  }
  return [...recipients.values()]
}

/** The event is the first recipient's; the others' are told apart by their number. */
function keyFor({ dedupeKey }: Envelope, number: string, index: number): string {
  return index === 0 ? dedupeKey : `${dedupeKey}.${number}`
}

function mediaUrls(payload: JsonObject): string[] {
  return listOf(payload.media).flatMap((medium) => textOf(objectOf(medium).url) || [])
}

/** developers.telnyx.com/docs/messaging/messages/receiving-webhooks. A group message is one for each who got it. */
function readReceived(envelope: Envelope): readonly EventContent[] {
  const { payload, occurredAt } = envelope
  const recipients = recipientsOf(payload)
  if (recipients.length === 0) throw new MalformedPayloadError('a message needs to')
  const media = mediaUrls(payload)
  const isMms = media.length > 0 || textOf(payload.type).toUpperCase() === 'MMS'
  const autoresponse = textOf(payload.autoresponse_type)
  const from = phoneOf(payload.from)
  const isGroup = recipients.length > 1
  return recipients.flatMap(({ number }, index) => {
    const shared = {
      messageId: textOf(payload.id),
      from,
      to: number,
      body: textOf(payload.text),
      phoneNumber: toNumber(number),
      peerNumber: toNumber(from),
      occurredAt: toUtc(textOf(payload.received_at)) ?? occurredAt,
    }
    const dedupeKey = keyFor(envelope, number, index)
    const message = createContent({
      ...shared,
      type: isMms ? 'mms_received' : 'sms_received',
      dedupeKey,
      mediaUrls: media,
      data: stated({
        subject: textOf(payload.subject),
        autoresponse_type: autoresponse,
        recipients: isGroup ? recipients.map((one) => one.number) : undefined,
      }),
    })
    if (autoresponse.toUpperCase() !== 'STOP') return [message]
    const optOutKey = `${dedupeKey}.opt_out`
    const data = { source: 'SMS_INBOUND' }
    return [message, createContent({ ...shared, type: 'opt_out', dedupeKey: optOutKey, data })]
  })
}

/** Each recipient of a message has a status of its own. */
function readStatus(envelope: Envelope): readonly EventContent[] {
  const { payload, occurredAt } = envelope
  const from = phoneOf(payload.from)
  const messageId = textOf(payload.id)
  const error = objectOf(listOf(payload.errors)[0])
  const found = recipientsOf(payload)
  const recipients = found.length > 0 ? found : [{ number: '', status: '' }]
  return recipients.map(({ number, status: stands }, index) => {
    const status = stands || envelope.type.slice('message.'.length)
    return createContent({
      ...messageStanding('telnyx', status, messageId, number),
      type: textOf(payload.type).toUpperCase() === 'MMS' ? 'mms_status' : 'sms_status',
      dedupeKey: keyFor(envelope, number, index),
      messageId,
      from,
      to: number,
      body: textOf(payload.text),
      phoneNumber: toNumber(from),
      peerNumber: toNumber(number),
      status,
      errorCode: textOf(error.code),
      occurredAt,
      data: stated({ description: textOf(error.detail) || textOf(error.title) }),
    })
  })
}

/** Causes of a hangup that never follow an answer, and what Twilio calls such a call: one word for one thing. */
const NEVER_CONNECTED: ReadonlyMap<string, string> = new Map([
  ['call_rejected', 'failed'],
  ['no_answer', 'no-answer'],
  ['no_user_response', 'no-answer'],
  ['not_found', 'failed'],
  ['originator_cancel', 'canceled'],
  ['subscriber_absent', 'failed'],
  ['timeout', 'no-answer'],
  ['unallocated_number', 'failed'],
  ['user_busy', 'busy'],
])

const CALL_STATUS: Readonly<Partial<Record<EventType, string>>> = {
  call_started: 'initiated',
  call_answered: 'in-progress',
  call_ended: 'completed',
}

const causeOf = (payload: JsonObject): string => textOf(payload.hangup_cause).toLowerCase()

function callTypeOf({ type, payload }: Envelope): EventType | undefined {
  if (type === 'call.initiated') return 'call_started'
  if (type === 'call.answered') return 'call_answered'
  if (type !== 'call.hangup') return undefined
  return NEVER_CONNECTED.has(causeOf(payload)) ? 'call_failed' : 'call_ended'
}

/**
 * The call is the leg that `call_control_id` names: it is what commands are given to, and Burki's `call_sid`. A session
 * has several legs, of which one may end while the call goes on. A recording names only leg and session.
 */
function callSidOf(payload: JsonObject): string {
  return textOf(payload.call_control_id) || (callAliasesOf(payload)[0] ?? '')
}

/** What else the call is called, the nearest first. */
export function callAliasesOf(payload: JsonObject): readonly string[] {
  return [textOf(payload.call_leg_id), textOf(payload.call_session_id)].filter((id) => id !== '')
}

/** Only `call.initiated` tells the direction for certain; a call of unknown direction is taken for one that came in. */
function partiesOf(payload: JsonObject) {
  const from = phoneOf(payload.from)
  const to = phoneOf(payload.to)
  const direction = textOf(payload.direction)
  const isOutgoing = direction === 'outgoing' || direction === 'outbound'
  const [own, customer] = isOutgoing ? [from, to] : [to, from]
  return { from, to, direction, own, customer }
}

/** developers.telnyx.com/docs/voice/programmable-voice/receiving-webhooks. */
function readCall(envelope: Envelope, type: EventType): EventContent {
  const { payload, occurredAt, dedupeKey } = envelope
  const { from, to, direction, own, customer } = partiesOf(payload)
  const callSid = callSidOf(payload)
  const isOver = type === 'call_ended' || type === 'call_failed'
  const cause = causeOf(payload)
  const startedAt = toUtc(textOf(payload.start_time))
  const endedAt = toUtc(textOf(payload.end_time)) ?? occurredAt
  return createContent({
    type,
    dedupeKey,
    from,
    to,
    phoneNumber: toNumber(own),
    peerNumber: toNumber(customer),
    callSid: callSid || null,
    callAliases: callAliasesOf(payload),
    status: cause || envelope.type.slice('call.'.length),
    order: callOrder(type, callSid),
    occurredAt,
    data: stated({
      customer_phone_number: customer,
      direction,
      status: CALL_STATUS[type] ?? NEVER_CONNECTED.get(cause),
      duration: isOver ? secondsBetween(startedAt, endedAt) : undefined,
      hangup_cause: cause,
      hangup_source: textOf(payload.hangup_source),
      sip_hangup_cause: textOf(payload.sip_hangup_cause),
      started_at: startedAt,
      call_session_id: textOf(payload.call_session_id),
      call_leg_id: textOf(payload.call_leg_id),
      client_state: textOf(payload.client_state),
    }),
  })
}

const CHANNELS: ReadonlyMap<string, number> = new Map([
  ['single', 1],
  ['dual', 2],
])

/** The URLs are good for ten minutes. */
function readRecording(envelope: Envelope): EventContent {
  const { payload, occurredAt, dedupeKey } = envelope
  const type = 'recording_completed'
  const { from, to, own, customer } = partiesOf(payload)
  const recordingSid = textOf(payload.recording_id)
  const urls = objectOf(payload.recording_urls)
  const startedAt = toUtc(textOf(payload.recording_started_at))
  const endedAt = toUtc(textOf(payload.recording_ended_at))
  return createContent({
    type,
    dedupeKey,
    from,
    to,
    phoneNumber: toNumber(own),
    peerNumber: toNumber(customer),
    callSid: callSidOf(payload) || null,
    callAliases: callAliasesOf(payload),
    status: 'saved',
    order: recordingOrder(type, recordingSid),
    occurredAt,
    data: stated({
      recording_sid: recordingSid,
      recording_url: textOf(urls.mp3) || textOf(urls.wav),
      recording_urls: stated({ mp3: textOf(urls.mp3), wav: textOf(urls.wav) }),
      status: 'saved',
      duration: secondsBetween(startedAt, endedAt),
      channels: CHANNELS.get(textOf(payload.channels)),
      started_at: startedAt,
      ended_at: endedAt,
      call_session_id: textOf(payload.call_session_id),
      call_leg_id: textOf(payload.call_leg_id),
    }),
  })
}

/** Kept and forwarded as it is. */
function readUnknown(envelope: Envelope): EventContent {
  const { payload, occurredAt, dedupeKey, type } = envelope
  const { from, to, own, customer } = partiesOf({ ...payload, to: listOf(payload.to)[0] })
  return createContent({
    type: 'unknown',
    dedupeKey,
    from,
    to,
    body: textOf(payload.text),
    phoneNumber: toNumber(own),
    peerNumber: toNumber(customer),
    callSid: callSidOf(payload) || null,
    callAliases: callAliasesOf(payload),
    occurredAt,
    data: { event_type: type },
  })
}

const STATUS_TYPES: ReadonlySet<string> = new Set([
  'message.sent',
  'message.finalized',
  'message.read',
])

/** The events in a webhook; `bytes` are what `root` was parsed from. Throws `MalformedPayloadError`. */
export function readTelnyxEvent(root: JsonObject, bytes: Buffer): readonly EventContent[] {
  const envelope = unwrap(root, bytes)
  if (envelope.type === 'message.received') return readReceived(envelope)
  if (STATUS_TYPES.has(envelope.type)) return readStatus(envelope)
  const callType = callTypeOf(envelope)
  if (callType !== undefined) return [readCall(envelope, callType)]
  if (envelope.type === 'call.recording.saved') return [readRecording(envelope)]
  return [readUnknown(envelope)]
}

/** The numbers that may be the tenant's own, likeliest first; none where the event names none. */
export function numbersOf(root: JsonObject): readonly string[] {
  const payload = objectOf(objectOf(root.data).payload)
  const from = phoneOf(payload.from)
  const to = recipientsOf(payload).map(({ number }) => number)
  const direction = textOf(payload.direction)
  const isOutgoing = direction === 'outgoing' || direction === 'outbound'
  const numbers = isOutgoing ? [from, ...to] : [...to, from]
  return [...new Set(numbers.flatMap((number) => toNumber(number) ?? []))]
}
