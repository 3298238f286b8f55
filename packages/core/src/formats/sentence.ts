import type { AcceptedEvent } from '../event.ts'
import { objectOf, textOf } from '../providers/json-payload.ts'
import type { EventContent } from '../providers/provider.ts'

/** " (a, b)" of what is not empty; nothing when all is. */
function remarks(...parts: readonly string[]): string {
  const said = parts.filter((part) => part !== '')
  return said.length > 0 ? ` (${said.join(', ')})` : ''
}

function withColon(intro: string, detail: string): string {
  return detail === '' ? intro : `${intro}: ${detail}`
}

/** The text of an incoming message, with its media below: a link each, or the name of what came without one. */
function messageText({ body, mediaUrls, data }: EventContent): string {
  const media: readonly unknown[] =
    mediaUrls.length === 0 && Array.isArray(data.media) ? data.media : []
  const names = media.map((one) => `[${textOf(objectOf(one).name) || 'attachment'}]`)
  return [body, ...mediaUrls, ...names].filter((line) => line !== '').join('\n')
}

function callSentence({ type, callSid }: AcceptedEvent, content: EventContent): string {
  const { data } = content
  const call = callSid === null ? 'A call' : `Call ${callSid}`
  const seconds = textOf(data.duration) === '' ? '' : `${textOf(data.duration)} s`
  const status = textOf(data.status) || content.status
  switch (type) {
    case 'call_started':
      return `${call} started`
    case 'call_answered':
      return `${call} was answered`
    case 'call_ended':
      return `${call} ended${remarks(status, seconds)}`
    case 'call_failed':
      return `${call} failed${remarks(status)}`
    case 'recording_started':
      return `${call} is being recorded`
    case 'recording_completed':
      return withColon(`${call} was recorded${remarks(seconds)}`, textOf(data.recording_url))
    case 'transcript':
      return withColon(`${call}, transcript`, textOf(data.text) || textOf(data.transcript))
    case 'tool_call':
      return withColon(`${call}, tool call`, textOf(data.name) || textOf(data.tool_name))
    case 'transfer_initiated':
      return withColon(`${call} is being transferred`, textOf(data.transfer_to) || textOf(data.to))
    default:
      return ''
  }
}

/** The event for a person to read: an incoming message is its own text, everything else one plain sentence. */
export function sentenceOf(event: AcceptedEvent, content: EventContent): string {
  const { messageId, errorCode, data } = content
  switch (event.type) {
    case 'sms_received':
    case 'mms_received':
      return messageText(content)
    case 'sms_status':
    case 'mms_status': {
      const status = content.status || (content.messageStatus ?? 'unknown').toLowerCase()
      const error = errorCode === '' ? '' : `error ${errorCode}`
      return `Status of message ${messageId}: ${status}${remarks(error, textOf(data.description))}`
    }
    case 'link_hit': {
      const hits = textOf(data.hits) === '' ? '' : `hits: ${textOf(data.hits)}`
      return `${withColon(`Link of message ${messageId} opened`, textOf(data.url))}${remarks(hits)}`
    }
    case 'opt_out':
      return `${event.peerNumber ?? 'Somebody'} opted out`
    case 'operational':
      return withColon('Switchhook', textOf(data.message) || textOf(data.type))
    case 'unknown':
      return withColon(`Event of an unknown type from ${event.provider}`, textOf(data.event_type))
    default:
      return callSentence(event, content)
  }
}
