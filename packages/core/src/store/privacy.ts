import { type Selectable, sql } from 'kysely'
import { randomId } from '../ids.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

export const ERASURE_PHASES = ['calls', 'events', 'quarantine', 'logs'] as const
export type ErasurePhase = (typeof ERASURE_PHASES)[number]

/** The erasure of one person's number from an organization. It does not hold the number: see `RunningErasure`. */
export type Erasure = {
  readonly id: string
  readonly organizationId: string
  readonly state: 'running' | 'finished' | 'failed'
  readonly reason: string | null
  /** What is gone through now, in the order of `ERASURE_PHASES`. */
  readonly phase: ErasurePhase
  readonly eventsErased: number
  readonly deliveriesCancelled: number
  readonly attemptsErased: number
  readonly callsErased: number
  readonly quarantinedDeleted: number
  readonly createdAtMs: number
  readonly finishedAtMs: number | null
}

export type RunningErasure = Erasure & {
  /** E.164 */
  readonly phoneNumber: string
  /** The last row that was looked at in this phase; undefined at its beginning. */
  readonly position: ErasurePosition | undefined
}

/** `at` is null where the id alone tells the order. */
export type ErasurePosition = { readonly at: Date | null; readonly id: string }

export type ErasureCounts = {
  readonly eventsErased: number
  readonly deliveriesCancelled: number
  readonly attemptsErased: number
  readonly callsErased: number
  readonly quarantinedDeleted: number
}

function toErasure(row: Selectable<Database['erasures']>): Erasure {
  return {
    id: row.id,
    organizationId: row.organization_id,
    state: row.state,
    reason: row.reason,
    phase: row.phase,
    eventsErased: row.events_erased,
    deliveriesCancelled: row.deliveries_cancelled,
    attemptsErased: row.attempts_erased,
    callsErased: row.calls_erased,
    quarantinedDeleted: row.quarantined_deleted,
    createdAtMs: row.created_at.getTime(),
    finishedAtMs: row.finished_at?.getTime() ?? null,
  }
}

/** Throws a unique violation when one of this number is running. */
export async function insertErasure(
  tx: Transaction,
  facts: {
    readonly organizationId: string
    readonly phoneNumber: string
    readonly requestedBy: string
    readonly nowMs: number
  },
): Promise<Erasure> {
  const row = await tx
    .insertInto('erasures')
    .values({
      id: randomId('era_'),
      organization_id: facts.organizationId,
      phone_number: facts.phoneNumber,
      state: 'running',
      phase: 'calls',
      requested_by: facts.requestedBy,
      created_at: new Date(facts.nowMs),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toErasure(row)
}

export async function countRunningErasures(db: Queryable, organizationId: string): Promise<number> {
  const row = await db
    .selectFrom('erasures')
    .select(sql<number>`count(*)`.as('count'))
    .where('organization_id', '=', organizationId)
    .where('state', '=', sql.lit('running'))
    .executeTakeFirst()
  return row?.count ?? 0
}

export async function findErasure(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<Erasure | undefined> {
  const row = await db
    .selectFrom('erasures')
    .selectAll()
    .where('id', '=', id)
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return row && toErasure(row)
}

/** Newest first. Index: erasures_by_organization. */
export async function listErasures(
  db: Queryable,
  organizationId: string,
  page: PageRequest<string>,
): Promise<Erasure[]> {
  const rows = await db
    .selectFrom('erasures')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toErasure)
}

/** The oldest that run, of all organizations. Index: erasures_one_running. */
export async function findRunningErasures(
  db: Queryable,
  requestedBeforeMs: number,
  limit: number,
): Promise<RunningErasure[]> {
  const rows = await db
    .selectFrom('erasures')
    .selectAll()
    .where('state', '=', sql.lit('running'))
    .where('created_at', '<=', new Date(requestedBeforeMs))
    .orderBy('created_at')
    .limit(limit)
    .execute()
  return rows.flatMap((row) => {
    const { phone_number: phoneNumber, position_at: at, position_id: id } = row
    const position = id === null ? undefined : { at, id }
    return phoneNumber === null ? [] : [{ ...toErasure(row), phoneNumber, position }]
  })
}

export type ErasureChange = Partial<ErasureCounts> & {
  /** Where it goes on; `next` is the beginning of the phase after this one, or the end. */
  readonly position: ErasurePosition | 'next'
}

/**
 * Writes down how far it came, in the transaction of what was done. Throws when somebody else came further meanwhile,
 * so that what this one did is rolled back. At the end the number is forgotten.
 */
export async function advanceErasure(
  tx: Transaction,
  erasure: RunningErasure,
  { position, ...counts }: ErasureChange,
): Promise<Erasure> {
  const nextPhase = ERASURE_PHASES[ERASURE_PHASES.indexOf(erasure.phase) + 1]
  const isOver = position === 'next' && nextPhase === undefined
  const row = await tx
    .updateTable('erasures')
    .set({
      events_erased: erasure.eventsErased + (counts.eventsErased ?? 0),
      deliveries_cancelled: erasure.deliveriesCancelled + (counts.deliveriesCancelled ?? 0),
      attempts_erased: erasure.attemptsErased + (counts.attemptsErased ?? 0),
      calls_erased: erasure.callsErased + (counts.callsErased ?? 0),
      quarantined_deleted: erasure.quarantinedDeleted + (counts.quarantinedDeleted ?? 0),
      position_at: position === 'next' ? null : position.at,
      position_id: position === 'next' ? null : position.id,
      ...(position === 'next' && nextPhase !== undefined ? { phase: nextPhase } : {}),
      ...(isOver ? { state: 'finished', phone_number: null, finished_at: new Date() } : {}),
    })
    .where('id', '=', erasure.id)
    .where('state', '=', 'running')
    .where('phase', '=', erasure.phase)
    .where(sql<boolean>`position_at is not distinct from ${erasure.position?.at ?? null}`)
    .where(sql<boolean>`position_id is not distinct from ${erasure.position?.id ?? null}`)
    .returningAll()
    .executeTakeFirst()
  if (row === undefined) throw new Error(`${erasure.id} is further than this step`)
  return toErasure(row)
}

/** For one that Postgres refuses to go on with. It must be asked for again. */
export async function failErasure(db: Queryable, id: string, reason: string): Promise<void> {
  await db
    .updateTable('erasures')
    .set({
      ...{ state: 'failed', reason, phone_number: null, finished_at: new Date() },
      // The name of a call may hold the number.
      position_id: null,
    })
    .where('id', '=', id)
    .where('state', '=', 'running')
    .execute()
}
