import type { AcceptedEvent } from '../../src/event.ts'
import type { RenderInput } from '../../src/formats/format.ts'
import type { EventContent } from '../../src/providers/provider.ts'
import { sampleEvent } from '../sample-event.ts'

/** What an SMS from Twilio says. */
export function sampleContent(overrides: Partial<EventContent> = {}): EventContent {
  return {
    type: 'sms_received',
    dedupeKey: 'SM1',
    messageId: 'SM1',
    from: '+17035550630',
    to: '+14155551234',
    body: 'hi',
    mediaUrls: [],
    phoneNumber: '+14155551234',
    peerNumber: '+17035550630',
    callSid: null,
    status: '',
    messageStatus: null,
    errorCode: '',
    order: null,
    messageRef: '',
    campaignId: '',
    occurredAt: null,
    data: {},
    ...overrides,
  }
}

/** A content on its way to a destination, in an event made of it, received at 2026-11-21T01:02:03.456Z. */
export function sampleInput(
  content: Partial<EventContent> = {},
  event: Partial<AcceptedEvent> = {},
): RenderInput {
  const whole = sampleContent(content)
  const { type, phoneNumber, peerNumber, callSid, order } = whole
  return {
    event: sampleEvent({ type, phoneNumber, peerNumber, callSid, order, isStale: false, ...event }),
    content: whole,
    destination: {
      id: 'dst_sample',
      name: 'Customer',
      url: 'https://customer.example/hook?a=1&b=2',
      fallbackEmail: 'desk@customer.example',
    },
    serviceId: 'SVC-9',
  }
}
