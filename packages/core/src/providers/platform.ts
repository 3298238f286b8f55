import { z } from 'zod'
import { EVENT_TYPES } from '../event.ts'
import { createContent, toUtc } from './create-content.ts'
import { textOf } from './json-payload.ts'
import { type EventContent, MalformedPayloadError, type ProviderAdapter } from './provider.ts'
import { callOrder, messageStanding, recordingOrder } from './status-rank.ts'

/** The payload of a platform event: what `POST /api/v1/events` took, as one JSON document. */
const platformPayload = z.object({
  type: z.enum(EVENT_TYPES),
  data: z.record(z.string(), z.unknown()),
  call_sid: z.string().optional(),
  phone_number: z.string().optional(),
  idempotency_key: z.string(),
  occurred_at: z.string().optional(),
})
export type PlatformPayload = z.infer<typeof platformPayload>

/** Throws `MalformedPayloadError`; only a payload that this product wrote itself gets here. */
export function parsePlatformPayload(payload: Buffer): PlatformPayload {
  try {
    return platformPayload.parse(JSON.parse(payload.toString('utf8')))
  } catch (cause) {
    throw new MalformedPayloadError('not a platform event', { cause })
  }
}

/** What a status of a message says; nothing for other events, and for one that names no message. */
function standingOf({ type, data }: PlatformPayload): Partial<EventContent> {
  if (!isStatus(type)) return {}
  const messageId = textOf(data.message_id)
  const standing = messageStanding('platform', textOf(data.status), messageId)
  return messageId === '' ? { messageStatus: standing.messageStatus } : standing
}

const isStatus = (type: PlatformPayload['type']): boolean =>
  type === 'sms_status' || type === 'mms_status'

/** A status is about a message to the other side. */
function peerOf({ type, data }: PlatformPayload): string | null {
  const other = isStatus(type) ? data.to : data.from
  return textOf(data.customer_phone_number) || textOf(other) || null
}

function readPlatform(payload: Buffer): readonly EventContent[] {
  const event = parsePlatformPayload(payload)
  const { type, data, call_sid, phone_number, idempotency_key, occurred_at } = event
  const urls = Array.isArray(data.media_urls) ? data.media_urls : []
  return [
    createContent({
      type,
      dedupeKey: idempotency_key,
      messageId: textOf(data.message_id),
      from: textOf(data.from),
      to: textOf(data.to),
      body: textOf(data.body),
      mediaUrls: urls.filter((url): url is string => typeof url === 'string'),
      phoneNumber: phone_number ?? null,
      peerNumber: peerOf(event),
      callSid: call_sid ?? null,
      status: textOf(data.status),
      errorCode: textOf(data.error_code),
      order: callOrder(type, call_sid ?? '') ?? recordingOrder(type, textOf(data.recording_sid)),
      messageRef: textOf(data.message_ref),
      campaignId: textOf(data.campaign_id),
      // As it was published, to the last digit; only another zone is turned into UTC.
      occurredAt: occurred_at?.endsWith('Z') === true ? occurred_at : toUtc(occurred_at ?? ''),
      data,
      ...standingOf(event),
    }),
  ]
}

export const platform: ProviderAdapter = { name: 'platform', read: readPlatform }
