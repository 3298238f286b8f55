import type { Destination, EventType } from '@switchhook/core/event'
import { deliveryId, randomText } from '@switchhook/core/ids'
import { findDestinationRecord } from '@switchhook/core/store/destinations'
import { writeJournal } from '@switchhook/core/store/journal'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { defineRoute, type Route } from './define-route.ts'
import { idSchema } from './field-schemas.ts'
import { enqueueNew } from './owe-delivery.ts'
import { eventOf, type PreparedEvent } from './publish-event.ts'

const NAMES = 'Destination'
const CUSTOMER = '+15005550006'
const OWN_NUMBER = '+15005550001'

/** What events of a type hold, made up: numbers that nobody has, ids that say so. */
function sampleData(type: EventType, ownNumber: string, id: string): Record<string, unknown> {
  const parties = { from: CUSTOMER, to: ownNumber, message_id: id }
  const sent = { from: ownNumber, to: CUSTOMER, message_id: id, message_ref: 'test' }
  const call = { customer_phone_number: CUSTOMER, from: CUSTOMER, to: ownNumber }
  switch (type) {
    case 'sms_received':
      return { ...parties, body: 'This is a test from Switchhook.' }
    case 'mms_received':
      return { ...parties, body: 'This is a test from Switchhook.', media_urls: [] }
    case 'sms_status':
    case 'mms_status':
      return { ...sent, status: 'DELIVERED' }
    case 'link_hit':
      return { ...sent, url: 'https://example.com/', hits: 1 }
    case 'opt_out':
      return { ...parties, source: 'SMS_INBOUND', body: 'STOP' }
    case 'call_ended':
      return { ...call, status: 'completed', duration: 42 }
    case 'call_failed':
      return { ...call, status: 'no-answer' }
    case 'recording_started':
    case 'recording_completed':
      return { ...call, recording_sid: id, recording_url: 'https://example.com/recording' }
    case 'transcript':
      return { ...call, transcript: 'This is a test from Switchhook.' }
    case 'operational':
      return { message: 'This is a test from Switchhook.' }
    default:
      return call
  }
}

const OF_CALLS = /^(call|recording|transcript|tool|transfer)/

function sampleEvent(
  {
    organizationId,
    phoneNumber,
    assistantId,
  }: Pick<Destination, 'organizationId' | 'phoneNumber' | 'assistantId'>,
  type: EventType,
  nowMs: number,
): PreparedEvent {
  const id = `test_${randomText(10)}`
  const data = { test: true, ...sampleData(type, phoneNumber ?? OWN_NUMBER, id) }
  const document = {
    ...{ type, data, idempotency_key: id },
    ...(OF_CALLS.test(type) ? { call_sid: id } : {}),
    ...(phoneNumber === null ? {} : { phone_number: phoneNumber }),
  }
  return eventOf(organizationId, document, assistantId, nowMs)
}

const test = defineRoute({
  method: 'post',
  path: '/api/v1/destinations/{id}/test',
  access: 'write',
  summary: 'Send it a made-up event of its first type, marked by `test: true` in its data',
  params: z.strictObject({ id: idSchema('dst_') }),
  names: NAMES,
  answers: {
    202: {
      description: 'On its way, like any other delivery',
      schema: z.object({ event_id: z.string(), delivery_id: z.string() }),
    },
    409: { description: 'The destination is disabled' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { id } = input.params
    const { db, pool } = deps.database
    const destination = await findDestinationRecord(db, deps.ring, organizationId, id)
    if (destination === undefined) throw notFound(NAMES)
    if (destination.status === 'disabled') throw new ApiError(409, 'The destination is disabled')
    const [first = '*'] = destination.eventTypes
    const type = first === '*' ? 'sms_received' : (first as EventType)
    const nowMs = Date.now()
    const { event } = sampleEvent({ ...destination, organizationId }, type, nowMs)
    const owed = { deliveryId: deliveryId(event.id, id), destinationId: id }
    await writeJournal(pool, [{ event, deliveries: [owed] }])
    await auditAction(db, input, 'destination.tested', id, { event_id: event.id })
    await enqueueNew(deps, event, [{ ...owed, createdAtMs: nowMs }])
    return { status: 202, body: { event_id: event.id, delivery_id: owed.deliveryId } }
  },
})

export const destinationTestRoutes: readonly Route[] = [test]
