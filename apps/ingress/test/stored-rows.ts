import type { AcceptedEvent } from '@switchhook/core/event'
import { deliveryId, randomId } from '@switchhook/core/ids'
import {
  type AttemptRecord,
  type DeliveryRecord,
  writeDeliveryLog,
} from '@switchhook/core/store/delivery-log'
import { writeJournal } from '@switchhook/core/store/journal'
import type { ReadSideApp, Tenant } from './read-side-app.ts'

export type Stored = { readonly event: AcceptedEvent; readonly deliveryId: string }

type Facts = {
  readonly event?: Partial<AcceptedEvent>
  readonly destinationId?: string
  readonly delivery?: Partial<DeliveryRecord>
  /** None: the delivery stays as the journal made it, pending without an attempt. */
  readonly attempts?: readonly Partial<AttemptRecord>[]
}

const DELIVERED: Omit<AttemptRecord, 'attempt' | 'attemptedAtMs'> = {
  url: 'https://example.com/hook',
  webhookType: 'sms_received',
  requestContentType: 'application/json',
  requestBodyBase64: Buffer.from('{"type":"sms_received"}').toString('base64'),
  statusCode: 200,
  responseBody: 'ok',
  responseTimeMs: 12,
  outcome: 'delivered',
  error: null,
}

function throwIt(_record: DeliveryRecord, error: unknown): never {
  throw error
}

/** An event of the tenant with one delivery and its attempts, as ingress and worker leave them behind. */
export async function store(app: ReadSideApp, tenant: Tenant, facts: Facts = {}): Promise<Stored> {
  const event: AcceptedEvent = {
    id: randomId('evt_'),
    organizationId: tenant.organizationId,
    provider: 'twilio',
    type: 'sms_received',
    receivedAtMs: Date.now(),
    phoneNumber: tenant.phoneNumber,
    peerNumber: '+14155559999',
    callSid: null,
    assistantId: null,
    order: null,
    isStale: false,
    contentType: 'application/x-www-form-urlencoded',
    payload: Buffer.from('Body=hello'),
    ...facts.event,
  }
  const destinationId = facts.destinationId ?? tenant.destinationId
  const owed = { deliveryId: deliveryId(event.id, destinationId), destinationId }
  await writeJournal(app.database.pool, [{ event, deliveries: [owed] }])
  const records = (facts.attempts ?? [{}]).map((attempt, index) => ({
    ...owed,
    createdAtMs: event.receivedAtMs,
    eventId: event.id,
    eventReceivedAtMs: event.receivedAtMs,
    organizationId: event.organizationId,
    eventType: event.type,
    phoneNumber: event.phoneNumber,
    callSid: event.callSid,
    assistantId: event.assistantId,
    state: (attempt.outcome ?? 'delivered') === 'delivered' ? 'delivered' : 'pending',
    attempts: index + 1,
    dueAtMs: event.receivedAtMs,
    fallbackAtMs: null,
    reason: attempt.error ?? null,
    attempt: {
      ...DELIVERED,
      attempt: index + 1,
      attemptedAtMs: event.receivedAtMs + index * 1000,
      ...attempt,
    },
    ...facts.delivery,
  })) satisfies DeliveryRecord[]
  await writeDeliveryLog(app.database.pool, records, throwIt)
  return { event, deliveryId: owed.deliveryId }
}
