import type { Kysely } from 'kysely'
import type { DeliveryState, EventType } from '../event.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'

export type StoredDelivery = {
  readonly id: string
  readonly createdAtMs: number
  readonly eventId: string
  readonly eventReceivedAtMs: number
  readonly destinationId: string
  readonly eventType: EventType
  readonly phoneNumber: string | null
  readonly callSid: string | null
  readonly state: DeliveryState
  readonly attempts: number
  readonly dueAtMs: number
  readonly fallbackAtMs: number | null
  readonly reason: string | null
  readonly updatedAtMs: number
  /** The delivery that this one repeats. */
  readonly replayOf: string | null
}

export type DeliveryFilter = {
  readonly state?: DeliveryState | undefined
  readonly destinationId?: string | undefined
  readonly eventId?: string | undefined
  readonly eventType?: EventType | undefined
  /** The tenant's own number. */
  readonly phoneNumber?: string | undefined
  readonly callSid?: string | undefined
}

function toDelivery(row: Database['deliveries']): StoredDelivery {
  return {
    id: row.id,
    createdAtMs: row.created_at.getTime(),
    eventId: row.event_id,
    eventReceivedAtMs: row.event_received_at.getTime(),
    destinationId: row.destination_id,
    eventType: row.event_type,
    phoneNumber: row.phone_number,
    callSid: row.call_sid,
    state: row.state,
    attempts: row.attempts,
    dueAtMs: row.due_at.getTime(),
    fallbackAtMs: row.fallback_at?.getTime() ?? null,
    reason: row.reason,
    updatedAtMs: row.updated_at.getTime(),
    replayOf: row.replay_of,
  }
}

/**
 * The organization's deliveries, newest first. Indexes: deliveries_by_organization, deliveries_by_destination,
 * deliveries_by_event, and deliveries_not_delivered for the rare states.
 */
export async function listDeliveries(
  db: Kysely<Database>,
  organizationId: string,
  filter: DeliveryFilter,
  page: PageRequest<string>,
): Promise<StoredDelivery[]> {
  let query = db
    .selectFrom('deliveries')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where(withinPage('created_at', 'id', page))
  if (filter.state !== undefined) query = query.where('state', '=', filter.state)
  if (filter.destinationId !== undefined) {
    query = query.where('destination_id', '=', filter.destinationId)
  }
  if (filter.eventId !== undefined) query = query.where('event_id', '=', filter.eventId)
  if (filter.eventType !== undefined) query = query.where('event_type', '=', filter.eventType)
  if (filter.phoneNumber !== undefined) {
    query = query.where('phone_number', '=', filter.phoneNumber)
  }
  if (filter.callSid !== undefined) query = query.where('call_sid', '=', filter.callSid)
  const rows = await query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toDelivery)
}

/** One delivery of the organization. The id alone does not tell the day: one index look-up in each partition. */
export async function findDelivery(
  db: Kysely<Database>,
  organizationId: string,
  deliveryId: string,
): Promise<StoredDelivery | undefined> {
  const row = await db
    .selectFrom('deliveries')
    .selectAll()
    .where('id', '=', deliveryId)
    .where('organization_id', '=', organizationId)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  return row && toDelivery(row)
}
