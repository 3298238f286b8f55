import { type Kysely, type Selectable, sql } from 'kysely'
import type { AcceptedEvent, DeliveryState, EventType } from '../event.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'

/** What a list shows of an event: all but the payload, which may be large. */
export type EventSummary = Omit<AcceptedEvent, 'payload' | 'order'> & {
  /** Destinations it is owed to, by a replay or when it came; 0: nobody wanted it so far. */
  readonly deliveryCount: number
  /** When its payload and the other side's number were taken out; null while they are there. */
  readonly erasedAtMs: number | null
}

export type StoredEvent = EventSummary & Pick<AcceptedEvent, 'payload'>

export type EventFilter = {
  readonly type?: EventType | undefined
  /** The tenant's own number. */
  readonly phoneNumber?: string | undefined
  readonly callSid?: string | undefined
  /** False: only those that nobody wanted. */
  readonly isRouted?: boolean | undefined
  /** Only those with a delivery to this destination, in this state. */
  readonly destinationId?: string | undefined
  readonly state?: DeliveryState | undefined
}

const SUMMARY_COLUMNS = [
  'id',
  'organization_id',
  'provider',
  'type',
  'received_at',
  'phone_number',
  'peer_number',
  'call_sid',
  'assistant_id',
  'content_type',
  'delivery_count',
  'is_stale',
  'erased_at',
] as const

type SummaryRow = Pick<Selectable<Database['events']>, (typeof SUMMARY_COLUMNS)[number]>

function toSummary(row: SummaryRow): EventSummary {
  return {
    id: row.id,
    organizationId: row.organization_id,
    provider: row.provider,
    type: row.type,
    receivedAtMs: row.received_at.getTime(),
    phoneNumber: row.phone_number,
    peerNumber: row.peer_number,
    callSid: row.call_sid,
    assistantId: row.assistant_id,
    contentType: row.content_type,
    deliveryCount: row.delivery_count,
    isStale: row.is_stale,
    erasedAtMs: row.erased_at?.getTime() ?? null,
  }
}

/**
 * The organization's events, newest first. Indexes: events_by_organization, events_by_number, events_by_call,
 * events_unrouted, and deliveries_by_event for what became of them.
 */
export async function listEvents(
  db: Kysely<Database>,
  organizationId: string,
  filter: EventFilter,
  page: PageRequest<string>,
): Promise<EventSummary[]> {
  let query = db
    .selectFrom('events')
    .select(SUMMARY_COLUMNS)
    .where('organization_id', '=', organizationId)
    .where(withinPage('received_at', 'id', page))
  if (filter.type !== undefined) query = query.where('type', '=', filter.type)
  if (filter.phoneNumber !== undefined) {
    query = query.where('phone_number', '=', filter.phoneNumber)
  }
  if (filter.callSid !== undefined) query = query.where('call_sid', '=', filter.callSid)
  if (filter.isRouted !== undefined) {
    // A literal, so that the partial index is known to hold all of them.
    query = query.where('delivery_count', filter.isRouted ? '>' : '=', sql.lit(0))
  }
  const { destinationId, state } = filter
  if (destinationId !== undefined || state !== undefined) {
    query = query.where(({ exists, selectFrom }) => {
      let owed = selectFrom('deliveries')
        .select('deliveries.id')
        .whereRef('deliveries.event_id', '=', 'events.id')
        .whereRef('deliveries.created_at', '>=', 'events.received_at')
        .where('deliveries.organization_id', '=', organizationId)
      if (destinationId !== undefined) owed = owed.where('destination_id', '=', destinationId)
      if (state !== undefined) owed = owed.where('state', '=', state)
      return exists(owed)
    })
  }
  const rows = await query
    .orderBy('received_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toSummary)
}

/** One event of the organization with its payload. The id alone does not tell the day: one index look-up in each partition. */
export async function findEvent(
  db: Kysely<Database>,
  organizationId: string,
  eventId: string,
): Promise<StoredEvent | undefined> {
  const row = await db
    .selectFrom('events')
    .select([...SUMMARY_COLUMNS, 'payload'])
    .where('id', '=', eventId)
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return row && { ...toSummary(row), payload: row.payload }
}
