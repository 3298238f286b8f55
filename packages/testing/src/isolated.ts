import { randomBytes } from 'node:crypto'
import { startPostgres } from '@switchhook/embedded/postgres'
import { startRedis } from '@switchhook/embedded/redis'
import { Redis } from 'ioredis'
import { Client, DatabaseError, escapeIdentifier } from 'pg'
import { OwnServer, type StartServer, startInTemporaryFolder } from './own-server.ts'
import { TEST_REDIS_SETTINGS } from './store-settings.ts'
import { waitFor } from './wait-for.ts'

const QUERY_TIMEOUT_MS = 30_000
const COMMAND_TIMEOUT_MS = 5_000

export type IsolatedDatabase = {
  url: string
  name: string
  /** Also with connections open. */
  drop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Creates a fresh database beside the one of `databaseUrl`, for one test file. With `template` (a name) it is a
 * copy of that one, which nobody else may be connected to.
 */
export async function createIsolatedDatabase(
  databaseUrl: string,
  { template }: { template?: string } = {},
): Promise<IsolatedDatabase> {
  const name = `test_${randomBytes(8).toString('hex')}`
  const url = new URL(databaseUrl)
  // Nobody may be connected to a template while it is copied, not even we.
  if (url.pathname === `/${template}`) url.pathname = '/postgres'
  const maintenanceUrl = url.href
  url.pathname = `/${name}`
  const copy = template === undefined ? '' : ` template ${escapeIdentifier(template)}`
  const create = `create database ${escapeIdentifier(name)}${copy}`
  const failure = await waitFor(
    () =>
      runQuery(maintenanceUrl, create).then(
        () => 'none' as const,
        // Another test may be copying it at this moment.
        (error: unknown) => !isObjectInUse(error) && { error },
      ),
    { timeoutMs: QUERY_TIMEOUT_MS, everyMs: 100, what: `nobody to use the database ${template}` },
  )
  if (failure !== 'none') throw failure.error
  const drop = () =>
    runQuery(maintenanceUrl, `drop database if exists ${escapeIdentifier(name)} with (force)`)
  return { url: url.href, name, drop, [Symbol.asyncDispose]: drop }
}

function isObjectInUse(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === '55006'
}

async function runQuery(url: string, sql: string): Promise<void> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: QUERY_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
  })
  // A connection lost between two queries is reported by this event; the next query fails by itself.
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query(sql)
  } finally {
    await client.end()
  }
}

type Settings = Readonly<Record<string, string>>

/** A Redis for one fault test. */
export class OwnRedis extends OwnServer {
  /** Returns how many keys that were. */
  async flushAll(): Promise<number> {
    const client = new Redis(this.url, {
      lazyConnect: true,
      connectTimeout: COMMAND_TIMEOUT_MS,
      commandTimeout: COMMAND_TIMEOUT_MS,
      retryStrategy: () => null,
    })
    client.on('error', () => undefined)
    try {
      await client.connect()
      // In one step: others write meanwhile.
      const answers = await client.multi().dbsize().flushall().dbsize().exec()
      const [before, , after] = (answers ?? []).map(([, answer]) => Number(answer))
      if (before === undefined || after !== 0) throw new Error(`${after} keys are left`)
      return before
    } finally {
      client.disconnect()
    }
  }
}

/** Starts a Redis in a temporary folder: every write on disk before its answer, no eviction. */
export async function startOwnRedis({
  settings = {},
}: {
  settings?: Settings
} = {}): Promise<OwnRedis> {
  const start: StartServer = (dataDir, port) =>
    startRedis({
      dataDir,
      settings: { ...TEST_REDIS_SETTINGS, ...settings },
      ...(port === undefined ? {} : { port }),
    })
  const { dataDir, server } = await startInTemporaryFolder(start)
  return new OwnRedis(start, dataDir, server)
}

/** As `pg_ctl stop -m`; `kill` is SIGKILL to the postmaster and all its children. */
export type PostgresStopMode = 'smart' | 'fast' | 'immediate' | 'kill'

/** Source: www.postgresql.org/docs/17/server-shutdown.html */
const STOP_SIGNALS = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT' } as const

/** A Postgres for one fault test. */
export class OwnPostgres extends OwnServer {
  /** Resolves when the server has ended: `smart` waits for its clients to leave. Throws after a minute. */
  async stopServer(mode: PostgresStopMode): Promise<void> {
    if (mode === 'kill') {
      await this.kill()
      return
    }
    process.kill(this.pid, STOP_SIGNALS[mode])
    await this.ended()
  }

  /** After `stopServer` or `kill`: on the same port and data. */
  async start(): Promise<void> {
    await this.restart()
  }
}

/** Starts a Postgres in a temporary folder, with its durability on. */
export async function startOwnPostgres({
  settings = {},
}: {
  settings?: Settings
} = {}): Promise<OwnPostgres> {
  const start: StartServer = (dataDir, port) =>
    startPostgres({ dataDir, settings, ...(port === undefined ? {} : { port }) })
  const { dataDir, server } = await startInTemporaryFolder(start)
  return new OwnPostgres(start, dataDir, server)
}
