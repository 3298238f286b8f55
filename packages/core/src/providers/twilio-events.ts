import type { EventType } from '../event.ts'
import { createContent, keyOfBytes, stated, toUtc, wholeNumber } from './create-content.ts'
import { toNumber } from './e164.ts'
import { first, type Params } from './form.ts'
import { type EventContent, MalformedPayloadError } from './provider.ts'
import { callOrder, messageStanding, recordingOrder } from './status-rank.ts'

const MAX_MEDIA = 10
/** Said of a message that comes in; anything else is said of one that went out. */
const INCOMING = new Set(['', 'received', 'receiving'])

function mediaUrls(params: Params): string[] {
  const count = Math.min(Number.parseInt(first(params, 'NumMedia'), 10) || 0, MAX_MEDIA)
  const urls: string[] = []
  for (let index = 0; index < count; index += 1) {
    const url = first(params, `MediaUrl${index}`)
    if (url !== '') urls.push(url)
  }
  return urls
}

/** twilio.com/docs/messaging/guides/webhook-request. With STOP it is an opt-out besides the message that it is. */
function readIncoming(params: Params, messageId: string): readonly EventContent[] {
  const from = first(params, 'From')
  const to = first(params, 'To')
  if (to === '') throw new MalformedPayloadError('a message needs To')
  const media = mediaUrls(params)
  const shared = {
    messageId,
    from,
    to,
    body: first(params, 'Body'),
    phoneNumber: toNumber(to),
    peerNumber: toNumber(from),
  }
  const message = createContent({
    ...shared,
    type: media.length > 0 ? 'mms_received' : 'sms_received',
    dedupeKey: messageId,
    mediaUrls: media,
    data: stated({
      messaging_service_sid: first(params, 'MessagingServiceSid'),
      opt_out_type: first(params, 'OptOutType'),
      profile_name: first(params, 'ProfileName'),
    }),
  })
  if (first(params, 'OptOutType').toUpperCase() !== 'STOP') return [message]
  const dedupeKey = `${messageId}.opt_out`
  const data = { source: 'SMS_INBOUND' }
  return [message, createContent({ ...shared, type: 'opt_out', dedupeKey, data })]
}

/** twilio.com/docs/messaging/guides/track-outbound-message-status. A scheduled message has no sender yet. */
function readMessageStatus(params: Params, messageId: string, status: string): EventContent {
  const from = first(params, 'From')
  const to = first(params, 'To')
  return createContent({
    ...messageStanding('twilio', status, messageId),
    type: messageId.startsWith('MM') ? 'mms_status' : 'sms_status',
    dedupeKey: `${messageId}.${status}`,
    messageId,
    from,
    to,
    body: first(params, 'Body'),
    phoneNumber: toNumber(from),
    peerNumber: toNumber(to),
    status,
    errorCode: first(params, 'ErrorCode'),
    data: stated({
      description: first(params, 'ErrorMessage') || first(params, 'ChannelStatusMessage'),
      messaging_service_sid: first(params, 'MessagingServiceSid'),
      raw_dlr_done_date: first(params, 'RawDlrDoneDate'),
    }),
  })
}

/** twilio.com/docs/voice/api/call-resource, CallStatus. */
const CALL_TYPES: ReadonlyMap<string, EventType> = new Map([
  ['queued', 'call_started'],
  ['initiated', 'call_started'],
  ['ringing', 'call_started'],
  ['in-progress', 'call_answered'],
  ['completed', 'call_ended'],
  ['busy', 'call_failed'],
  ['failed', 'call_failed'],
  ['no-answer', 'call_failed'],
  ['canceled', 'call_failed'],
])

/** A call is queued, initiated and rings, but starts once; every later stage is its own event. */
function callKey(type: EventType, params: Params): string {
  const callSid = first(params, 'CallSid')
  if (type === 'call_started') return `${callSid}.${type}`
  const sequence = first(params, 'SequenceNumber')
  return `${callSid}.${first(params, 'CallStatus')}${sequence === '' ? '' : `.${sequence}`}`
}

function readCall(params: Params, type: EventType): EventContent {
  const callSid = first(params, 'CallSid')
  const from = first(params, 'From') || first(params, 'Caller')
  const to = first(params, 'To') || first(params, 'Called')
  const direction = first(params, 'Direction')
  const isOutgoing = direction.startsWith('outbound') || direction === 'trunking-terminating'
  const customer = isOutgoing ? to : from
  return createContent({
    type,
    dedupeKey: callKey(type, params),
    from,
    to,
    phoneNumber: toNumber(isOutgoing ? from : to),
    peerNumber: toNumber(customer),
    callSid,
    status: first(params, 'CallStatus'),
    errorCode: first(params, 'ErrorCode'),
    order: callOrder(type, callSid),
    occurredAt: toUtc(first(params, 'Timestamp')),
    data: stated({
      customer_phone_number: customer,
      direction,
      status: first(params, 'CallStatus'),
      duration: wholeNumber(first(params, 'CallDuration')),
      sip_response_code: first(params, 'SipResponseCode'),
      parent_call_sid: first(params, 'ParentCallSid'),
      caller_name: first(params, 'CallerName'),
      forwarded_from: first(params, 'ForwardedFrom'),
      recording_sid: first(params, 'RecordingSid'),
      recording_url: first(params, 'RecordingUrl'),
    }),
  })
}

/**
 * twilio.com/docs/voice/api/recording, RecordingStatus. `absent` closes a recording that was started, so that it is a
 * completed one, but one whose URL leads nowhere.
 */
const RECORDING_TYPES: ReadonlyMap<string, EventType> = new Map([
  ['in-progress', 'recording_started'],
  ['completed', 'recording_completed'],
  ['absent', 'recording_completed'],
])

/** It names no numbers: the call tells whose it is. */
function readRecording(params: Params, type: EventType): EventContent {
  const recordingSid = first(params, 'RecordingSid')
  const status = first(params, 'RecordingStatus')
  return createContent({
    type,
    dedupeKey: `${recordingSid}.${status}`,
    callSid: first(params, 'CallSid') || null,
    status,
    errorCode: first(params, 'ErrorCode'),
    order: recordingOrder(type, recordingSid),
    data: stated({
      recording_sid: recordingSid,
      recording_url: status === 'absent' ? '' : first(params, 'RecordingUrl'),
      status,
      duration: wholeNumber(first(params, 'RecordingDuration')),
      channels: wholeNumber(first(params, 'RecordingChannels')),
      source: first(params, 'RecordingSource'),
      track: first(params, 'RecordingTrack'),
      started_at: toUtc(first(params, 'RecordingStartTime')),
    }),
  })
}

/** The events in a webhook's parameters; `payload` are the bytes they were parsed from. */
export function readTwilioParams(params: Params, payload: Buffer): readonly EventContent[] {
  const recording = RECORDING_TYPES.get(first(params, 'RecordingStatus'))
  if (recording !== undefined && first(params, 'RecordingSid') !== '') {
    return [readRecording(params, recording)]
  }
  const messageId = first(params, 'MessageSid') || first(params, 'SmsSid')
  if (messageId !== '') {
    const status = first(params, 'MessageStatus') || first(params, 'SmsStatus')
    return INCOMING.has(status)
      ? readIncoming(params, messageId)
      : [readMessageStatus(params, messageId, status)]
  }
  const callSid = first(params, 'CallSid')
  const call = CALL_TYPES.get(first(params, 'CallStatus'))
  if (call !== undefined && callSid !== '') return [readCall(params, call)]
  // Authentic, but of a kind we do not know: kept and forwarded as it is.
  const from = first(params, 'From')
  const to = first(params, 'To')
  return [
    createContent({
      type: 'unknown',
      dedupeKey: keyOfBytes(payload),
      from,
      to,
      body: first(params, 'Body'),
      phoneNumber: toNumber(to),
      peerNumber: toNumber(from),
      callSid: callSid || null,
    }),
  ]
}
