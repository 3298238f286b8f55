import { sql } from 'kysely'
import type pg from 'pg'
import type { CircuitChange } from '../circuits.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable } from './transaction.ts'

/** Changes of circuits whose destinations exist no more are left out. */
export async function writeCircuitChanges(
  pool: pg.Pool,
  changes: readonly CircuitChange[],
): Promise<void> {
  const timeOf = (ms: number | null): Date | null => (ms === null ? null : new Date(ms))
  await pool.query(
    `insert into circuit_changes
       (organization_id, destination_id, kind, changed_at, opened_at, pause_ms, next_probe_at)
     select destinations.organization_id, changes.*
       from unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::timestamptz[])
            as changes (destination_id, kind, changed_at, opened_at, pause_ms, next_probe_at)
       join destinations on destinations.id = changes.destination_id`,
    [
      changes.map(({ destinationId }) => destinationId),
      changes.map(({ kind }) => kind),
      changes.map(({ atMs }) => new Date(atMs)),
      changes.map(({ openedAtMs }) => new Date(openedAtMs)),
      changes.map(({ pauseMs }) => pauseMs),
      changes.map(({ nextProbeAtMs }) => timeOf(nextProbeAtMs)),
    ],
  )
}

export type StoredCircuitChange = CircuitChange & { readonly id: number }

const COLUMNS = [
  'id',
  'destination_id',
  'kind',
  'changed_at',
  'opened_at',
  'pause_ms',
  'next_probe_at',
] as const

/** The organization's, newest first. Index: circuit_changes_by_destination. */
export async function listCircuitChanges(
  db: Queryable,
  organizationId: string,
  destinationId: string,
  page: PageRequest<number>,
): Promise<StoredCircuitChange[]> {
  const rows = await db
    .selectFrom('circuit_changes')
    .select(COLUMNS)
    .where('organization_id', '=', organizationId)
    .where('destination_id', '=', destinationId)
    .where(withinPage('changed_at', 'id', page))
    .orderBy('changed_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map((row) => ({
    id: row.id,
    destinationId: row.destination_id,
    kind: row.kind,
    atMs: row.changed_at.getTime(),
    openedAtMs: row.opened_at.getTime(),
    pauseMs: row.pause_ms,
    nextProbeAtMs: row.next_probe_at?.getTime() ?? null,
  }))
}

/** The last change of each, for when Redis cannot be asked. Index: circuit_changes_by_destination. */
export async function findLastCircuitChanges(
  db: Queryable,
  destinationIds: readonly string[],
): Promise<ReadonlyMap<string, CircuitChange>> {
  if (destinationIds.length === 0) return new Map()
  const { rows } = await sql<{
    destination_id: string
    kind: CircuitChange['kind']
    changed_at: Date
    opened_at: Date
    pause_ms: number | null
    next_probe_at: Date | null
  }>`
    select last.* from unnest(${destinationIds}::text[]) as wanted (id)
     cross join lateral (
       select destination_id, kind, changed_at, opened_at, pause_ms, next_probe_at from circuit_changes
        where destination_id = wanted.id order by changed_at desc, id desc limit 1
     ) as last`.execute(db)
  return new Map(
    rows.map((row) => [
      row.destination_id,
      {
        destinationId: row.destination_id,
        kind: row.kind,
        atMs: row.changed_at.getTime(),
        openedAtMs: row.opened_at.getTime(),
        pauseMs: row.pause_ms,
        nextProbeAtMs: row.next_probe_at?.getTime() ?? null,
      },
    ]),
  )
}
