import type { AcceptedEvent } from '../event.ts'
import { eventId } from '../ids.ts'
import { orientCall } from './orient-call.ts'
import { type EventContent, MalformedPayloadError } from './provider.ts'
import { adapterOf } from './registry.ts'

/**
 * What an event says. One payload may have made several events: the id tells which of its contents is this one's.
 * Throws `MalformedPayloadError`.
 */
export function contentOf(
  event: Pick<
    AcceptedEvent,
    'id' | 'organizationId' | 'provider' | 'phoneNumber' | 'contentType' | 'payload'
  >,
): EventContent {
  const contents = adapterOf(event.provider).read(event.payload, event.contentType)
  const [only] = contents
  if (contents.length === 1 && only !== undefined) return orientCall(only, event.phoneNumber)
  const own = contents.find(
    ({ dedupeKey }) => eventId(event.organizationId, event.provider, dedupeKey) === event.id,
  )
  if (own === undefined) throw new MalformedPayloadError('the payload holds no such event')
  return orientCall(own, event.phoneNumber)
}

/** What is known of an event whose payload cannot be read. */
export function bareContent(
  event: Pick<AcceptedEvent, 'type' | 'phoneNumber' | 'peerNumber' | 'callSid' | 'order'>,
): EventContent {
  const { type, phoneNumber, peerNumber, callSid, order } = event
  return {
    ...{ type, phoneNumber, peerNumber, callSid, order },
    ...{ from: peerNumber ?? '', to: phoneNumber ?? '', dedupeKey: '', messageId: '', body: '' },
    ...{ mediaUrls: [], status: '', messageStatus: null, errorCode: '', messageRef: '' },
    ...{ campaignId: '', occurredAt: null, data: {} },
  }
}
