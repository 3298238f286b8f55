import type { DatabaseHandle } from '@switchhook/core/store/database'
import { waitFor } from '@switchhook/testing/wait-for'

/** Erases the event when `ask` has found it still kept and waits for its row. Resolves to the answer. */
export async function eraseMeanwhile<T>(
  { pool }: Pick<DatabaseHandle, 'pool'>,
  eventId: string,
  ask: () => Promise<T>,
): Promise<T> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await client.query(`update events set payload = '', erased_at = now() where id = $1`, [eventId])
    const asked = ask()
    const isWaiting = async () => {
      const { rowCount } = await pool.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      )
      return rowCount === 1
    }
    await waitFor(isWaiting, { timeoutMs: 5_000, what: 'the request to wait' }).finally(() =>
      client.query('commit'),
    )
    return await asked
  } finally {
    client.release()
  }
}
