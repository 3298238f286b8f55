import type pg from 'pg'
import type { AcceptedEvent, DeliveryState } from '../event.ts'

/** A delivery that Postgres holds pending and overdue. */
export type OverdueDelivery = {
  readonly deliveryId: string
  readonly destinationId: string
  readonly createdAtMs: number
  readonly eventId: string
  readonly eventReceivedAtMs: number
  readonly attempts: number
  readonly dueAtMs: number
  /** Set when the mail is owed, not an attempt. */
  readonly fallbackAtMs: number | null
  readonly reason: string | null
}

export type OverdueCursor = { readonly dueAtMs: number; readonly deliveryId: string }

/** Pending deliveries due before `beforeMs`, oldest first, after the cursor: a range of the index deliveries_pending. */
export async function findOverdueDeliveries(
  pool: pg.Pool,
  beforeMs: number,
  after: OverdueCursor | undefined,
  limit: number,
): Promise<OverdueDelivery[]> {
  const { rows } = await pool.query({
    name: 'overdue',
    text: `select id, destination_id, created_at, event_id, event_received_at, attempts, due_at, fallback_at, reason
             from deliveries
            where state = 'pending' and due_at < $1 and (due_at, id) > ($2, $3)
            order by due_at, id
            limit $4`,
    values: [new Date(beforeMs), new Date(after?.dueAtMs ?? 0), after?.deliveryId ?? '', limit],
  })
  return rows.map((row) => ({
    deliveryId: row.id,
    destinationId: row.destination_id,
    createdAtMs: row.created_at.getTime(),
    eventId: row.event_id,
    eventReceivedAtMs: row.event_received_at.getTime(),
    attempts: row.attempts,
    dueAtMs: row.due_at.getTime(),
    fallbackAtMs: row.fallback_at?.getTime() ?? null,
    reason: row.reason,
  }))
}

type EventRef = { readonly eventId: string; readonly eventReceivedAtMs: number }

/** Those of the events whose payload is there. The time tells the partition. */
export async function findEvents(
  pool: pg.Pool,
  refs: readonly EventRef[],
): Promise<Map<string, AcceptedEvent>> {
  const times = refs.map((ref) => ref.eventReceivedAtMs)
  const { rows } = await pool.query({
    name: 'events_by_id',
    text: `select * from events where id = any($1) and received_at between $2 and $3 and erased_at is null`,
    values: [
      refs.map((ref) => ref.eventId),
      new Date(Math.min(...times)),
      new Date(Math.max(...times)),
    ],
  })
  return new Map(
    rows.map((row) => [
      row.id,
      {
        id: row.id,
        organizationId: row.organization_id,
        provider: row.provider,
        type: row.type,
        receivedAtMs: row.received_at.getTime(),
        phoneNumber: row.phone_number,
        peerNumber: row.peer_number,
        callSid: row.call_sid,
        assistantId: row.assistant_id,
        // Ranked when it was journaled; here it is history.
        order: null,
        isStale: row.is_stale,
        contentType: row.content_type,
        payload: row.payload,
      },
    ]),
  )
}

/**
 * Ends those of the pending deliveries whose event was erased: nobody can send it any more. Others are left, also when
 * their event is not there: it may wait in the spool. Returns how many.
 */
export async function cancelErasedDeliveries(
  pool: pg.Pool,
  deliveries: readonly OverdueDelivery[],
  reason: string,
): Promise<number> {
  if (deliveries.length === 0) return 0
  const { rowCount } = await pool.query({
    name: 'cancel_erased',
    text: `update deliveries set state = 'cancelled', reason = $1, updated_at = now()
            where id = any($2) and created_at = any($3) and state = 'pending'
              and exists (select from events
                           where events.id = deliveries.event_id and events.received_at = deliveries.event_received_at
                             and events.id = any($4) and events.received_at = any($5)
                             and events.erased_at is not null)`,
    values: [
      reason,
      deliveries.map(({ deliveryId }) => deliveryId),
      deliveries.map(({ createdAtMs }) => new Date(createdAtMs)),
      deliveries.map(({ eventId }) => eventId),
      deliveries.map(({ eventReceivedAtMs }) => new Date(eventReceivedAtMs)),
    ],
  })
  return rowCount ?? 0
}

export type DeliveryProgress = {
  readonly state: DeliveryState
  readonly attempts: number
  readonly fallbackAtMs: number | null
  readonly reason: string | null
}

/** How far a delivery came, as Postgres knows it; undefined when it knows nothing of it. */
export async function findDeliveryProgress(
  pool: pg.Pool,
  deliveryId: string,
  createdAtMs: number,
): Promise<DeliveryProgress | undefined> {
  const { rows } = await pool.query({
    name: 'delivery_progress',
    text: `select state, attempts, fallback_at, reason from deliveries where id = $1 and created_at = $2`,
    values: [deliveryId, new Date(createdAtMs)],
  })
  const [row] = rows
  if (row === undefined) return undefined
  return {
    state: row.state,
    attempts: row.attempts,
    fallbackAtMs: row.fallback_at?.getTime() ?? null,
    reason: row.reason,
  }
}

/** Seconds since the oldest pending delivery was made; 0 when there is none. One scan of the pending index. */
export async function findOldestPendingAgeSeconds(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query(
    `select coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as age from deliveries where state = 'pending'`,
  )
  return Math.max(0, rows[0]?.age ?? 0)
}
