import type { Selectable } from 'kysely'
import type { ApiScope, NewApiKey } from '../api-key.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** A key as its organization sees it: never its secret, nor the hash of it. */
export type ApiKeyRecord = {
  readonly id: string
  /** Burki's API names keys by numbers. */
  readonly number: number
  readonly name: string
  readonly scopes: readonly ApiScope[]
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export type ApiKeyWithUse = ApiKeyRecord & {
  readonly usageCount: number
  readonly lastUsedAtMs: number | null
}

const COLUMNS = ['id', 'number', 'name', 'scopes', 'created_at', 'updated_at'] as const

type Row = Pick<Selectable<Database['api_keys']>, (typeof COLUMNS)[number]>

function toRecord({ id, number, name, scopes, created_at, updated_at }: Row): ApiKeyRecord {
  return {
    ...{ id, number, name, scopes },
    createdAtMs: created_at.getTime(),
    updatedAtMs: updated_at.getTime(),
  }
}

/** The organization's own, but for deleted ones. */
function selectOwn(db: Queryable, organizationId: string) {
  return db
    .selectFrom('api_keys')
    .select(COLUMNS)
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
}

export async function insertApiKey(
  tx: Transaction,
  organizationId: string,
  { id, secretSha256 }: NewApiKey,
  fields: { readonly name: string; readonly scopes: readonly ApiScope[] },
): Promise<ApiKeyRecord> {
  const row = await tx
    .insertInto('api_keys')
    .values({
      id,
      organization_id: organizationId,
      name: fields.name,
      secret_sha256: secretSha256,
      scopes: [...fields.scopes],
      created_at: new Date(),
    })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow()
  return toRecord(row)
}

export async function countApiKeys(db: Queryable, organizationId: string): Promise<number> {
  const { count } = await db
    .selectFrom('api_keys')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
    .executeTakeFirstOrThrow()
  return count
}

/** Newest first. Index: api_keys_by_organization. */
export async function listApiKeys(
  db: Queryable,
  organizationId: string,
  page: PageRequest<string>,
): Promise<ApiKeyRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toRecord)
}

/** The newest `limit`, with how much each is used. */
export async function listApiKeysWithUse(
  db: Queryable,
  organizationId: string,
  limit: number,
): Promise<ApiKeyWithUse[]> {
  const rows = await db
    .selectFrom('api_keys as key')
    .leftJoin('api_key_uses as used', 'used.api_key_id', 'key.id')
    .select(['key.id', 'key.number', 'key.name', 'key.scopes', 'key.created_at', 'key.updated_at'])
    .select(['used.usage_count', 'used.last_used_at'])
    .where('key.organization_id', '=', organizationId)
    .where('key.deleted_at', 'is', null)
    .orderBy('key.created_at', 'desc')
    .orderBy('key.id', 'desc')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    ...toRecord(row),
    usageCount: row.usage_count ?? 0,
    lastUsedAtMs: row.last_used_at?.getTime() ?? null,
  }))
}

export async function findApiKeyByNumber(
  db: Queryable,
  organizationId: string,
  number: number,
): Promise<ApiKeyRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('number', '=', number).executeTakeFirst()
  return row === undefined ? undefined : toRecord(row)
}

export async function findApiKeyRecord(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<ApiKeyRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : toRecord(row)
}

/** False when the organization has no such key. */
export async function deleteApiKey(
  tx: Transaction,
  organizationId: string,
  id: string,
): Promise<boolean> {
  const row = await tx
    .updateTable('api_keys')
    .set({ deleted_at: new Date() })
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}
