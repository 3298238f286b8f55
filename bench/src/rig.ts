import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@switchhook/core/log'
import { closeRedis, openRedis, type RedisConnection } from '@switchhook/core/redis'
import { parseKeyRing } from '@switchhook/core/secrets'
import { type DatabaseHandle, openDatabase } from '@switchhook/core/store/database'
import { migrate } from '@switchhook/core/store/migrate'
import { findFreePort } from '@switchhook/embedded/free-port'
import { startPostgres } from '@switchhook/embedded/postgres'
import { startRedis } from '@switchhook/embedded/redis'
import { waitFor } from '@switchhook/testing/wait-for'
import { type BenchProcess, startProcess } from './child-process.ts'
import { type CpuSampler, readMemoryMb, startCpuSampler } from './cpu-usage.ts'
import type { LoadRequest, LoadRun } from './load-run.ts'
import type { Arrivals } from './receiver.main.ts'
import { seedTenant, TENANT } from './tenant.ts'

export type RigOptions = {
  /** Where the processes of the product write a CPU profile when they end; undefined: no profiles. */
  readonly profileDir: string | undefined
  /** Leaves the folder with the logs and the data behind. */
  readonly keepFolder: boolean
}

/** A process that answers webhooks, and where. */
export type Server = { readonly process: BenchProcess; readonly port: number }

/** Everything a bench runs on: its own stores, a receiver, a load generator, and the processes it starts. */
export type Rig = {
  readonly folder: string
  /** 16 hex digits; see tenant.ts. */
  readonly run: string
  readonly database: DatabaseHandle
  readonly redis: RedisConnection
  startIngress(): Promise<Server>
  startWorker(
    env?: Readonly<Record<string, string>>,
  ): Promise<BenchProcess & { readonly opsPort: number }>
  /** Verifies and answers; with `enqueues` it also adds a bare BullMQ job. */
  startFloorIngress(enqueues: boolean): Promise<Server>
  startFloorWorker(bodyBytes: number): Promise<BenchProcess>
  /** Answers with the bytes of one message. */
  prepare(count: number): Promise<number>
  load(request: Exclude<LoadRequest, { kind: 'prepare' }>): Promise<LoadRun>
  countArrivals(): Promise<number>
  /** All since the last call. */
  takeArrivals(): Promise<Arrivals>
  /** Watches the stores, the receiver, the load generator and these. */
  sampleCpu(...processes: readonly Pick<BenchProcess, 'name' | 'pid'>[]): CpuSampler
  memoryMb(...processes: readonly BenchProcess[]): Record<string, number>
}

const START_TIMEOUT_MS = 20_000
const LOAD_TIMEOUT_MS = 60_000
const ASK_TIMEOUT_MS = 10_000
const QUERY_TIMEOUT_MS = 30_000
/** The key ring of the processes, for rows written without them. */
export const KEYS = `bench:${Buffer.alloc(32, 7).toString('base64')}`

async function waitUntilReady(process: BenchProcess, opsPort: number): Promise<void> {
  const isReady = async () => (await fetch(`http://127.0.0.1:${opsPort}/readyz`)).ok
  const ready = waitFor(isReady, { timeoutMs: START_TIMEOUT_MS, what: `${process.name} ready` })
  await ready.catch((cause: unknown) => {
    throw new Error(`${process.name} did not start:\n${process.lastLines()}`, { cause })
  })
}

/** Starts the stores (fsync on, appendfsync always), writes the tenant, and starts what surrounds the product. */
export async function openRig(resources: AsyncDisposableStack, options: RigOptions): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), 'switchhook-bench-'))
  if (!options.keepFolder) {
    resources.defer(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }))
  }
  const postgres = resources.use(await startPostgres({ dataDir: join(folder, 'postgres') }))
  const redisServer = resources.use(await startRedis({ dataDir: join(folder, 'redis') }))
  const database = resources.adopt(
    openDatabase(
      {
        url: postgres.url,
        applicationName: 'switchhook-bench',
        maxConnections: 2,
        queryTimeoutMs: QUERY_TIMEOUT_MS,
      },
      silentLogger,
    ),
    (opened) => opened.close(),
  )
  const target = { url: redisServer.url, clusterNodes: [] }
  const redis = resources.adopt(openRedis(target, { kind: 'working' }, silentLogger), closeRedis)
  await migrate(database)

  const run = Date.now().toString(16).padStart(16, '0')
  const environment = {
    DATABASE_URL: postgres.url,
    REDIS_URL: redisServer.url,
    ENCRYPTION_KEYS: KEYS,
    SMTP_URL: 'smtp://127.0.0.1:1',
    PUBLIC_BASE_URL: TENANT.publicBaseUrl,
    DESTINATION_ALLOWED_CIDRS: '127.0.0.0/8',
    DESTINATION_ALLOW_HTTP: 'true',
    INGRESS_HOST: '127.0.0.1',
    OPS_HOST: '127.0.0.1',
    DRAIN_DELAY_MS: '1',
    LOG_LEVEL: 'info',
  }

  async function start(
    name: string,
    entry: string,
    env: Readonly<Record<string, string>>,
    how: { readonly withChannel: boolean },
  ): Promise<BenchProcess> {
    const isSurrounding = name === 'receiver' || name === 'load generator'
    const profile =
      !isSurrounding && options.profileDir !== undefined
        ? [
            '--cpu-prof',
            `--cpu-prof-dir=${options.profileDir}`,
            `--cpu-prof-name=${name}.cpuprofile`,
          ]
        : []
    const started = await startProcess({
      ...{ name, env, withChannel: how.withChannel, execArgv: profile },
      entry: new URL(entry, import.meta.url),
      logFile: join(folder, `${name}.log`),
    })
    return resources.adopt(started, (process) => process.stop())
  }

  const receiver = await start('receiver', 'receiver.main.ts', {}, { withChannel: true })
  const { url } = await receiver.ask<{ url: string }>({ kind: 'url' }, START_TIMEOUT_MS)
  await seedTenant(database, parseKeyRing(KEYS), `${url}/hook`)
  const loader = await start(
    'load generator',
    'load-generator.main.ts',
    { RUN: run },
    {
      withChannel: true,
    },
  )

  const surroundings = {
    redis: redisServer.pid,
    postgres: postgres.pid,
    receiver: receiver.pid,
    [loader.name]: loader.pid,
  }
  const pidsOf = (
    processes: readonly Pick<BenchProcess, 'name' | 'pid'>[],
  ): Record<string, number> => ({
    ...Object.fromEntries(processes.map(({ name, pid }) => [name, pid])),
    ...surroundings,
  })

  return {
    ...{ folder, run, database, redis },
    async startIngress() {
      const [port, opsPort] = [await findFreePort(), await findFreePort()]
      const env = { ...environment, INGRESS_PORT: String(port), OPS_PORT: String(opsPort) }
      const process = await start('ingress', '../../apps/ingress/src/main.ts', env, {
        withChannel: false,
      })
      await waitUntilReady(process, opsPort)
      return { process, port }
    },
    async startWorker(own = {}) {
      const opsPort = await findFreePort()
      const env = { ...environment, ...own, OPS_PORT: String(opsPort) }
      const process = await start('worker', '../../apps/worker/src/main.ts', env, {
        withChannel: false,
      })
      await waitUntilReady(process, opsPort)
      return { ...process, opsPort }
    },
    async startFloorIngress(enqueues) {
      const env = { ...environment, ENQUEUES: String(enqueues) }
      const process = await start('floor ingress', 'floor-ingress.main.ts', env, {
        withChannel: true,
      })
      const { port } = await process.ask<{ port: number }>({ kind: 'port' }, START_TIMEOUT_MS)
      return { process, port }
    },
    async startFloorWorker(bodyBytes) {
      const env = { REDIS_URL: redisServer.url, URL: `${url}/hook`, BODY_BYTES: String(bodyBytes) }
      return start('floor worker', 'floor-worker.main.ts', env, { withChannel: true })
    },
    async prepare(count) {
      const request: LoadRequest = { kind: 'prepare', count }
      return (await loader.ask<{ bodyBytes: number }>(request, LOAD_TIMEOUT_MS)).bodyBytes
    },
    load: (request) => loader.ask<LoadRun>(request, LOAD_TIMEOUT_MS),
    async countArrivals() {
      return (await receiver.ask<{ count: number }>({ kind: 'count' }, ASK_TIMEOUT_MS)).count
    },
    takeArrivals: () => receiver.ask<Arrivals>({ kind: 'take' }, ASK_TIMEOUT_MS),
    sampleCpu: (...processes) => startCpuSampler(pidsOf(processes)),
    memoryMb: (...processes) =>
      Object.fromEntries(
        Object.entries(pidsOf(processes)).map(([name, pid]) => [name, readMemoryMb(pid)]),
      ),
  }
}
