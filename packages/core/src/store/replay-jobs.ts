import { type Selectable, sql } from 'kysely'
import type { DeliveryState } from '../event.ts'
import { randomId } from '../ids.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** Deliveries in a state that a replay may ask for: not those that are still on their way. */
export type ReplayRange = {
  readonly organizationId: string
  readonly destinationId: string
  /** Included, by the time the delivery was made. */
  readonly sinceMs: number
  /** Not included. */
  readonly untilMs: number
  readonly states: readonly DeliveryState[]
}

export type Replay = ReplayRange & {
  readonly id: string
  readonly ratePerSecond: number
  readonly state: 'running' | 'finished' | 'cancelled' | 'failed'
  /** Why it ended before its end. */
  readonly reason: string | null
  /** As counted when it was asked for; exact once it is finished. */
  readonly total: number
  /** Deliveries made so far. */
  readonly done: number
  /** Not made, because the payload is no longer kept. */
  readonly skipped: number
  readonly createdAtMs: number
  readonly finishedAtMs: number | null
}

export function toReplay(row: Selectable<Database['replays']>): Replay {
  return {
    id: row.id,
    organizationId: row.organization_id,
    destinationId: row.destination_id,
    sinceMs: row.since.getTime(),
    untilMs: row.until.getTime(),
    states: row.states,
    ratePerSecond: row.rate_per_second,
    state: row.state,
    reason: row.reason,
    total: row.total,
    done: row.done,
    skipped: row.skipped,
    createdAtMs: row.created_at.getTime(),
    finishedAtMs: row.finished_at?.getTime() ?? null,
  }
}

/**
 * The conditions for `original`, the deliveries that a replay makes again: one for each event. Of several deliveries of
 * an event the last counts, and none where a later one was delivered or is on its way, unless those that were delivered
 * are asked for. So a replay that is asked for again sends nothing twice. Indexes: deliveries_by_destination,
 * deliveries_by_event.
 */
export function isReplayed(range: ReplayRange) {
  const since = new Date(range.sinceMs)
  const until = new Date(range.untilMs)
  return sql<boolean>`original.organization_id = ${range.organizationId}
    and original.destination_id = ${range.destinationId}
    and original.created_at >= ${since} and original.created_at < ${until}
    and original.state = any(${range.states})
    and not exists (
      select from deliveries later
       where later.event_id = original.event_id and later.destination_id = ${range.destinationId}
         and later.created_at >= original.created_at
         and (later.created_at, later.id) > (original.created_at, original.id)
         and (original.state <> 'delivered' and later.state in ('pending', 'delivered')
              or later.created_at < ${until} and later.state = any(${range.states})))`
}

/** How long Postgres may count before it gives up: SQLSTATE 57014. */
const COUNT_TIMEOUT_MS = 2_000

export async function countReplayed(tx: Transaction, range: ReplayRange): Promise<number> {
  await sql`set local statement_timeout = ${sql.lit(COUNT_TIMEOUT_MS)}`.execute(tx)
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from deliveries original where ${isReplayed(range)}`.execute(tx)
  await sql`set local statement_timeout to default`.execute(tx)
  return rows[0]?.count ?? 0
}

/** Whole milliseconds of the clock that ingress and workers share. */
export async function findClockMs(db: Queryable): Promise<number> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(db)
  return rows[0]?.now.getTime() ?? Date.now()
}

/** That an organization may have running, and that are advanced for it: it must leave the workers to the others too. */
export const MAX_RUNNING_REPLAYS = 10

const RUNNING_LOCKS = 729411

/** Until the end of the transaction nobody else counts those of this organization, so that one may be added. */
export async function countRunningReplays(
  tx: Transaction,
  organizationId: string,
): Promise<number> {
  const lock = sql`select pg_advisory_xact_lock(${sql.lit(RUNNING_LOCKS)}, hashtext(${organizationId}))`
  await lock.execute(tx)
  const { running } = await tx
    .selectFrom('replays')
    .select(({ fn }) => fn.countAll<number>().as('running'))
    .where('organization_id', '=', organizationId)
    .where('state', '=', sql.lit('running'))
    .executeTakeFirstOrThrow()
  return running
}

/** Throws a unique violation when one is running for the destination. */
export async function insertReplayJob(
  tx: Transaction,
  range: ReplayRange,
  facts: {
    readonly ratePerSecond: number
    readonly total: number
    readonly requestedBy: string
    readonly nowMs: number
  },
): Promise<Replay> {
  const now = new Date(facts.nowMs)
  const row = await tx
    .insertInto('replays')
    .values({
      id: randomId('rpl_'),
      organization_id: range.organizationId,
      destination_id: range.destinationId,
      since: new Date(range.sinceMs),
      until: new Date(range.untilMs),
      states: [...range.states],
      rate_per_second: facts.ratePerSecond,
      state: 'running',
      total: facts.total,
      paced_at: now,
      requested_by: facts.requestedBy,
      created_at: now,
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toReplay(row)
}

export async function findReplay(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<Replay | undefined> {
  const row = await db
    .selectFrom('replays')
    .selectAll()
    .where('id', '=', id)
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return row && toReplay(row)
}

export type ReplayFilter = {
  readonly destinationId?: string | undefined
  readonly state?: Replay['state'] | undefined
}

/** Newest first. Index: replays_by_organization. */
export async function listReplays(
  db: Queryable,
  organizationId: string,
  filter: ReplayFilter,
  page: PageRequest<string>,
): Promise<Replay[]> {
  let query = db
    .selectFrom('replays')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where(withinPage('created_at', 'id', page))
  if (filter.destinationId !== undefined) {
    query = query.where('destination_id', '=', filter.destinationId)
  }
  if (filter.state !== undefined) query = query.where('state', '=', filter.state)
  const rows = await query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toReplay)
}

/**
 * Those that run: the oldest of every organization first, then the second of each, so that none crowds out another.
 * Index: replays_one_running.
 */
export async function findRunningReplays(db: Queryable, limit: number): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select id
      from (select id, created_at,
                   row_number() over (partition by organization_id order by created_at, id) as place
              from replays where state = 'running') running
     where place <= ${MAX_RUNNING_REPLAYS}
     order by place, created_at, id
     limit ${limit}`.execute(db)
  return rows.map(({ id }) => id)
}

/** Ends a running one; what it made stays. Undefined when it was not running any more. */
export async function endReplay(
  db: Queryable,
  id: string,
  state: 'cancelled' | 'failed',
  reason: string,
): Promise<Replay | undefined> {
  const row = await db
    .updateTable('replays')
    .set({ state, reason, finished_at: new Date() })
    .where('id', '=', id)
    .where('state', '=', 'running')
    .returningAll()
    .executeTakeFirst()
  return row && toReplay(row)
}
