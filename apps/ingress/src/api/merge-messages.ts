import { setImmediate as nextTurn } from 'node:timers/promises'
import { contentOf } from '@switchhook/core/providers/content-of'
import type { EventContent, MessageStatus } from '@switchhook/core/providers/provider'
import {
  directionOf,
  type MessageDirection,
  type MessageEvent,
} from '@switchhook/core/store/sms-log-queries'

/** A message as its events tell of it: what came in, or the statuses of what went out. */
export type Message = {
  /** What tells it from every other of its organization. */
  readonly key: readonly string[]
  /** Of its newest event. */
  readonly eventId: string
  readonly provider: string
  /** The provider's id; empty when it gave none. */
  readonly messageId: string
  readonly direction: MessageDirection
  readonly from: string | null
  readonly to: string | null
  readonly body: string
  readonly mediaUrls: readonly string[]
  /** In one word for all providers. */
  readonly status: string
  /** The provider's own word; empty when it gave none. */
  readonly providerStatus: string
  readonly errorCode: string
  readonly errorMessage: string
  readonly assistantId: number | null
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

/** Burki's words for what becomes of a message (docs.burki.dev, Get SMS Status, SMS logs). */
const UNIFIED: Readonly<Record<MessageStatus, string>> = {
  ACCEPTED: 'queued',
  SENT: 'sent',
  DELIVERED: 'delivered',
  FAILED: 'failed',
  SOFT_BOUNCE: 'failed',
  HARD_BOUNCE: 'failed',
  REJECTED: 'failed',
  OTHER: 'unknown',
}

/** Undefined for a payload that cannot be read any more: its columns are shown all the same. */
function readContent(event: MessageEvent): EventContent | undefined {
  try {
    return contentOf(event)
  } catch {
    return undefined
  }
}

type Telling = Message & { readonly isStale: boolean }

function messageOf(event: MessageEvent): Telling {
  const content = readContent(event)
  const direction = directionOf(event.type)
  const isInbound = direction === 'inbound'
  const messageId = content?.messageId ?? ''
  const own = event.phoneNumber ?? ''
  const peer = event.peerNumber ?? ''
  const messageStatus = content?.messageStatus ?? 'OTHER'
  const description = content?.data.description
  return {
    key: messageId === '' ? [event.id] : [event.provider, direction, own, peer, messageId],
    eventId: event.id,
    provider: event.provider,
    messageId,
    direction,
    from: (isInbound ? peer : own) || content?.from || null,
    to: (isInbound ? own : peer) || content?.to || null,
    body: content?.body ?? '',
    mediaUrls: content?.mediaUrls ?? [],
    status: isInbound ? 'received' : UNIFIED[messageStatus],
    providerStatus: content?.status ?? '',
    errorCode: content?.errorCode ?? '',
    errorMessage: typeof description === 'string' ? description : '',
    assistantId: event.assistantId,
    createdAtMs: event.receivedAtMs,
    updatedAtMs: event.receivedAtMs,
    isStale: event.isStale,
  }
}

/** `known` with what an earlier event adds. The newest status counts, but for one that came too late to say anything. */
function merge(known: Telling, earlier: Telling): Telling {
  const telling = known.isStale && !earlier.isStale ? earlier : known
  const { status, providerStatus, errorCode, errorMessage, isStale } = telling
  return {
    ...known,
    ...{ status, providerStatus, errorCode, errorMessage, isStale },
    body: known.body || earlier.body,
    mediaUrls: known.mediaUrls.length > 0 ? known.mediaUrls : earlier.mediaUrls,
    assistantId: known.assistantId ?? earlier.assistantId,
    createdAtMs: earlier.createdAtMs,
  }
}

const EVENTS_AT_A_TIME = 200

/** One message for all events that name it, newest event first, as the events are. Lets other work in between. */
export async function mergeMessages(events: readonly MessageEvent[]): Promise<Message[]> {
  const messages = new Map<string, Telling>()
  for (const [index, event] of events.entries()) {
    if (index > 0 && index % EVENTS_AT_A_TIME === 0) await nextTurn()
    const message = messageOf(event)
    const key = message.key.join('\0')
    const known = messages.get(key)
    messages.set(key, known === undefined ? message : merge(known, message))
  }
  return [...messages.values()]
}
