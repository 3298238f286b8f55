import type { AcceptedEvent } from '../event.ts'
import { parsePlatformPayload } from '../providers/platform.ts'
import type { EventContent } from '../providers/provider.ts'
import { type Format, USER_AGENT } from './format.ts'

/** Burki names itself only on messages (providers.md E.1). */
const SMS_USER_AGENT = 'Burki-SMS-Webhook/1.0'

function messageBody(event: AcceptedEvent, content: EventContent): unknown {
  return {
    // Burki knows one kind of incoming message; media_urls tells an MMS.
    type: event.type === 'mms_received' ? 'sms_received' : event.type,
    timestamp: new Date(event.receivedAtMs).toISOString(),
    data: {
      message_id: content.messageId,
      from: content.from,
      to: content.to,
      body: content.body,
      media_urls: content.mediaUrls,
      provider: event.provider,
    },
  }
}

/** `{event, call_sid, …data, assistant_id, timestamp}`: the fixed names win over equal ones in the data. */
function voiceBody(event: AcceptedEvent): unknown {
  const { data, occurred_at } = parsePlatformPayload(event.payload)
  return {
    ...data,
    event: event.type,
    call_sid: event.callSid,
    assistant_id: event.assistantId,
    timestamp: occurred_at ?? new Date(event.receivedAtMs).toISOString(),
  }
}

const MESSAGES = new Set(['sms_received', 'mms_received', 'sms_status', 'mms_status'])

/** Burki's webhooks: messages as `{type, timestamp, data}`, voice events flat (docs.burki.dev; contract, Fine print 9). */
export const burki: Format = ({ event, content }) => {
  const isMessage = event.provider !== 'platform' || MESSAGES.has(event.type)
  return {
    contentType: 'application/json',
    userAgent: isMessage ? SMS_USER_AGENT : USER_AGENT,
    body: Buffer.from(JSON.stringify(isMessage ? messageBody(event, content) : voiceBody(event))),
  }
}
