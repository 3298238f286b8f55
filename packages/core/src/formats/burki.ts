import type { AcceptedEvent } from '../event.ts'
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

/** Burki names itself only on messages (providers.md E.1). */
const SMS_USER_AGENT = 'Burki-SMS-Webhook/1.0'

function receivedData({ provider }: AcceptedEvent, content: EventContent): unknown {
  const { media } = content.data
  return {
    message_id: content.messageId,
    from: content.from,
    to: content.to,
    body: content.body,
    media_urls: content.mediaUrls,
    provider,
    // Kudosity sends the media themselves: Burki has no name for them, and leaving them out would lose them.
    ...(Array.isArray(media) && media.length > 0 ? { media } : {}),
  }
}

/** Statuses, link hits and opt-outs: Burki's envelope of a message, with what there is to know of the type. */
function aboutData(event: AcceptedEvent, content: EventContent): unknown {
  const { messageId, errorCode, messageRef, status, body } = content
  const kind = kindOf(event.type)
  const fixed = {
    message_id: messageId,
    ...fromTo(event, content),
    ...(kind === 'status' ? { status } : {}),
    ...stated({ error_code: errorCode, message_ref: messageRef }),
    ...(kind === 'opt_out' ? stated({ body }) : {}),
  }
  return { ...fixed, ...content.data, ...fixed, provider: event.provider }
}

/** Burki's envelope of messages; its timestamp is when the message was received (providers.md E.1). */
function envelope(type: string, { receivedAtMs }: AcceptedEvent, data: unknown): unknown {
  return { type, timestamp: new Date(receivedAtMs).toISOString(), data }
}

/** `{event, call_sid, …data, assistant_id, timestamp}`: the fixed names win over equal ones in the data. */
function voiceBody(event: AcceptedEvent, content: EventContent): unknown {
  const fixed = { event: event.type, call_sid: event.callSid }
  const caller = event.provider === 'platform' ? null : event.peerNumber
  return {
    ...fixed,
    ...stated({ customer_phone_number: caller }),
    ...content.data,
    ...fixed,
    assistant_id: event.assistantId,
    timestamp: occurrenceOf(event, content),
  }
}

function bodyOf(event: AcceptedEvent, content: EventContent): unknown {
  if (event.type === 'unknown') return envelope('unknown', event, unknownData(event, content))
  if (event.type === 'operational') {
    const { name, data } = operationalOf(content)
    return envelope(name, event, data)
  }
  switch (kindOf(event.type)) {
    case 'received':
      // Burki knows one kind of incoming message; media_urls tells an MMS.
      return envelope('sms_received', event, receivedData(event, content))
    case 'other':
      return voiceBody(event, content)
    default:
      return envelope(event.type, event, aboutData(event, content))
  }
}

/** Burki's webhooks: messages as `{type, timestamp, data}`, voice events flat (docs.burki.dev; contract, Fine print 9). */
export const burki: Format = ({ event, content }) => ({
  contentType: 'application/json',
  userAgent: kindOf(event.type) === 'other' ? USER_AGENT : SMS_USER_AGENT,
  body: jsonBody(bodyOf(event, content)),
})
