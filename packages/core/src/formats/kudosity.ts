import type { AcceptedEvent, EventType } from '../event.ts'
import { stated } from '../providers/create-content.ts'
import { type JsonObject, parseJsonObject } from '../providers/json-payload.ts'
import type { EventContent } from '../providers/provider.ts'
import {
  type Format,
  kindOf,
  occurrenceOf,
  type RenderInput,
  sidesOf,
  USER_AGENT,
  unknownData,
} from './format.ts'
import { jsonBody } from './json-body.ts'
import { kudosityNameOf, typeOfKudosityName } from './kudosity-types.ts'

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Kudosity spells numbers without "+" (61491570006); names and short codes have none. */
function number(text: string): string {
  return /^\+\d+$/.test(text) ? text.slice(1) : text
}

/** A payload that Kudosity itself sent for this very event; undefined for its V1 and for other providers. */
function ownPayload({ provider, type, payload }: AcceptedEvent): JsonObject | undefined {
  if (provider !== 'kudosity') return undefined
  try {
    const document = parseJsonObject(payload)
    if (typeof document.event_type !== 'string') return undefined
    const said: EventType = typeOfKudosityName(document.event_type) ?? 'unknown'
    return said === type ? document : undefined
  } catch {
    return undefined
  }
}

function isMultimedia(type: EventType): boolean {
  return type === 'mms_received' || type === 'mms_status'
}

function mediaLinks({ mediaUrls }: EventContent): JsonObject {
  return mediaUrls.length > 0 ? { content_urls: mediaUrls } : {}
}

/** A message that was sent to the other side, with every name that Kudosity describes, empty where nobody knows it. */
function outgoing(event: AcceptedEvent, content: EventContent, known: JsonObject): JsonObject {
  const { here, there } = sidesOf(event, content)
  const numbers = { recipient: number(there), sender: number(here) }
  return { type: 'SMS', id: '', message: '', message_ref: content.messageRef, ...numbers, ...known }
}

function messageOriginated(event: AcceptedEvent, content: EventContent): JsonObject {
  const { type } = event
  const { routed_via, last_message, media } = content.data
  // Others give URLs where Kudosity gives the bytes: they go by its own name for URLs of media.
  const multimedia = isMultimedia(type)
    ? { media: Array.isArray(media) ? media : [], ...mediaLinks(content) }
    : {}
  return {
    type: isMultimedia(type) ? 'MMS' : 'SMS',
    id: content.messageId,
    message: content.body,
    sender: number(content.from),
    recipient: number(content.to),
    ...stated({ routed_via }),
    ...multimedia,
    ...(isObject(last_message) ? { last_message: outgoing(event, content, last_message) } : {}),
  }
}

function status({ type }: AcceptedEvent, content: EventContent): JsonObject {
  const { routed_via, description } = content.data
  const reason = content.errorCode === '' ? '' : `error ${content.errorCode}`
  return {
    type: isMultimedia(type) ? 'MMS' : 'SMS',
    id: content.messageId,
    message_ref: content.messageRef,
    recipient: number(content.to),
    sender: number(content.from),
    status: content.messageStatus ?? 'OTHER',
    ...stated({ routed_via, description: description ?? reason, campaign_id: content.campaignId }),
  }
}

/**
 * The outgoing message that a link hit or opt-out is about: its `recipient` is the person. Who does not know it (Twilio
 * and Telnyx know only the STOP itself) gives that message, the two numbers in the places a receiver expects them.
 */
function sourceMessage(event: AcceptedEvent, content: EventContent): JsonObject {
  const { source_message } = content.data
  const itself = { id: content.messageId, message: content.body }
  return outgoing(event, content, isObject(source_message) ? source_message : itself)
}

function subjectOf(event: AcceptedEvent, content: EventContent): JsonObject {
  const { hits, url, source } = content.data
  switch (kindOf(event.type)) {
    case 'received':
      return { mo: messageOriginated(event, content) }
    case 'status':
      return { status: status(event, content) }
    case 'link_hit': {
      const source_message = sourceMessage(event, content)
      return { link_hit: { hits: hits ?? 1, url: url ?? '', source_message } }
    }
    case 'opt_out': {
      const source_message = sourceMessage(event, content)
      return { opt_out: { source: source ?? 'SMS_INBOUND', source_message } }
    }
    case 'other': {
      if (event.type === 'unknown') return { event: unknownData(event, content) }
      if (event.type === 'operational') return { event: content.data }
      const fixed = { call_sid: event.callSid, assistant_id: event.assistantId }
      return { call: { ...fixed, ...content.data, ...fixed } }
    }
  }
}

function bodyOf({ event, content, destination }: RenderInput): unknown {
  const webhook = { webhook_id: destination.id, webhook_name: destination.name }
  const own = ownPayload(event)
  if (own !== undefined) {
    const { event_type, timestamp, ...rest } = own
    return { event_type, timestamp, ...webhook, ...rest, ...webhook }
  }
  return {
    event_type: kudosityNameOf(event.type),
    timestamp: occurrenceOf(event, content),
    ...webhook,
    ...subjectOf(event, content),
  }
}

/**
 * Kudosity's events (developers.kudosity.com, About webhooks). What Kudosity itself sent goes on as it came, whatever
 * its type, under the subscriber's own `webhook_id` and `webhook_name`. Kudosity has no voice events: they are
 * `{event_type: "CALL_ENDED", …, call: {call_sid, assistant_id, …}}`; an unknown event of another provider is `UNKNOWN`.
 */
export const kudosity: Format = (input) => ({
  contentType: 'application/json',
  userAgent: USER_AGENT,
  body: jsonBody(bodyOf(input)),
})
