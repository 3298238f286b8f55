import { randomId } from '../ids.ts'
import type { Queryable, Transaction } from './transaction.ts'

export type OrganizationRecord = { readonly id: string; readonly name: string }

export async function createOrganization(
  tx: Transaction,
  name: string,
): Promise<OrganizationRecord> {
  return await tx
    .insertInto('organizations')
    .values({ id: randomId('org_'), name, created_at: new Date() })
    .returning(['id', 'name'])
    .executeTakeFirstOrThrow()
}

export async function findOrganization(
  db: Queryable,
  id: string,
): Promise<OrganizationRecord | undefined> {
  return await db
    .selectFrom('organizations')
    .select(['id', 'name'])
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
}

export async function renameOrganization(
  tx: Transaction,
  id: string,
  name: string,
): Promise<OrganizationRecord | undefined> {
  return await tx
    .updateTable('organizations')
    .set({ name })
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning(['id', 'name'])
    .executeTakeFirst()
}
