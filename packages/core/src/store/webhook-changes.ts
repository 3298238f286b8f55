import { type Selectable, sql } from 'kysely'
import type { ProviderName } from '../event.ts'
import { randomId } from '../ids.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

type Row = Selectable<Database['webhook_changes']>

export type WebhookChangeState = Row['state']

/** A change of a number's URLs at its provider: asked for, decided and done. */
export type WebhookChange = {
  readonly id: string
  readonly organizationId: string
  readonly phoneNumber: string
  readonly provider: ProviderName
  readonly requested: Record<string, unknown>
  readonly before: Record<string, unknown> | null
  readonly after: Record<string, unknown> | null
  readonly state: WebhookChangeState
  readonly error: string | null
  /** API keys. */
  readonly requestedBy: string
  readonly decidedBy: string | null
  readonly rollbackOf: string | null
  readonly createdAtMs: number
  readonly decidedAtMs: number | null
}

export type NewWebhookChange = Pick<
  WebhookChange,
  'organizationId' | 'phoneNumber' | 'provider' | 'requested' | 'requestedBy'
> & {
  readonly state: 'pending' | 'applying'
  readonly before?: object
  readonly after?: object
  readonly error?: string
  readonly rollbackOf?: string
}

/** What a step of its life sets; what is undefined stays. */
export type WebhookChangeUpdate = {
  readonly state?: WebhookChangeState
  readonly before?: object
  readonly after?: object
  readonly error?: string | null
  readonly decidedBy?: string
}

/**
 * A change is made within this time. One that is `applying` for longer was cut off with its process, and keeps no
 * other change of the number from starting.
 */
export const APPLYING_LEASE_MS = 60_000

/** Keeps this lock apart from others of two keys. */
const NUMBER_LOCKS = 729410

function toChange(row: Row): WebhookChange {
  return {
    id: row.id,
    organizationId: row.organization_id,
    phoneNumber: row.phone_number,
    provider: row.provider,
    requested: row.requested,
    before: row.before,
    after: row.after,
    state: row.state,
    error: row.error,
    requestedBy: row.requested_by,
    decidedBy: row.decided_by,
    rollbackOf: row.rollback_of,
    createdAtMs: row.created_at.getTime(),
    decidedAtMs: row.decided_at?.getTime() ?? null,
  }
}

/** The time its application began. */
const startedAtMs = ({ createdAtMs, decidedAtMs }: WebhookChange): number =>
  decidedAtMs ?? createdAtMs

/** Its process has ended before the change was through. */
export function isInterrupted(change: WebhookChange, nowMs = Date.now()): boolean {
  return change.state === 'applying' && startedAtMs(change) < nowMs - APPLYING_LEASE_MS
}

export async function insertWebhookChange(
  db: Queryable,
  change: NewWebhookChange,
): Promise<WebhookChange> {
  const { before, after } = change
  const row = await db
    .insertInto('webhook_changes')
    .values({
      id: randomId('chg_'),
      organization_id: change.organizationId,
      phone_number: change.phoneNumber,
      provider: change.provider,
      requested: JSON.stringify(change.requested),
      before: before === undefined ? null : JSON.stringify(before),
      after: after === undefined ? null : JSON.stringify(after),
      state: change.state,
      error: change.error ?? null,
      requested_by: change.requestedBy,
      rollback_of: change.rollbackOf ?? null,
      created_at: new Date(),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toChange(row)
}

/** Undefined when the change is not in this state any more: somebody else was faster. */
export async function updateWebhookChange(
  db: Queryable,
  { id, state }: Pick<WebhookChange, 'id' | 'state'>,
  update: WebhookChangeUpdate,
): Promise<WebhookChange | undefined> {
  const { before, after, error, decidedBy } = update
  const row = await db
    .updateTable('webhook_changes')
    .set({
      state: update.state ?? state,
      ...(before === undefined ? {} : { before: JSON.stringify(before) }),
      ...(after === undefined ? {} : { after: JSON.stringify(after) }),
      ...(error === undefined ? {} : { error }),
      ...(decidedBy === undefined ? {} : { decided_by: decidedBy, decided_at: new Date() }),
    })
    .where('id', '=', id)
    .where('state', '=', state)
    .returningAll()
    .executeTakeFirst()
  return row === undefined ? undefined : toChange(row)
}

/**
 * Runs `claim`, which makes a change of the number `applying`, unless another one of it is being made; then it answers
 * undefined. The lock is held for the look only: the row itself keeps others away while the provider is called.
 */
export async function claimNumber<T>(
  db: Queryable,
  organizationId: string,
  phoneNumber: string,
  claim: (tx: Transaction) => Promise<T>,
): Promise<T | undefined> {
  return await db.transaction().execute(async (tx) => {
    const key = `${organizationId} ${phoneNumber}`
    await sql`select pg_advisory_xact_lock(${sql.lit(NUMBER_LOCKS)}, hashtext(${key}))`.execute(tx)
    const since = new Date(Date.now() - APPLYING_LEASE_MS)
    const other = await tx
      .selectFrom('webhook_changes')
      .select('id')
      .where('organization_id', '=', organizationId)
      .where('phone_number', '=', phoneNumber)
      .where('state', '=', 'applying')
      .where(sql<boolean>`coalesce(decided_at, created_at) >= ${since}`)
      .executeTakeFirst()
    return other === undefined ? await claim(tx) : undefined
  })
}

export async function findWebhookChange(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<WebhookChange | undefined> {
  const row = await db
    .selectFrom('webhook_changes')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .executeTakeFirst()
  return row === undefined ? undefined : toChange(row)
}

export type WebhookChangeFilter = {
  readonly state?: WebhookChangeState | undefined
  readonly phoneNumber?: string | undefined
}

/** Newest first. Index: webhook_changes_by_organization, or webhook_changes_by_number. */
export async function listWebhookChanges(
  db: Queryable,
  organizationId: string,
  { state, phoneNumber }: WebhookChangeFilter,
  page: PageRequest<string>,
): Promise<WebhookChange[]> {
  let query = db
    .selectFrom('webhook_changes')
    .selectAll()
    .where('organization_id', '=', organizationId)
  if (state !== undefined) query = query.where('state', '=', state)
  if (phoneNumber !== undefined) query = query.where('phone_number', '=', phoneNumber)
  const rows = await query
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toChange)
}
