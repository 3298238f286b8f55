import type pg from 'pg'

/** What is removed row by row: its key, and the time that says how old it is. */
const TABLES = {
  dedupe_keys: { key: 'event_id', time: 'received_at' },
  call_aliases: { key: 'alias', time: 'seen_at' },
  status_ranks: { key: 'subject', time: 'updated_at' },
  quarantine: { key: 'id', time: 'expires_at' },
  circuit_changes: { key: 'id', time: 'changed_at' },
  mail_windows: { key: 'ctid', time: 'started_at' },
  mail_digests: { key: 'id', time: 'due_at' },
  fallback_mails: { key: 'delivery_id', time: 'claimed_at' },
  used_replay_links: { key: 'subject', time: 'used_at' },
  destination_failures: { key: 'destination_id', time: 'last_failed_at' },
  destination_notices: { key: 'id', time: 'created_at' },
  operator_notices: { key: 'day', time: 'sent_at' },
  // Null, and so never old, while they run.
  replays: { key: 'id', time: 'finished_at' },
  erasures: { key: 'id', time: 'finished_at' },
} as const

const BATCH = 10_000

/** Removes the rows from before `beforeMs`, in batches small enough to hold no lock for long. Returns how many went. */
export async function dropOldRows(
  pool: pg.Pool,
  table: keyof typeof TABLES,
  beforeMs: number,
): Promise<number> {
  const { key, time } = TABLES[table]
  let total = 0
  for (;;) {
    const { rowCount } = await pool.query(
      `delete from ${table} where ${key} in (select ${key} from ${table} where ${time} < $1 limit ${BATCH})`,
      [new Date(beforeMs)],
    )
    total += rowCount ?? 0
    if ((rowCount ?? 0) < BATCH) return total
  }
}
