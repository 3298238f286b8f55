import type { Selectable } from 'kysely'
import type { ProviderName } from '../event.ts'
import { randomId } from '../ids.ts'
import { encryptSecret, type KeyRing } from '../secrets.ts'
import { sealOf } from './config-changes.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** An account as its organization sees it: its secrets are write-only. */
export type ProviderAccountRecord = {
  readonly id: string
  readonly provider: ProviderName
  readonly accountSid: string | null
  readonly hasSecondaryAuthToken: boolean
  readonly createdAtMs: number
}

/** In clear, on their way in. Null takes the secondary one away; what is undefined stays. */
export type ProviderSecrets = {
  readonly authToken?: string | undefined
  readonly secondaryAuthToken?: string | null | undefined
}

function toRecord(row: Selectable<Database['provider_accounts']>): ProviderAccountRecord {
  return {
    id: row.id,
    provider: row.provider,
    accountSid: row.account_sid,
    hasSecondaryAuthToken: row.secondary_auth_token !== null,
    createdAtMs: row.created_at.getTime(),
  }
}

/** The secrets as they are stored, each sealed to its row. */
function secretColumns(ring: KeyRing, id: string, secrets: ProviderSecrets) {
  const seal = (plain: string) => encryptSecret(ring, plain, sealOf(id, 'auth_token'))
  const sealSecondary = (plain: string | null) =>
    plain === null ? null : encryptSecret(ring, plain, sealOf(id, 'secondary_auth_token'))
  const { authToken, secondaryAuthToken } = secrets
  return {
    ...(authToken === undefined ? {} : { auth_token: seal(authToken) }),
    ...(secondaryAuthToken === undefined
      ? {}
      : { secondary_auth_token: sealSecondary(secondaryAuthToken) }),
  }
}

/** The organization's own, but for deleted ones. */
function selectOwn(db: Queryable, organizationId: string) {
  return db
    .selectFrom('provider_accounts')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
}

/** Fails with a unique violation when the organization has this account already. */
export async function insertProviderAccount(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  account: { readonly provider: ProviderName; readonly accountSid: string },
  secrets: ProviderSecrets,
): Promise<ProviderAccountRecord> {
  const id = randomId('pac_')
  const row = await tx
    .insertInto('provider_accounts')
    .values({
      id,
      organization_id: organizationId,
      provider: account.provider,
      account_sid: account.accountSid,
      created_at: new Date(),
      ...secretColumns(ring, id, secrets),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return toRecord(row)
}

/** Newest first. Index: provider_accounts_by_organization. */
export async function listProviderAccounts(
  db: Queryable,
  organizationId: string,
  page: PageRequest<string>,
): Promise<ProviderAccountRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toRecord)
}

export async function findProviderAccount(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<ProviderAccountRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : toRecord(row)
}

export async function replaceProviderSecrets(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  id: string,
  secrets: ProviderSecrets,
): Promise<ProviderAccountRecord | undefined> {
  const columns = secretColumns(ring, id, secrets)
  if (Object.keys(columns).length === 0) return await findProviderAccount(tx, organizationId, id)
  const row = await tx
    .updateTable('provider_accounts')
    .set(columns)
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returningAll()
    .executeTakeFirst()
  return row === undefined ? undefined : toRecord(row)
}

/** Its secrets are gone at once. False when the organization has no such account. */
export async function deleteProviderAccount(
  tx: Transaction,
  organizationId: string,
  id: string,
): Promise<boolean> {
  const row = await tx
    .updateTable('provider_accounts')
    .set({ deleted_at: new Date(), auth_token: null, secondary_auth_token: null })
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}
