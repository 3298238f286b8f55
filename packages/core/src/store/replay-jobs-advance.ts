import { type Selectable, sql } from 'kysely'
import { replayAllowance } from '../delivery/replay-pace.ts'
import type { EventType } from '../event.ts'
import { replayedDeliveryId } from '../ids.ts'
import type { Database, DatabaseHandle } from './database.ts'
import { endReplay, findClockMs, isReplayed, type Replay, toReplay } from './replay-jobs.ts'
import { inReplayTransaction, type NewDelivery } from './replays.ts'
import type { Transaction } from './transaction.ts'

/** A delivery that a step made; its event is read by the caller. */
export type ReplayedDelivery = NewDelivery & {
  readonly eventId: string
  readonly eventReceivedAtMs: number
}

/** `waiting`: its destination is paused, or its rate allows none now. `stopped`: it runs no more. */
export type ReplayStep =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'advanced'; readonly owed: readonly ReplayedDelivery[] }
  | { readonly kind: 'ended'; readonly replay: Replay; readonly owed: readonly ReplayedDelivery[] }

type Page = {
  id: string
  created_at: Date
  event_id: string
  event_received_at: Date
  event_type: EventType
  phone_number: string | null
  call_sid: string | null
  is_kept: boolean
}

/** The next ones, oldest first. Postgres leaves out partitions by the plain comparison only. */
async function findPage(
  tx: Transaction,
  row: Selectable<Database['replays']>,
  limit: number,
): Promise<Page[]> {
  const at = row.position_at ?? row.since
  const { rows } = await sql<Page>`
    select original.id, original.created_at, original.event_id, original.event_received_at,
           original.event_type, original.phone_number, original.call_sid,
           exists (select from events where events.id = original.event_id
                      and events.received_at = original.event_received_at
                      and events.erased_at is null) as is_kept
      from deliveries original
     where ${isReplayed(toReplay(row))}
       and original.created_at >= ${at}
       and (original.created_at, original.id) > (${at}, ${row.position_id ?? ''})
     order by original.created_at, original.id
     limit ${limit}`.execute(tx)
  return rows
}

/** Nothing was counted when it was asked for, and there is nothing yet: it has no rate to wait for. */
async function isEmpty(tx: Transaction, row: Selectable<Database['replays']>): Promise<boolean> {
  if (row.total > 0 || row.position_at !== null) return false
  return (await findPage(tx, row, 1)).length === 0
}

async function insertReplayed(
  tx: Transaction,
  row: Selectable<Database['replays']>,
  page: readonly Page[],
  nowMs: number,
): Promise<ReplayedDelivery[]> {
  const now = new Date(nowMs)
  const made = page.filter(({ is_kept }) => is_kept)
  const deliveries = made.map((original) => ({
    id: replayedDeliveryId(row.id, original.id),
    created_at: now,
    event_id: original.event_id,
    event_received_at: original.event_received_at,
    organization_id: row.organization_id,
    destination_id: row.destination_id,
    event_type: original.event_type,
    phone_number: original.phone_number,
    call_sid: original.call_sid,
    state: 'pending' as const,
    attempts: 0,
    due_at: now,
    updated_at: now,
    replay_of: original.id,
  }))
  if (deliveries.length > 0) await tx.insertInto('deliveries').values(deliveries).execute()
  return deliveries.map(({ id, event_id, event_received_at }) => ({
    deliveryId: id,
    destinationId: row.destination_id,
    createdAtMs: nowMs,
    eventId: event_id,
    eventReceivedAtMs: event_received_at.getTime(),
  }))
}

/** Why nothing can be sent to the destination any more; undefined when it can. */
function obstacleOf(destination: { status: string; deleted_at: Date | null } | undefined) {
  if (destination === undefined || destination.deleted_at !== null) {
    return 'The destination was deleted.'
  }
  return destination.status === 'disabled' ? 'The destination is disabled.' : undefined
}

/**
 * One step of a replay: makes the deliveries that its rate allows now and writes down how far it came, in one commit.
 * Its row is locked: a second process, or a cancellation, waits for the end of the step.
 */
export async function advanceReplay(
  database: Pick<DatabaseHandle, 'db' | 'pool'>,
  id: string,
): Promise<ReplayStep> {
  const nowMs = await findClockMs(database.db)
  return await inReplayTransaction(database, nowMs, async (tx) => {
    const row = await tx
      .selectFrom('replays')
      .selectAll()
      .where('id', '=', id)
      .where('state', '=', 'running')
      .forUpdate()
      .executeTakeFirst()
    if (row === undefined) return { kind: 'stopped' }
    const destination = await tx
      .selectFrom('destinations')
      .select(['status', 'deleted_at'])
      .where('id', '=', row.destination_id)
      .executeTakeFirst()
    const obstacle = obstacleOf(destination)
    if (obstacle !== undefined) {
      const replay = await endReplay(tx, id, 'cancelled', obstacle)
      return replay === undefined ? { kind: 'stopped' } : { kind: 'ended', replay, owed: [] }
    }
    const { count, pacedAtMs } = replayAllowance(row.rate_per_second, row.paced_at.getTime(), nowMs)
    const mustWait = destination?.status === 'paused' || count === 0
    const isDone = mustWait && (await isEmpty(tx, row))
    if (mustWait && !isDone) return { kind: 'waiting' }

    const page = isDone ? [] : await findPage(tx, row, count)
    const owed = await insertReplayed(tx, row, page, nowMs)
    const done = row.done + owed.length
    const skipped = row.skipped + page.length - owed.length
    const last = page.at(-1)
    const isFinished = isDone || page.length < count
    const advanced = await tx
      .updateTable('replays')
      .set({
        ...{ done, skipped, paced_at: new Date(pacedAtMs) },
        ...(last === undefined ? {} : { position_at: last.created_at, position_id: last.id }),
        ...(isFinished
          ? { state: 'finished', total: done + skipped, finished_at: new Date(nowMs) }
          : {}),
      })
      .where('id', '=', id)
      .returningAll()
      .executeTakeFirstOrThrow()
    if (isFinished) return { kind: 'ended', replay: toReplay(advanced), owed }
    return { kind: 'advanced', owed }
  })
}
