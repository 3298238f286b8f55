import { mkdir, realpath } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { Client, escapeIdentifier } from 'pg'
import { choosePort, rememberPort } from './choose-port.ts'
import { claimFolder } from './claim-folder.ts'
import { chooseNonRoot, type NonRoot } from './non-root.ts'
import { findPostgresBinaries, type PostgresBinaries } from './postgres-binaries.ts'
import {
  clusterDir,
  createCluster,
  readPostmasterPid,
  removeLeftoverServer,
} from './postgres-cluster.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const maxStartAttempts = 5
const startAgainAfterMs = 200
const queryTimeoutMs = 10_000

export type PostgresOptions = {
  /** Belongs to this server alone; made when missing. */
  dataDir: string
  /** Without it, the port of the last start where free, else any free one. */
  port?: number
  database?: string
  onLog?: (line: string) => void
  /** Server settings by name, e.g. `{ work_mem: '8MB' }`; they win over the defaults below. */
  settings?: Record<string, string>
}

export type EmbeddedPostgres = {
  /** `postgres://switchhook@127.0.0.1:<port>/<database>` */
  url: string
  port: number
  pid: number
  /** Resolves when the server has ended, for whatever reason. */
  exited: Promise<void>
  /** Fast shutdown, SIGKILL after 10 s. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const defaultSettings: Record<string, string> = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '128MB',
  timezone: 'UTC',
  log_timezone: 'UTC',
  fsync: 'on',
}

/**
 * Starts the Postgres 17 that npm installed, on loopback, and creates `database` in it when missing.
 * There is no password: every local user of this machine can connect as the superuser `switchhook`.
 *
 * A server that an earlier, killed run left on `dataDir` is stopped first. Errors: a live process already
 * runs Postgres there; `port` is busy; the server ended or was not ready within 30 s (with its last lines).
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const { database = 'switchhook', onLog } = options
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 })
  const dataDir = await realpath(options.dataDir)
  const claim = await claimFolder(dataDir, 'Postgres')
  try {
    const binaries = await findPostgresBinaries(dataDir)
    const leftover = await removeLeftoverServer(dataDir)
    if (leftover !== undefined) onLog?.(`stopped Postgres ${leftover}, left over by a killed run`)
    const nonRoot = await chooseNonRoot(dataDir, binaries.postgres)
    await createCluster(dataDir, binaries, nonRoot)
    const { server, port } = await startServer({ ...options, dataDir }, binaries, nonRoot)
    try {
      await createDatabase(port, database)
      await rememberPort(dataDir, port)
    } catch (error) {
      await server.stop()
      throw error
    }
    const exited = server.exited.then(() => claim.release())
    const stop = async () => {
      await server.stop()
      await exited
    }
    const url = `postgres://switchhook@127.0.0.1:${port}/${encodeURIComponent(database)}`
    return { url, port, pid: server.pid, exited, stop, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await claim.release()
    throw error
  }
}

/**
 * Tries again where the reason passes by itself: somebody took the free port in between, or the backends
 * of a killed server have not let go of its shared memory yet.
 */
async function startServer(
  options: PostgresOptions,
  binaries: PostgresBinaries,
  nonRoot: NonRoot,
): Promise<{ server: ServerProcess; port: number }> {
  const { dataDir, onLog } = options
  for (let attempt = 1; ; attempt += 1) {
    const port = await choosePort(dataDir, options.port)
    const settings = { ...defaultSettings, ...options.settings }
    const [command = binaries.postgres, ...args] = [
      ...nonRoot.wrapper,
      binaries.postgres,
      ...['-D', clusterDir(dataDir), '-p', String(port)],
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ]
    const server = await startServerProcess({
      name: `Postgres (${nonRoot.how})`,
      command,
      args,
      env: { ...process.env, ...binaries.env, LC_ALL: 'C' },
      stopSignal: 'SIGINT',
      uid: nonRoot.uid,
      gid: nonRoot.gid,
      onLog,
    })
    try {
      await server.waitUntilReady(async () => {
        const state = await readPostmasterPid(dataDir)
        return state?.pid === server.pid && state.isReady
      })
      return { server, port }
    } catch (error) {
      await server.stop()
      const passes = /could not bind|still in use/.test(server.lastLines())
      if (!passes || attempt === maxStartAttempts) throw error
    }
    await delay(startAgainAfterMs)
  }
}

async function createDatabase(port: number, database: string): Promise<void> {
  const client = new Client({
    host: '127.0.0.1',
    port,
    user: 'switchhook',
    database: 'postgres',
    ssl: false,
    connectionTimeoutMillis: queryTimeoutMs,
    query_timeout: queryTimeoutMs,
  })
  // A connection lost between two queries is reported by this event; the next query fails by itself.
  client.on('error', () => undefined)
  try {
    await client.connect()
    const found = await client.query('select from pg_database where datname = $1', [database])
    if (found.rowCount === 0) await client.query(`create database ${escapeIdentifier(database)}`)
  } finally {
    await client.end()
  }
}
