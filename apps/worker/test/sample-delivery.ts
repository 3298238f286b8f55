import { stringify } from 'node:querystring'
import {
  createDeliveryJob,
  type DeliveryJob,
  type DeliveryRef,
} from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent, Destination } from '@switchhook/core/event'
import type { DeliveryRun } from '@switchhook/core/queue'

/** 2026-11-21T01:02:03.456Z */
export const RECEIVED_AT_MS = Date.UTC(2026, 10, 21, 1, 2, 3, 456)

export const MESSAGE_FIELDS = {
  MessageSid: 'SM99649d01253fc588396cd1eec8377273',
  From: '+17035550630',
  To: '+14155551234',
  Body: "It's working!!!",
}

/** An inbound SMS from Twilio. */
export function sampleEvent(overrides: Partial<AcceptedEvent> = {}): AcceptedEvent {
  return {
    id: 'evt_sample',
    organizationId: 'org_a',
    provider: 'twilio',
    type: 'sms_received',
    receivedAtMs: RECEIVED_AT_MS,
    phoneNumber: '+14155551234',
    peerNumber: '+17035550630',
    callSid: null,
    assistantId: null,
    order: null,
    isStale: false,
    contentType: 'application/x-www-form-urlencoded',
    payload: Buffer.from(stringify(MESSAGE_FIELDS)),
    ...overrides,
  }
}

/** An active destination with a fallback address and three attempts. */
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

/** The job of that event for that destination, as it was made at acceptance. */
export function sampleJob(
  ref: Partial<DeliveryRef> = {},
  event: AcceptedEvent = sampleEvent(),
): DeliveryJob {
  const facts = { createdAtMs: RECEIVED_AT_MS, priorAttempts: 0, requeued: false, ...ref }
  const job = { deliveryId: 'dlv_sample', destinationId: 'dst_sample', ...facts }
  return createDeliveryJob(job, event, 'small')
}

/** The first run of a message's delivery. */
export function sampleRun(facts: Partial<DeliveryRun> = {}): DeliveryRun {
  return {
    ...{ data: sampleJob(), run: 1, interrupted: false, lostRuns: 0, waits: 0 },
    ...{ lane: 'messages', shard: 0 },
    ...facts,
  }
}
