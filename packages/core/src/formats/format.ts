import { isUtf8 } from 'node:buffer'
import {
  type AcceptedEvent,
  type Destination,
  type EventType,
  OPERATIONAL_EVENTS,
  type OperationalEventName,
} from '../event.ts'
import type { EventContent } from '../providers/provider.ts'

export type RenderInput = {
  readonly event: AcceptedEvent
  readonly content: EventContent
  readonly destination: Pick<Destination, 'id' | 'name' | 'url' | 'fallbackEmail'>
  /** The PBX service of the receiving number; empty when it has none. */
  readonly serviceId: string
}

/** What goes over the wire, but for the signature, `formatHeaders` and the destination's own headers. */
export type RenderedRequest = {
  readonly contentType: string
  readonly userAgent: string
  readonly body: Buffer
}

export type Format = (input: RenderInput) => RenderedRequest

export const USER_AGENT = 'Switchhook/1.0'

/** Headers of an event in every format: additive, so that the drop-ins stay drop-ins. Names in lower case. */
export function formatHeaders(
  event: Pick<AcceptedEvent, 'isStale'>,
): Readonly<Record<string, string>> {
  return event.isStale ? { 'switchhook-stale': 'true' } : {}
}

/** When it happened, in UTC; when it was received if the provider does not say. */
export function occurrenceOf(event: AcceptedEvent, content: EventContent): string {
  return content.occurredAt ?? new Date(event.receivedAtMs).toISOString()
}

/** An incoming message, its status, a link hit or an opt-out; not voice and not unknown. */
export function kindOf(type: EventType): 'received' | 'status' | 'link_hit' | 'opt_out' | 'other' {
  if (type === 'sms_received' || type === 'mms_received') return 'received'
  if (type === 'sms_status' || type === 'mms_status') return 'status'
  return type === 'link_hit' || type === 'opt_out' ? type : 'other'
}

/** An operational event's name and what it tells. */
export function operationalOf({ data }: EventContent): {
  readonly name: OperationalEventName | 'operational'
  readonly data: Readonly<Record<string, unknown>>
} {
  const { type, ...rest } = data
  return { name: OPERATIONAL_EVENTS.find((one) => one === type) ?? 'operational', data: rest }
}

/** What an event of a type that we do not know says: what was published, or the webhook as it came. */
export function unknownData(
  event: AcceptedEvent,
  content: EventContent,
): Readonly<Record<string, unknown>> {
  const { provider, contentType, payload } = event
  if (provider === 'platform') return { ...content.data, provider }
  const original = isUtf8(payload)
    ? { payload: payload.toString('utf8') }
    : { payload_base64: payload.toString('base64') }
  return { ...content.data, provider, content_type: contentType, ...original }
}

/**
 * Both sides' numbers, by what the event is about: the receiver of what came in is here, and so is the sender of what a
 * status or a link hit is about. As the provider spells them; for voice and opt-outs as they are registered.
 */
export function sidesOf(
  event: AcceptedEvent,
  { from, to }: EventContent,
): { readonly here: string; readonly there: string } {
  switch (kindOf(event.type)) {
    case 'received':
      return { here: to, there: from }
    case 'status':
    case 'link_hit':
      return { here: from, there: to }
    default:
      return { here: event.phoneNumber ?? '', there: event.peerNumber ?? '' }
  }
}

/** Whose the event is and whom it is for. An opt-out comes in, also where the provider tells of the message before it. */
export function fromTo(
  event: AcceptedEvent,
  content: EventContent,
): { readonly from: string; readonly to: string } {
  if (event.type !== 'opt_out') return { from: content.from, to: content.to }
  const { here, there } = sidesOf(event, content)
  return { from: there, to: here }
}
