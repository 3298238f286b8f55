import type pg from 'pg'

const TABLES = ['events', 'deliveries', 'webhook_logs'] as const
const DAY_MS = 86_400_000
const DAYS_AHEAD = 7
/** A spooled row or a clock that runs behind may still belong to yesterday. */
const DAYS_BEHIND = 2

const dayOf = (atMs: number): string => new Date(atMs).toISOString().slice(0, 10)
const partitionName = (table: string, day: string): string => `${table}_${day.replaceAll('-', '')}`

/**
 * Makes the daily partitions (UTC) around `nowMs` that are not there yet. Safe to run at once in many processes: it
 * takes an advisory lock, and gives up after 5 s rather than queue behind somebody's long transaction.
 */
export async function ensurePartitions(pool: pg.Pool, nowMs: number): Promise<string[]> {
  const client = await pool.connect()
  const made: string[] = []
  try {
    await client.query('begin')
    await client.query(`set local lock_timeout = '5s'`)
    await client.query('select pg_advisory_xact_lock(729402)')
    const existing = await findPartitions(client)
    for (const table of TABLES) {
      for (let offset = -DAYS_BEHIND; offset <= DAYS_AHEAD; offset += 1) {
        const fromMs = nowMs + offset * DAY_MS
        const name = partitionName(table, dayOf(fromMs))
        if (existing.has(name)) continue
        // Attached rather than created in place: that would lock the table against its readers and writers.
        await client.query(`create table ${name} (like ${table} including all)`)
        await client.query(
          `alter table ${table} attach partition ${name}
             for values from ('${dayOf(fromMs)} 00:00:00+00') to ('${dayOf(fromMs + DAY_MS)} 00:00:00+00')`,
        )
        made.push(name)
      }
    }
    await client.query('commit')
    client.release()
  } catch (error) {
    // Dropping the connection rolls back, and holds no lock if the server is frozen.
    client.release(true)
    throw error
  }
  return made
}

async function findPartitions(client: pg.ClientBase): Promise<Set<string>> {
  const { rows } = await client.query<{ name: string }>(
    `select child.relname as name
       from pg_inherits
       join pg_class child on child.oid = inhrelid
       join pg_class parent on parent.oid = inhparent
      where parent.relname = any($1)`,
    [TABLES],
  )
  return new Set(rows.map(({ name }) => name))
}

/** How far a partition has come out of its table; `detaching` and `detached` are what a timeout or a kill left behind. */
type OldPartition = {
  readonly name: string
  readonly table: string
  readonly state: 'attached' | 'detaching' | 'detached'
}

async function findOldPartitions(client: pg.ClientBase, before: string): Promise<OldPartition[]> {
  const { rows } = await client.query<OldPartition>(
    `select relname as name, part.table,
            case inhdetachpending when false then 'attached' when true then 'detaching' else 'detached' end as state
       from pg_class
       join unnest($1::text[]) as part ("table") on relname ~ ('^' || part.table || '_\\d{8}$')
       left join pg_inherits on inhrelid = pg_class.oid
      where relkind = 'r' and relnamespace = current_schema()::regnamespace and right(relname, 8) < $2
      order by relname`,
    [TABLES, before.replaceAll('-', '')],
  )
  return rows
}

/**
 * Removes the partitions whose every row is older than `retentionDays`. Each is detached and dropped by itself with a
 * short lock timeout: a busy day is tried again in the next round, writers never wait. Returns what was dropped.
 */
export async function dropOldPartitions(
  pool: pg.Pool,
  nowMs: number,
  retentionDays: number,
): Promise<string[]> {
  const client = await pool.connect()
  const dropped: string[] = []
  try {
    await client.query(`set lock_timeout = '2s'`)
    const oldestKept = dayOf(nowMs - retentionDays * DAY_MS)
    for (const { name, table, state } of await findOldPartitions(client, oldestKept)) {
      // Concurrently: takes no lock that stops the writers of other days.
      const how = { attached: 'concurrently', detaching: 'finalize', detached: undefined }[state]
      if (how !== undefined)
        await client.query(`alter table ${table} detach partition ${name} ${how}`)
      await client.query(`drop table ${name}`)
      dropped.push(name)
    }
  } finally {
    // Not back to the pool: its lock_timeout is nobody else's.
    client.release(true)
  }
  return dropped
}

/** Milliseconds since the epoch, by the clock that all processes share. */
export async function findDatabaseTimeMs(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ now: Date }>('select now() as now')
  return rows[0]?.now.getTime() ?? Date.now()
}
