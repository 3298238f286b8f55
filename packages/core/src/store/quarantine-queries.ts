import { type Selectable, sql } from 'kysely'
import type { ProviderName } from '../event.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable } from './transaction.ts'

/** What of a quarantined webhook its organization may see. */
export type QuarantinedWebhook = {
  readonly id: string
  readonly provider: ProviderName
  readonly providerAccountId: string | null
  readonly claimedAccountSid: string | null
  readonly claimedNumbers: readonly string[]
  readonly reason: string
  readonly detail: string
  readonly isAuthentic: boolean
  readonly method: string
  readonly seenCount: number
  readonly receivedAtMs: number
  readonly lastSeenAtMs: number
  readonly expiresAtMs: number
  readonly state: 'held' | 'released'
  readonly releasedAtMs: number | null
  readonly eventIds: readonly string[]
  /** Null while it is not known whose it is: anybody can claim a number. */
  readonly request: {
    readonly target: string
    readonly headers: Readonly<Record<string, string>>
    readonly clientIp: string | null
    readonly bodyStart: Buffer
    readonly bodyBytes: number
  } | null
}

export type QuarantineFilter = {
  readonly provider?: ProviderName | undefined
  readonly reason?: string | undefined
  readonly state?: 'held' | 'released' | undefined
}

/** How much of a body is shown. */
const MAX_PREVIEW_BYTES = 2_048

type Row = Omit<Selectable<Database['quarantine']>, 'body'> & {
  body_start: Buffer
  body_bytes: number
  is_claimed_account_own: boolean
  own_claimed_numbers: string[]
}

function toQuarantined(row: Row): QuarantinedWebhook {
  const isOwn = row.organization_id !== null
  return {
    id: row.id,
    provider: row.provider,
    providerAccountId: row.provider_account_id,
    claimedAccountSid: isOwn || row.is_claimed_account_own ? row.claimed_account_sid : null,
    claimedNumbers: isOwn ? row.claimed_numbers : row.own_claimed_numbers,
    reason: row.reason,
    detail: row.detail,
    isAuthentic: row.is_authentic,
    method: row.method,
    seenCount: row.seen_count,
    receivedAtMs: row.received_at.getTime(),
    lastSeenAtMs: row.last_seen_at.getTime(),
    expiresAtMs: row.expires_at.getTime(),
    state: row.state,
    releasedAtMs: row.released_at?.getTime() ?? null,
    eventIds: row.event_ids,
    request: isOwn
      ? {
          target: row.target,
          headers: row.headers,
          clientIp: row.client_ip,
          bodyStart: row.body_start,
          bodyBytes: row.body_bytes,
        }
      : null,
  }
}

/**
 * The organization's own, and those of nobody that name one of its accounts or numbers. Indexes:
 * quarantine_by_organization, quarantine_by_account, quarantine_by_number.
 */
function selectVisible(db: Queryable, organizationId: string) {
  const numbers = sql<string[]>`array(select phone_number from phone_numbers
    where organization_id = ${organizationId} and deleted_at is null)`
  const isAccountOwn = sql<boolean>`exists (select from provider_accounts account
    where account.organization_id = ${organizationId} and account.deleted_at is null
      and account.provider = quarantine.provider and account.account_sid = quarantine.claimed_account_sid)`
  return db
    .selectFrom('quarantine')
    .select([
      ...([
        'id',
        'organization_id',
        'provider',
        'provider_account_id',
        'reason',
        'detail',
      ] as const),
      ...(['claimed_account_sid', 'claimed_numbers', 'is_authentic', 'method', 'target'] as const),
      ...(['headers', 'client_ip', 'seen_count', 'received_at', 'last_seen_at'] as const),
      ...(['expires_at', 'state', 'released_at', 'event_ids'] as const),
    ])
    .select([
      sql<Buffer>`substring(body from 1 for ${sql.lit(MAX_PREVIEW_BYTES)})`.as('body_start'),
      sql<number>`length(body)`.as('body_bytes'),
      isAccountOwn.as('is_claimed_account_own'),
      sql<string[]>`array(select number from unnest(claimed_numbers) number
        where number = any(${numbers}))`.as('own_claimed_numbers'),
    ])
    .where(({ and, or, eb }) =>
      or([
        eb('organization_id', '=', organizationId),
        and([
          eb('organization_id', 'is', null),
          or([sql<boolean>`claimed_numbers && ${numbers}`, isAccountOwn]),
        ]),
      ]),
    )
    .where('expires_at', '>', new Date())
}

/** Newest first. */
export async function listQuarantine(
  db: Queryable,
  organizationId: string,
  filter: QuarantineFilter,
  page: PageRequest<string>,
): Promise<QuarantinedWebhook[]> {
  let query = selectVisible(db, organizationId).where(withinPage('received_at', 'id', page))
  if (filter.provider !== undefined) query = query.where('provider', '=', filter.provider)
  if (filter.reason !== undefined) query = query.where('reason', '=', filter.reason)
  if (filter.state !== undefined) query = query.where('state', '=', filter.state)
  const rows = await query
    .orderBy('received_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toQuarantined)
}

export async function findQuarantined(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<QuarantinedWebhook | undefined> {
  const row = await selectVisible(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row && toQuarantined(row)
}
