import type { Selectable } from 'kysely'
import type pg from 'pg'
import type { ProviderName } from '../event.ts'
import type { Database } from './database.ts'
import type { Queryable } from './transaction.ts'

/** A webhook that was not delivered to anybody, as it came. `headers` are those that verification reads. */
export type QuarantinedWebhook = {
  readonly id: string
  /** Null while it is not known whose it is. */
  readonly organizationId: string | null
  readonly provider: ProviderName
  readonly providerAccountId: string | null
  readonly claimedAccountSid: string | null
  readonly claimedNumbers: readonly string[]
  readonly reason: string
  readonly detail: string
  /** Its signature held; only its number is nobody's. */
  readonly isAuthentic: boolean
  readonly method: string
  /** Path and query, a path token replaced by `{token}`. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly clientIp: string | null
  readonly body: Buffer
  readonly receivedAtMs: number
  readonly expiresAtMs: number
}

export type HeldWebhook = QuarantinedWebhook & { readonly state: 'held' | 'released' }

/** What one tenant, or nobody, may have in quarantine of what failed verification, and one sender of that. */
const MAX_FORGED_ROWS = 1_000
const MAX_FORGED_ROWS_OF_SENDER = 200

/** What an authentic webhook replaces of a forged one of the same bytes. */
const UPGRADED = 'reason detail provider_account_id headers client_ip received_at expires_at'
  .split(' ')
  .map(
    (column) =>
      `${column} = case when excluded.is_authentic and not quarantine.is_authentic
                        then excluded.${column} else quarantine.${column} end`,
  )
  .join(', ')

/**
 * The newest are kept: a full quarantine that took nothing more could be shut by anybody, for days. What is authentic
 * takes the place of what was not.
 */
const INSERT = `
with kept as (
  select id, row_number() over (order by received_at desc, id) as place,
         row_number() over (partition by client_ip order by received_at desc, id) as place_of_sender
    from quarantine
   where organization_id is not distinct from $2::text and not is_authentic and not $9::boolean and id <> $1
), evicted as (
  delete from quarantine where id in
    (select id from kept where place >= ${MAX_FORGED_ROWS} or place_of_sender >= ${MAX_FORGED_ROWS_OF_SENDER})
)
insert into quarantine (id, organization_id, provider, provider_account_id, claimed_account_sid, claimed_numbers, reason,
                        detail, is_authentic, method, target, headers, client_ip, body, received_at, last_seen_at,
                        expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15, $16)
on conflict (id) do update set
  seen_count = quarantine.seen_count + 1, last_seen_at = excluded.last_seen_at,
  is_authentic = quarantine.is_authentic or excluded.is_authentic, ${UPGRADED}`

/** Sent again, it is the same row. */
export async function insertQuarantined(pool: pg.Pool, row: QuarantinedWebhook): Promise<void> {
  await pool.query({
    name: 'quarantine',
    text: INSERT,
    values: [
      ...[row.id, row.organizationId, row.provider, row.providerAccountId, row.claimedAccountSid],
      ...[row.claimedNumbers, row.reason, row.detail, row.isAuthentic, row.method, row.target],
      ...[JSON.stringify(row.headers), row.clientIp, row.body],
      ...[new Date(row.receivedAtMs), new Date(row.expiresAtMs)],
    ],
  })
}

export function toHeldWebhook(row: Selectable<Database['quarantine']>): HeldWebhook {
  return {
    id: row.id,
    organizationId: row.organization_id,
    provider: row.provider,
    providerAccountId: row.provider_account_id,
    claimedAccountSid: row.claimed_account_sid,
    claimedNumbers: row.claimed_numbers,
    reason: row.reason,
    detail: row.detail,
    isAuthentic: row.is_authentic,
    method: row.method,
    target: row.target,
    headers: row.headers,
    clientIp: row.client_ip,
    body: row.body,
    receivedAtMs: row.received_at.getTime(),
    expiresAtMs: row.expires_at.getTime(),
    state: row.state,
  }
}

/** The organization's own, or nobody's: whose that is, verification must tell. */
export async function findHeldWebhook(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<HeldWebhook | undefined> {
  const row = await db
    .selectFrom('quarantine')
    .selectAll()
    .where('id', '=', id)
    .where((where) =>
      where.or([
        where('organization_id', '=', organizationId),
        where('organization_id', 'is', null),
      ]),
    )
    .where('expires_at', '>', new Date())
    .executeTakeFirst()
  return row === undefined ? undefined : toHeldWebhook(row)
}

/** Verified with the organization's own keys: from now on it is shown to it. */
export async function claimHeldWebhook(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<void> {
  await db
    .updateTable('quarantine')
    .set({ organization_id: organizationId })
    .where('id', '=', id)
    .where('organization_id', 'is', null)
    .execute()
}

export async function markReleased(
  db: Queryable,
  id: string,
  eventIds: readonly string[],
): Promise<void> {
  await db
    .updateTable('quarantine')
    .set({ state: 'released', released_at: new Date(), event_ids: [...eventIds] })
    .where('id', '=', id)
    .execute()
}
