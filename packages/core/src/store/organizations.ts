import type { Selectable } from 'kysely'
import { randomId } from '../ids.ts'
import type { Database } from './database.ts'
import type { Queryable, Transaction } from './transaction.ts'

export type OrganizationSettings = {
  readonly name: string
  /** URL changes at a provider wait until another key approves. */
  readonly needsChangeApproval: boolean
  /** Hears what concerns the organization as a whole, a destination that was disabled for one. */
  readonly operationsDestinationId: string | null
}

export type OrganizationRecord = OrganizationSettings & { readonly id: string }

const COLUMNS = ['id', 'name', 'webhook_change_approval', 'operations_destination_id'] as const

function toRecord(
  row: Pick<Selectable<Database['organizations']>, (typeof COLUMNS)[number]>,
): OrganizationRecord {
  return {
    id: row.id,
    name: row.name,
    needsChangeApproval: row.webhook_change_approval,
    operationsDestinationId: row.operations_destination_id,
  }
}

export async function createOrganization(
  tx: Transaction,
  name: string,
): Promise<OrganizationRecord> {
  const row = await tx
    .insertInto('organizations')
    .values({ id: randomId('org_'), name, created_at: new Date() })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow()
  return toRecord(row)
}

export async function findOrganization(
  db: Queryable,
  id: string,
): Promise<OrganizationRecord | undefined> {
  const row = await db
    .selectFrom('organizations')
    .select(COLUMNS)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return row && toRecord(row)
}

export async function updateOrganization(
  tx: Transaction,
  id: string,
  settings: OrganizationSettings,
): Promise<OrganizationRecord> {
  const row = await tx
    .updateTable('organizations')
    .set({
      name: settings.name,
      webhook_change_approval: settings.needsChangeApproval,
      operations_destination_id: settings.operationsDestinationId,
    })
    .where('id', '=', id)
    .returning(COLUMNS)
    .executeTakeFirstOrThrow()
  return toRecord(row)
}

/** After a destination of the organization was deleted: events of operations go to another, or to none. */
export async function forgetDeletedOperations(
  tx: Transaction,
  organizationId: string,
): Promise<void> {
  const deleted = tx.selectFrom('destinations').select('id').where('deleted_at', 'is not', null)
  await tx
    .updateTable('organizations')
    .set({ operations_destination_id: null })
    .where('id', '=', organizationId)
    .where('operations_destination_id', 'in', deleted.where('organization_id', '=', organizationId))
    .execute()
}
