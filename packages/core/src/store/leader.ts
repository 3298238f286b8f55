import type pg from 'pg'

/**
 * Runs `work` if no other process holds the lock, and releases it whatever happens: it belongs to a transaction, so
 * the death of this process ends it too. Returns undefined when another one has it.
 */
export async function runAsLeader<T>(
  pool: pg.Pool,
  lockId: number,
  work: () => Promise<T>,
): Promise<T | undefined> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    // The transaction only carries the lock; it may idle while the work goes on over other connections.
    await client.query('set local idle_in_transaction_session_timeout = 0')
    const { rows } = await client.query('select pg_try_advisory_xact_lock($1) as won', [lockId])
    const result = rows[0]?.won === true ? await work() : undefined
    await client.query('commit')
    client.release()
    return result
  } catch (error) {
    client.release(true)
    throw error
  }
}

export const LOCKS = {
  upkeep: 729_403,
  retention: 729_404,
  longWork: 729_407,
  disabling: 729_408,
  operatorNotices: 729_409,
} as const
