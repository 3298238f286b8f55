import { type Call, findCallBySid } from './call-queries.ts'
import type { Queryable } from './transaction.ts'

/** A call by its SID, or by another name that its provider gave it (Telnyx: its session, its leg). */
export async function findCallNamed(
  db: Queryable,
  organizationId: string,
  name: string,
): Promise<Call | undefined> {
  const call = await findCallBySid(db, organizationId, name)
  if (call !== undefined) return call
  const alias = await db
    .selectFrom('call_aliases')
    .select('call_sid')
    .where('alias', '=', name)
    .where('organization_id', '=', organizationId)
    .executeTakeFirst()
  return alias && (await findCallBySid(db, organizationId, alias.call_sid))
}

/** At most a few: a name is its provider's, and random. */
export async function findTenantsOfCalls(
  db: Queryable,
  names: readonly string[],
): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('call_aliases')
    .select('organization_id')
    .distinct()
    .where('alias', 'in', names)
    .limit(10)
    .execute()
  return rows.map((row) => row.organization_id)
}
