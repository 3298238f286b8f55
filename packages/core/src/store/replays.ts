import { deliveryId, randomId } from '../ids.ts'
import { type DatabaseHandle, isMissingPartition } from './database.ts'
import type { StoredDelivery } from './delivery-queries.ts'
import type { EventSummary } from './event-queries.ts'
import { ensurePartitions } from './partitions.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** A delivery that was just made, as the job needs to know it. */
export type NewDelivery = {
  readonly deliveryId: string
  readonly destinationId: string
  readonly createdAtMs: number
}

type OwedEvent = Pick<
  EventSummary,
  'id' | 'receivedAtMs' | 'organizationId' | 'type' | 'phoneNumber' | 'callSid'
>

/** A transaction that makes deliveries of `nowMs`; the day's partitions are made when no worker has done so. */
export async function inReplayTransaction<T>(
  { db, pool }: Pick<DatabaseHandle, 'db' | 'pool'>,
  nowMs: number,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const run = () => db.transaction().execute(work)
  return await run().catch(async (error: unknown) => {
    if (!isMissingPartition(error)) throw error
    await ensurePartitions(pool, nowMs)
    return await run()
  })
}

async function insertDeliveries(
  tx: Transaction,
  event: OwedEvent,
  deliveries: readonly { id: string; destinationId: string; replayOf: string | null }[],
  nowMs: number,
): Promise<NewDelivery[]> {
  const now = new Date(nowMs)
  const rows = deliveries.map(({ id, destinationId, replayOf }) => ({
    id,
    created_at: now,
    event_id: event.id,
    event_received_at: new Date(event.receivedAtMs),
    organization_id: event.organizationId,
    destination_id: destinationId,
    event_type: event.type,
    phone_number: event.phoneNumber,
    call_sid: event.callSid,
    state: 'pending' as const,
    attempts: 0,
    due_at: now,
    updated_at: now,
    replay_of: replayOf,
  }))
  if (rows.length > 0) await tx.insertInto('deliveries').values(rows).execute()
  return deliveries.map(({ id, destinationId }) => ({
    deliveryId: id,
    destinationId,
    createdAtMs: nowMs,
  }))
}

/** The event's payload is gone, maybe since a moment ago: nothing was made. */
export class EventNotKeptError extends Error {
  override readonly name = 'EventNotKeptError'
}

/**
 * Locks the event until the end of the transaction: an erasure waits for it, and then finds what was made here. Throws
 * `EventNotKeptError`.
 */
async function lockKept(
  tx: Transaction,
  { id, receivedAtMs }: OwedEvent,
  lock: 'forShare' | 'forUpdate',
): Promise<void> {
  const kept = await tx
    .selectFrom('events')
    .select('id')
    .where('id', '=', id)
    .where('received_at', '=', new Date(receivedAtMs))
    .where('erased_at', 'is', null)
    [lock]()
    .executeTakeFirst()
  if (kept === undefined) throw new EventNotKeptError('its payload is no longer kept')
}

/**
 * The same event to the same destination once more, whatever became of it the first time. Throws `EventNotKeptError`.
 */
export async function insertReplay(
  tx: Transaction,
  event: OwedEvent,
  { id: replayOf, destinationId }: Pick<StoredDelivery, 'id' | 'destinationId'>,
  nowMs: number,
): Promise<NewDelivery> {
  await lockKept(tx, event, 'forShare')
  const id = randomId('dlv_')
  await insertDeliveries(tx, event, [{ id, destinationId, replayOf }], nowMs)
  return { deliveryId: id, destinationId, createdAtMs: nowMs }
}

/**
 * Owes a stored event to these destinations. A destination's first delivery of an event has the id that it would have
 * had when the event came; each further one repeats the first. The event's row is locked: of two replays at once, one
 * makes the first deliveries. Throws `EventNotKeptError`.
 */
export async function insertEventReplay(
  tx: Transaction,
  event: OwedEvent,
  destinationIds: readonly string[],
  nowMs: number,
): Promise<NewDelivery[]> {
  if (destinationIds.length === 0) return []
  await lockKept(tx, event, 'forUpdate')
  const ids = destinationIds.map((id) => ({ id: deliveryId(event.id, id), destinationId: id }))
  const known = await tx
    .selectFrom('deliveries')
    .select('id')
    .where('event_id', '=', event.id)
    .where(
      'id',
      'in',
      ids.map(({ id }) => id),
    )
    .execute()
  const isKnown = new Set(known.map(({ id }) => id))
  const made = ids.map(({ id, destinationId }) =>
    isKnown.has(id)
      ? { id: randomId('dlv_'), destinationId, replayOf: id }
      : { id, destinationId, replayOf: null },
  )
  const firsts = made.length - isKnown.size
  if (firsts > 0) {
    await tx
      .updateTable('events')
      .set(({ eb }) => ({ delivery_count: eb('delivery_count', '+', firsts) }))
      .where('id', '=', event.id)
      .where('received_at', '=', new Date(event.receivedAtMs))
      .execute()
  }
  return await insertDeliveries(tx, event, made, nowMs)
}

/** Ends a pending delivery. False when it was not pending any more. What a worker brings later does not change it. */
export async function cancelDelivery(
  db: Queryable,
  organizationId: string,
  { id, createdAtMs }: Pick<StoredDelivery, 'id' | 'createdAtMs'>,
  reason: string,
): Promise<boolean> {
  const { numUpdatedRows } = await db
    .updateTable('deliveries')
    .set({ state: 'cancelled', reason, updated_at: new Date() })
    .where('id', '=', id)
    .where('created_at', '=', new Date(createdAtMs))
    .where('organization_id', '=', organizationId)
    .where('state', '=', 'pending')
    .executeTakeFirst()
  return numUpdatedRows > 0n
}
