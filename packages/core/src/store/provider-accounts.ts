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
  readonly publicKey: string | null
  readonly allowedCidrs: readonly string[]
  readonly hasSecondaryAuthToken: boolean
  readonly hasApiKey: boolean
  readonly hasApiSecret: boolean
  readonly hasBasic: boolean
  /** Its webhooks come to a path that only the provider knows. */
  readonly hasToken: boolean
  readonly createdAtMs: number
}

/** What is no secret of an account. What is undefined stays, or is null in a new one. */
export type ProviderAccountFields = {
  readonly accountSid?: string | undefined
  readonly publicKey?: string | undefined
  readonly allowedCidrs?: readonly string[] | undefined
}

/** In clear, on their way in. Null takes one away; what is undefined stays. */
export type ProviderSecrets = {
  readonly authToken?: string | undefined
  readonly secondaryAuthToken?: string | null | undefined
  readonly apiKey?: string | null | undefined
  readonly apiSecret?: string | null | undefined
  readonly basic?: { readonly username: string; readonly password: string } | null | undefined
}

type SecretColumn = 'auth_token' | 'secondary_auth_token' | 'api_key' | 'api_secret' | 'basic'

function toRecord(row: Selectable<Database['provider_accounts']>): ProviderAccountRecord {
  return {
    id: row.id,
    provider: row.provider,
    accountSid: row.account_sid,
    publicKey: row.public_key,
    allowedCidrs: row.allowed_cidrs,
    hasSecondaryAuthToken: row.secondary_auth_token !== null,
    hasApiKey: row.api_key !== null,
    hasApiSecret: row.api_secret !== null,
    hasBasic: row.basic !== null,
    hasToken: row.token_sha256 !== null,
    createdAtMs: row.created_at.getTime(),
  }
}

/** What is set of the fields and secrets, as it is stored: each secret sealed to its row and column. */
function columnsOf(
  ring: KeyRing,
  id: string,
  fields: ProviderAccountFields,
  secrets: ProviderSecrets,
) {
  const seal = (column: SecretColumn, plain: string | null | undefined) => {
    if (plain === undefined) return {}
    const value = plain === null ? null : encryptSecret(ring, plain, sealOf(id, column))
    return { [column]: value } as { [column in SecretColumn]?: string | null }
  }
  const { accountSid, publicKey, allowedCidrs } = fields
  return {
    ...(accountSid === undefined ? {} : { account_sid: accountSid }),
    ...(publicKey === undefined ? {} : { public_key: publicKey }),
    ...(allowedCidrs === undefined ? {} : { allowed_cidrs: [...allowedCidrs] }),
    ...seal('auth_token', secrets.authToken),
    ...seal('secondary_auth_token', secrets.secondaryAuthToken),
    ...seal('api_key', secrets.apiKey),
    ...seal('api_secret', secrets.apiSecret),
    ...seal('basic', secrets.basic && JSON.stringify(secrets.basic)),
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

/** `tokenSha256`: of the path token, null without one. Fails with a unique violation for an account SID that is there. */
export async function insertProviderAccount(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  provider: ProviderName,
  fields: ProviderAccountFields,
  secrets: ProviderSecrets,
  tokenSha256: Buffer | null,
): Promise<ProviderAccountRecord> {
  const id = randomId('pac_')
  const row = await tx
    .insertInto('provider_accounts')
    .values({
      id,
      organization_id: organizationId,
      provider,
      token_sha256: tokenSha256,
      created_at: new Date(),
      ...columnsOf(ring, id, fields, secrets),
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

/** Of an account of the organization; changing nothing answers it as it is. */
export async function updateProviderAccount(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  id: string,
  fields: ProviderAccountFields,
  secrets: ProviderSecrets,
): Promise<ProviderAccountRecord | undefined> {
  const columns = columnsOf(ring, id, fields, secrets)
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

/** The token before stays good until the next rotation: the provider has to be told the new one first. */
export async function rotateProviderToken(
  tx: Transaction,
  organizationId: string,
  id: string,
  tokenSha256: Buffer,
): Promise<void> {
  await tx
    .updateTable('provider_accounts')
    .set(({ ref }) => ({
      token_sha256: tokenSha256,
      previous_token_sha256: ref('token_sha256'),
    }))
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .execute()
}

/** Its secrets are gone at once. The account as it was; undefined when the organization has no such account. */
export async function deleteProviderAccount(
  tx: Transaction,
  organizationId: string,
  id: string,
): Promise<ProviderAccountRecord | undefined> {
  const account = await findProviderAccount(tx, organizationId, id)
  if (account === undefined) return undefined
  const gone = { auth_token: null, secondary_auth_token: null, api_key: null, api_secret: null }
  await tx
    .updateTable('provider_accounts')
    .set({ ...gone, basic: null, token_sha256: null, previous_token_sha256: null })
    .set({ deleted_at: new Date() })
    .where('id', '=', id)
    .execute()
  return account
}
