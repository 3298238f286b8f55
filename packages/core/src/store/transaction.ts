import { type Kysely, type Transaction as KyselyTransaction, sql } from 'kysely'
import type { Database } from './database.ts'

export type Transaction = KyselyTransaction<Database>

/** For readers that do not care whether they are in a transaction. */
export type Queryable = Kysely<Database>

/** The lock that stamp_config_version (migration 0001) takes with every row. */
const CONFIG_LOCK = 729401

/**
 * A transaction that changes configuration; commits what `work` did, or nothing when it throws. One at a time: what it
 * reads of the configuration does not change before it ends. The lock comes before any row, else two changes could
 * each hold a row that the other waits for.
 */
export async function inConfigTransaction<T>(
  db: Kysely<Database>,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  return await db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(${sql.lit(CONFIG_LOCK)})`.execute(tx)
    return await work(tx)
  })
}

/** SQLSTATE 23505: another row has this value already. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '23505'
}
