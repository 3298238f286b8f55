import type { AcceptedEvent } from '../src/event.ts'
import { deliveryId, randomId } from '../src/ids.ts'
import type { AttemptRecord, DeliveryRecord } from '../src/store/delivery-log.ts'
import type { JournalEntry } from '../src/store/journal.ts'

export const ORGANIZATION = 'org_test'
export const DESTINATION = 'dst_test'

export function createEvent(facts: Partial<AcceptedEvent> = {}): AcceptedEvent {
  return {
    id: randomId('evt_'),
    organizationId: ORGANIZATION,
    provider: 'twilio',
    type: 'sms_received',
    receivedAtMs: Date.now(),
    phoneNumber: '+14155550100',
    peerNumber: '+14155550101',
    callSid: null,
    assistantId: null,
    order: null,
    isStale: false,
    contentType: 'application/x-www-form-urlencoded',
    payload: Buffer.from('Body=hello'),
    ...facts,
  }
}

export function createEntry(
  facts: Partial<AcceptedEvent> = {},
  destinationId = DESTINATION,
): JournalEntry {
  const event = createEvent(facts)
  return { event, deliveries: [{ deliveryId: deliveryId(event.id, destinationId), destinationId }] }
}

export function createAttempt(facts: Partial<AttemptRecord> = {}): AttemptRecord {
  return {
    attempt: 1,
    attemptedAtMs: Date.now(),
    url: 'https://example.com/hook',
    webhookType: 'sms_received',
    requestContentType: 'application/json',
    requestBodyBase64: Buffer.from('{"a":1}').toString('base64'),
    statusCode: 200,
    responseBody: 'ok',
    responseTimeMs: 12,
    outcome: 'delivered',
    error: null,
    ...facts,
  }
}

/** A record of the entry's only delivery: delivered at the first attempt, but for `facts`. */
export function createRecord(
  { event, deliveries }: JournalEntry,
  facts: Partial<DeliveryRecord> = {},
): DeliveryRecord {
  const [owed] = deliveries
  if (owed === undefined) throw new Error('the entry has no delivery')
  return {
    ...owed,
    createdAtMs: event.receivedAtMs,
    eventId: event.id,
    eventReceivedAtMs: event.receivedAtMs,
    organizationId: event.organizationId,
    eventType: event.type,
    phoneNumber: event.phoneNumber,
    callSid: event.callSid,
    assistantId: event.assistantId,
    state: 'delivered',
    attempts: 1,
    dueAtMs: event.receivedAtMs,
    fallbackAtMs: null,
    reason: null,
    attempt: createAttempt({ attemptedAtMs: event.receivedAtMs }),
    ...facts,
  }
}
