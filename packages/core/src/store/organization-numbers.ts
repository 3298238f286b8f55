import type { ProviderName } from '../event.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** Rows of one statement: 6 parameters each, of 65,535 in all. */
const ROWS_PER_INSERT = 1_000

/** A number that a provider's account has. */
export type ProviderOwnedNumber = {
  readonly phoneNumber: string
  readonly provider: ProviderName
}

/** Adds those that the organization does not have, and leaves the others as they are. Returns the ones added. */
export async function importPhoneNumbers(
  tx: Transaction,
  organizationId: string,
  numbers: readonly ProviderOwnedNumber[],
): Promise<string[]> {
  const added: string[] = []
  for (let first = 0; first < numbers.length; first += ROWS_PER_INSERT) {
    const rows = await tx
      .insertInto('phone_numbers')
      .values(
        numbers.slice(first, first + ROWS_PER_INSERT).map(({ phoneNumber, provider }) => ({
          ...{ organization_id: organizationId, phone_number: phoneNumber, provider },
          created_at: new Date(),
        })),
      )
      .onConflict((conflict) =>
        conflict
          .columns(['organization_id', 'phone_number'])
          .where('deleted_at', 'is', null)
          .doNothing(),
      )
      .returning('phone_number')
      .execute()
    added.push(...rows.map((row) => row.phone_number))
  }
  return added
}

/** Who the organization's number is with; undefined when it has no such number. */
export async function findNumberProvider(
  db: Queryable,
  organizationId: string,
  phoneNumber: string,
): Promise<ProviderName | undefined> {
  const row = await db
    .selectFrom('phone_numbers')
    .select('provider')
    .where('organization_id', '=', organizationId)
    .where('phone_number', '=', phoneNumber)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return row?.provider
}

/** A number and the assistant that it belongs to. */
export type AssignedNumber = ProviderOwnedNumber & {
  readonly id: number
  readonly assistant: { readonly id: number; readonly name: string } | null
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

/** Newest first, at most `limit`. Index: phone_numbers_by_organization. */
export async function listAssignedNumbers(
  db: Queryable,
  organizationId: string,
  which: { readonly assigned: boolean; readonly unassigned: boolean },
  limit: number,
): Promise<AssignedNumber[]> {
  if (!which.assigned && !which.unassigned) return []
  let query = db
    .selectFrom('phone_numbers as number')
    .leftJoin('assistants as assistant', (join) =>
      join.onRef('assistant.id', '=', 'number.assistant_id').on('assistant.deleted_at', 'is', null),
    )
    .select(['number.id', 'number.phone_number', 'number.provider'])
    .select(['number.created_at', 'number.updated_at'])
    .select(['assistant.id as assistant_id', 'assistant.name as assistant_name'])
    .where('number.organization_id', '=', organizationId)
    .where('number.deleted_at', 'is', null)
  if (!which.assigned) query = query.where('assistant.id', 'is', null)
  if (!which.unassigned) query = query.where('assistant.id', 'is not', null)
  const rows = await query
    .orderBy('number.created_at', 'desc')
    .orderBy('number.id', 'desc')
    .limit(limit)
    .execute()
  return rows.map((row) => ({
    id: row.id,
    phoneNumber: row.phone_number,
    provider: row.provider,
    assistant:
      row.assistant_id === null || row.assistant_name === null
        ? null
        : { id: row.assistant_id, name: row.assistant_name },
    createdAtMs: row.created_at.getTime(),
    updatedAtMs: row.updated_at.getTime(),
  }))
}
