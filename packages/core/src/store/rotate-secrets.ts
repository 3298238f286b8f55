import { type Kysely, sql } from 'kysely'
import { decryptSecret, encryptSecret, type KeyRing } from '../secrets.ts'
import { sealOf } from './config-changes.ts'
import type { Database } from './database.ts'
import { HEADERS_COLUMN, sealHeaders } from './destination-headers.ts'
import { inConfigTransaction } from './transaction.ts'

/** Every column that holds an envelope, and the column that it is sealed to: a rotated secret keeps its first seal. */
const SECRETS = {
  provider_accounts: {
    auth_token: 'auth_token',
    secondary_auth_token: 'secondary_auth_token',
    api_key: 'api_key',
    api_secret: 'api_secret',
    basic: 'basic',
  },
  destinations: {
    secret: 'secret',
    previous_secret: 'secret',
    ed25519_key: 'ed25519_key',
    previous_ed25519_key: 'ed25519_key',
    sealed_headers: HEADERS_COLUMN,
  },
} as const

type Table = keyof typeof SECRETS
type Row = { readonly id: string } & Readonly<Record<string, string | null>>

/** A short transaction each: it holds the lock that every change of configuration waits for. */
const BATCH = 200

export type RotatedSecrets = {
  readonly rotated: number
  /** `pac_….auth_token`: what none of the keys opens; left as it is. */
  readonly unreadable: readonly string[]
}

/** The columns of a row that are not under the first key yet, under it. */
function reseal(ring: KeyRing, table: Table, row: Row, unreadable: string[]) {
  const changed: Record<string, string> = {}
  for (const [column, sealed] of Object.entries(SECRETS[table])) {
    const envelope = row[column]
    if (envelope === null || envelope === undefined) continue
    if (envelope.startsWith(`${ring.firstKeyId}.`)) continue
    const seal = sealOf(row.id, sealed)
    try {
      changed[column] = encryptSecret(ring, decryptSecret(ring, envelope, seal), seal)
    } catch {
      unreadable.push(`${row.id}.${column}`)
    }
  }
  return changed
}

async function rotateTable(
  db: Kysely<Database>,
  ring: KeyRing,
  table: Table,
  unreadable: string[],
): Promise<number> {
  const columns = Object.keys(SECRETS[table])
  let rotated = 0
  let after = ''
  for (;;) {
    const size = await inConfigTransaction(db, async (tx) => {
      const rows = (await tx
        .selectFrom(table)
        .select(['id', ...columns] as never)
        .where('id', '>', after)
        .orderBy('id')
        .limit(BATCH)
        .forUpdate()
        .execute()) as Row[]
      for (const row of rows) {
        const changed = reseal(ring, table, row, unreadable)
        if (Object.keys(changed).length === 0) continue
        await tx.updateTable(table).set(changed).where('id', '=', row.id).execute()
        rotated += Object.keys(changed).length
      }
      after = rows.at(-1)?.id ?? after
      return rows.length
    })
    if (size < BATCH) return rotated
  }
}

/** Headers that were written in clear, before there was a column for them sealed. */
async function sealClearHeaders(db: Kysely<Database>, ring: KeyRing): Promise<number> {
  let sealed = 0
  for (;;) {
    const size = await inConfigTransaction(db, async (tx) => {
      const rows = await tx
        .selectFrom('destinations')
        .select(['id', 'headers'])
        .where(sql<boolean>`headers <> '{}'`)
        .orderBy('id')
        .limit(BATCH)
        .forUpdate()
        .execute()
      for (const { id, headers } of rows) {
        const change = { headers: '{}', sealed_headers: sealHeaders(ring, id, headers) }
        await tx.updateTable('destinations').set(change).where('id', '=', id).execute()
      }
      return rows.length
    })
    sealed += size
    if (size < BATCH) return sealed
  }
}

/**
 * Puts every secret under the first key of the ring, so that the others can be taken out of ENCRYPTION_KEYS. Safe to
 * stop and start again, and while the product runs: both keys decrypt until then.
 */
export async function rotateSecrets(db: Kysely<Database>, ring: KeyRing): Promise<RotatedSecrets> {
  const unreadable: string[] = []
  let rotated = await sealClearHeaders(db, ring)
  for (const table of ['provider_accounts', 'destinations'] as const) {
    rotated += await rotateTable(db, ring, table, unreadable)
  }
  return { rotated, unreadable }
}
