import type { Kysely } from 'kysely'
import type pg from 'pg'
import { type Failing, SILENT_AFTER_MS, WARN_AFTER_MS } from '../delivery/failing-policy.ts'
import { writeAudit } from './audit-logs.ts'
import type { Database } from './database.ts'
import { inConfigTransaction, type Transaction } from './transaction.ts'

/** What one worker saw of a destination since it last told. */
export type SeenOutcomes = {
  /** The last success; null when there was none. */
  readonly deliveredAtMs: number | null
  /** The first and the last failure since that success; null when there was none. */
  readonly failed: { readonly firstAtMs: number; readonly lastAtMs: number } | null
}

/** A written row is good for this long: a destination that fails all the time costs one update an hour and worker. */
const FRESH_FOR_MS = 3_600_000

const CLEAR = `
delete from destination_failures using unnest($1::text[], $2::timestamptz[]) as seen (id, delivered_at)
 where destination_id = seen.id and failing_since <= seen.delivered_at`

const NOTE = `
insert into destination_failures as known (destination_id, failing_since, last_failed_at)
select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[])
on conflict (destination_id) do update set
  failing_since = case when known.last_failed_at < excluded.failing_since - $4::interval
                       then excluded.failing_since else known.failing_since end,
  warnings = case when known.last_failed_at < excluded.failing_since - $4::interval then 0 else known.warnings end,
  warned_at = case when known.last_failed_at < excluded.failing_since - $4::interval then null else known.warned_at end,
  last_failed_at = greatest(known.last_failed_at, excluded.last_failed_at)
where known.last_failed_at < excluded.last_failed_at - $5::interval`

const toInterval = (ms: number): string => `${ms} milliseconds`

/** Takes over what a worker saw; the other workers' is already there, or comes. */
export async function noteOutcomes(
  pool: pg.Pool,
  seen: ReadonlyMap<string, SeenOutcomes>,
): Promise<void> {
  // Sorted, so that two workers never lock the same rows in opposite order.
  const rows = [...seen].sort(([a], [b]) => (a < b ? -1 : 1))
  const delivered = rows.flatMap(([id, { deliveredAtMs }]) =>
    deliveredAtMs === null ? [] : [{ id, at: new Date(deliveredAtMs) }],
  )
  const failed = rows.flatMap(([id, { failed: one }]) => (one === null ? [] : [{ id, ...one }]))
  if (delivered.length > 0) {
    await pool.query(CLEAR, [delivered.map(({ id }) => id), delivered.map(({ at }) => at)])
  }
  if (failed.length > 0) {
    await pool.query(NOTE, [
      failed.map(({ id }) => id),
      failed.map(({ firstAtMs }) => new Date(firstAtMs)),
      failed.map(({ lastAtMs }) => new Date(lastAtMs)),
      toInterval(SILENT_AFTER_MS),
      toInterval(FRESH_FOR_MS),
    ])
  }
}

export type FailingDestination = Failing & { readonly destinationId: string }

/** Those that have failed long enough for a first warning, the longest first. */
export async function findFailingDestinations(
  pool: pg.Pool,
  nowMs: number,
  limit: number,
): Promise<FailingDestination[]> {
  const { rows } = await pool.query(
    `select f.* from destination_failures f join destinations d on d.id = f.destination_id
      where f.failing_since <= $1 and f.last_failed_at > $2 and d.status = 'active' and d.deleted_at is null
      order by f.failing_since limit $3`,
    [new Date(nowMs - (WARN_AFTER_MS[0] ?? 0)), new Date(nowMs - SILENT_AFTER_MS), limit],
  )
  return rows.map((row) => ({
    destinationId: row.destination_id,
    failingSinceMs: row.failing_since.getTime(),
    lastFailedAtMs: row.last_failed_at.getTime(),
    warnings: row.warnings,
    warnedAtMs: row.warned_at?.getTime() ?? null,
  }))
}

/** A day more than the longest schedule: what was accepted before may have been delivered since. */
const LONGEST_WAIT_MS = 8 * 86_400_000

/**
 * Whether the deliveries know of a success since: a worker that died may have taken the news of one with it. If so the
 * row is removed.
 */
export async function clearIfDelivered(
  pool: pg.Pool,
  { destinationId, failingSinceMs }: FailingDestination,
): Promise<boolean> {
  const { rowCount } = await pool.query(
    `delete from destination_failures where destination_id = $1 and exists (
       select from deliveries where destination_id = $1 and state = 'delivered'
                                and created_at >= $2 and updated_at >= $3)`,
    [destinationId, new Date(failingSinceMs - LONGEST_WAIT_MS), new Date(failingSinceMs)],
  )
  return (rowCount ?? 0) > 0
}

type Notice = {
  readonly destinationId: string
  readonly reason: string
  readonly failingSinceMs: number | null
  readonly nowMs: number
}

async function insertNotice(
  tx: Transaction,
  kind: 'failing' | 'disabled',
  { destinationId, reason, failingSinceMs, nowMs }: Notice,
): Promise<void> {
  await tx
    .insertInto('destination_notices')
    .values({
      destination_id: destinationId,
      kind,
      reason,
      failing_since: failingSinceMs === null ? null : new Date(failingSinceMs),
      created_at: new Date(nowMs),
      told_at: null,
    })
    .execute()
}

/** Counts one warning more and owes its owner the mail, both or neither. */
export async function oweWarning(
  db: Kysely<Database>,
  failing: FailingDestination,
  reason: string,
  nowMs: number,
): Promise<void> {
  const { destinationId, warnings, failingSinceMs } = failing
  await db.transaction().execute(async (tx) => {
    const { numUpdatedRows } = await tx
      .updateTable('destination_failures')
      .set({ warnings: warnings + 1, warned_at: new Date(nowMs) })
      .where('destination_id', '=', destinationId)
      .where('warnings', '=', warnings)
      .executeTakeFirst()
    if (numUpdatedRows === 0n) return
    await insertNotice(tx, 'failing', { destinationId, reason, failingSinceMs, nowMs })
  })
}

export type DisableOrder = Notice & {
  /** Only while it still has this URL: its owner may just have mended it. */
  readonly url?: string
}

/**
 * Disables a destination, which the audit log tells, and owes its owner the news, all or nothing. False when it is disabled or deleted already, or
 * has another URL by now. The caller announces the change.
 */
export async function disableDestination(
  db: Kysely<Database>,
  { destinationId, reason, url, failingSinceMs, nowMs }: DisableOrder,
): Promise<boolean> {
  return await inConfigTransaction(db, async (tx) => {
    const query = tx
      .selectFrom('destinations')
      .select(['organization_id', 'name', 'status'])
      .where('id', '=', destinationId)
      .where('status', '<>', 'disabled')
      .where('deleted_at', 'is', null)
      .forUpdate()
    const before = await (url === undefined
      ? query
      : query.where('url', '=', url)
    ).executeTakeFirst()
    if (before === undefined) return false
    await tx
      .updateTable('destinations')
      .set({ status: 'disabled', disabled_at: new Date(nowMs), disabled_reason: reason })
      .where('id', '=', destinationId)
      .execute()
    await writeAudit(tx, {
      ...{ organizationId: before.organization_id, eventType: 'destination.disabled' },
      ...{ apiKeyId: null, resourceType: 'destination', resourceId: destinationId },
      ...{ resourceName: before.name, action: 'disable', details: { actor: 'system', reason } },
      ...{ oldValues: { status: before.status }, newValues: { status: 'disabled' } },
    })
    await insertNotice(tx, 'disabled', { destinationId, reason, failingSinceMs, nowMs })
    return true
  })
}

/** What an owner is to be told, with what the mail needs. */
export type OwnerNotice = {
  readonly id: number
  readonly kind: 'failing' | 'disabled'
  readonly destinationId: string
  readonly organizationId: string
  readonly name: string
  readonly url: string
  readonly fallbackEmail: string | null
  readonly reason: string
  readonly failingSinceMs: number | null
  readonly createdAtMs: number
}

/** The oldest first; those of deleted destinations included, which are to be marked as told. */
export async function findUntoldNotices(
  db: Kysely<Database>,
  limit: number,
): Promise<OwnerNotice[]> {
  const rows = await db
    .selectFrom('destination_notices as n')
    .innerJoin('destinations as d', 'd.id', 'n.destination_id')
    .select(['n.id', 'n.kind', 'n.destination_id', 'n.reason', 'n.failing_since', 'n.created_at'])
    .select(['d.organization_id', 'd.name', 'd.url', 'd.fallback_email'])
    .where('n.told_at', 'is', null)
    .orderBy('n.id')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    destinationId: row.destination_id,
    organizationId: row.organization_id,
    name: row.name,
    url: row.url,
    fallbackEmail: row.fallback_email,
    reason: row.reason,
    failingSinceMs: row.failing_since?.getTime() ?? null,
    createdAtMs: row.created_at.getTime(),
  }))
}

export async function markTold(db: Kysely<Database>, id: number, nowMs: number): Promise<void> {
  await db
    .updateTable('destination_notices')
    .set({ told_at: new Date(nowMs) })
    .where('id', '=', id)
    .execute()
}
