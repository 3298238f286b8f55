import { stringify } from 'node:querystring'
import type { AcceptedEvent, Destination } from '../src/event.ts'

/** An inbound SMS from Twilio, as accepted at 2026-11-21T01:02:03.456Z. */
export function sampleEvent(overrides: Partial<AcceptedEvent> = {}): AcceptedEvent {
  return {
    id: 'evt_sample',
    organizationId: 'org_a',
    provider: 'twilio',
    type: 'sms_received',
    receivedAtMs: Date.UTC(2026, 10, 21, 1, 2, 3, 456),
    phoneNumber: '+14155551234',
    peerNumber: '+17035550630',
    callSid: null,
    assistantId: 7,
    order: null,
    isStale: false,
    contentType: 'application/x-www-form-urlencoded',
    payload: Buffer.from(
      stringify({
        MessageSid: 'SM99649d01253fc588396cd1eec8377273',
        From: '+17035550630',
        To: '+14155551234',
        Body: "It's working!!!",
        NumMedia: '0',
      }),
    ),
    ...overrides,
  }
}

/** An active destination of the whole organization, with everything at its default. */
export function sampleDestination(overrides: Partial<Destination> = {}): Destination {
  return {
    id: 'dst_sample',
    organizationId: 'org_a',
    name: 'Sample',
    url: 'https://customer.example/sms',
    format: 'burki',
    eventTypes: ['*'],
    assistantId: null,
    phoneNumber: null,
    filter: null,
    skipStale: false,
    fallbackEmail: 'owner@customer.example',
    successRule: '2xx',
    timeoutMs: 10_000,
    retry: { maxAttempts: 3, delaysSeconds: [5, 15], jitter: false },
    maxConcurrency: 50,
    rateLimitPerSecond: null,
    freshnessSeconds: null,
    headers: {},
    sealedHeaders: null,
    status: 'active',
    disabledReason: null,
    secret: 'sealed',
    previousSecret: null,
    previousSecretExpiresAtMs: null,
    ed25519Key: null,
    previousEd25519Key: null,
    previousEd25519KeyExpiresAtMs: null,
    ...overrides,
  }
}
