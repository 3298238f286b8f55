import { randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@switchhook/core/log'
import { openQueues, type Queues } from '@switchhook/core/queue'
import { closeRedis, openRedis } from '@switchhook/core/redis'
import { createSpool, type Spool } from '@switchhook/core/spool'
import { type DatabaseHandle, openDatabase } from '@switchhook/core/store/database'
import { migrate } from '@switchhook/core/store/migrate'
import {
  type OwnPostgres,
  type OwnRedis,
  startOwnPostgres,
  startOwnRedis,
} from '@switchhook/testing/isolated'
import type { OutputLine } from '@switchhook/testing/processes'
import { type Receiver, startReceiver } from '@switchhook/testing/receiver'
import { type SmtpSink, startSmtpSink } from '@switchhook/testing/smtp-sink'
import { type AppProcess, startApp } from './app-process.ts'

type Env = Readonly<Record<string, string>>

export type Product = {
  readonly postgres: OwnPostgres
  readonly redis: OwnRedis
  /** The destination: plain http on loopback. */
  readonly receiver: Receiver
  /** What the receiver saw and answered, as ledger lines. */
  readonly receiverLedger: string
  readonly smtp: SmtpSink
  /** What providers were told to call, and sign. Nothing listens there. */
  readonly publicBaseUrl: string
  readonly adminApiKey: string
  readonly encryptionKey: string
  /** Those that run, the oldest first. */
  readonly ingresses: readonly AppProcess[]
  readonly workers: readonly AppProcess[]
  /** For looking, by the test alone. */
  readonly database: DatabaseHandle
  readonly queues: Pick<Queues, 'counts'>
  readonly spool: Pick<Spool, 'length'>
  /** Every line that any of the processes printed. */
  readonly lines: readonly OutputLine[]
  /** The oldest that runs. */
  ingress(): AppProcess
  worker(): AppProcess
  /** Resolves when it listens; use `waitUntilReady`. */
  startIngress(env?: Env): Promise<AppProcess>
  startWorker(env?: Env): Promise<AppProcess>
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Where the lines of all processes go too, for finding out why a test failed. */
const LOG_FILE = process.env.E2E_LOG_FILE || undefined

/** Times shortened so that a fault and its recovery fit into a test. */
const SHORT_TIMES = {
  // Long enough for a loaded machine: a worker that cannot renew its lock in time sends twice.
  WORKER_LOCK_MS: '5000',
  REQUEUE_EVERY_MS: '500',
  REQUEUE_AFTER_MS: '2000',
  DRAIN_DELAY_MS: '300',
}

const SHOWN_LINES = 20

/** With the last lines of all when there is none: it has probably crashed. */
function first(
  processes: readonly AppProcess[],
  what: string,
  lines: readonly OutputLine[],
): AppProcess {
  const [oldest] = processes
  if (oldest !== undefined) return oldest
  const last = lines.slice(-SHOWN_LINES).map(({ text }) => text)
  throw new Error(`no ${what} runs; the last lines of all:\n${last.join('\n')}`)
}

/** The whole product as its own processes, on stores of its own that a test may break. Ready when it returns. */
export async function startProduct({
  ingresses: howManyIngresses = 1,
  workers: howManyWorkers = 1,
  env: extraEnv = {},
}: {
  ingresses?: number
  workers?: number
  env?: Env
} = {}): Promise<Product> {
  const resources = new AsyncDisposableStack()
  try {
    const directory = resources.adopt(await mkdtemp(join(tmpdir(), 'switchhook-e2e-')), (path) =>
      rm(path, { recursive: true, force: true }),
    )
    const receiverLedger = join(directory, 'receiver.jsonl')
    let opened: DatabaseHandle | undefined
    // Closed after Postgres, which by then has hung up: a server that a test broke is not waited for.
    resources.defer(async () => opened?.close())
    const [postgres, redis, receiver, smtp] = await Promise.all([
      startOwnPostgres().then((server) => resources.use(server)),
      startOwnRedis().then((server) => resources.use(server)),
      startReceiver({ ledger: receiverLedger }).then((server) => resources.use(server)),
      startSmtpSink().then((server) => resources.use(server)),
    ])
    const database = openDatabase(
      { url: postgres.url, applicationName: 'e2e', maxConnections: 4, queryTimeoutMs: 30_000 },
      silentLogger,
    )
    opened = database
    await migrate(database)
    const connection = resources.adopt(
      openRedis(
        { url: redis.url, clusterNodes: [] },
        { kind: 'answering', commandTimeoutMs: 2_000 },
        silentLogger,
      ),
      closeRedis,
    )
    const queues = resources.adopt(openQueues(connection, 1, silentLogger), (queue) =>
      queue.close(),
    )

    const spool = createSpool(connection, 1)

    const adminApiKey = `admin-${randomBytes(24).toString('hex')}`
    const encryptionKey = randomBytes(32).toString('base64')
    const publicBaseUrl = 'https://hooks.switchhook.example'
    const env = {
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      PUBLIC_BASE_URL: publicBaseUrl,
      INGRESS_HOST: '127.0.0.1',
      OPS_HOST: '127.0.0.1',
      ADMIN_API_KEY: adminApiKey,
      ENCRYPTION_KEYS: `e2e:${encryptionKey}`,
      SMTP_URL: smtp.url,
      DESTINATION_ALLOWED_CIDRS: '127.0.0.0/8',
      DESTINATION_ALLOW_HTTP: 'true',
      API_RATE_LIMIT_PER_SECOND: '1000',
      ...SHORT_TIMES,
      ...extraEnv,
    }

    const lines: OutputLine[] = []
    const ingresses: AppProcess[] = []
    const workers: AppProcess[] = []
    async function start(kind: 'ingress' | 'worker', own: Env): Promise<AppProcess> {
      const running = kind === 'ingress' ? ingresses : workers
      const app = await startApp(kind, { ...env, ...own }, (line) => {
        lines.push(line)
        if (LOG_FILE !== undefined) appendFileSync(LOG_FILE, `${line.text}\n`)
      })
      resources.use(app)
      running.push(app)
      void app.exited.then(({ code, signal }) => {
        running.splice(running.indexOf(app), 1)
        lines.push({ stream: 'stderr', text: `${kind} ${app.pid} ended: ${signal ?? code}` })
      })
      return app
    }

    const product: Product = {
      ...{ postgres, redis, receiver, receiverLedger, smtp, database, queues, spool, lines },
      ...{ publicBaseUrl, adminApiKey, encryptionKey, ingresses, workers },
      ingress: () => first(ingresses, 'ingress', lines),
      worker: () => first(workers, 'worker', lines),
      startIngress: (own = {}) => start('ingress', own),
      startWorker: (own = {}) => start('worker', own),
      stop: () => resources.disposeAsync(),
      [Symbol.asyncDispose]: () => resources.disposeAsync(),
    }
    const started = await Promise.all([
      ...Array.from({ length: howManyIngresses }, () => product.startIngress()),
      ...Array.from({ length: howManyWorkers }, () => product.startWorker()),
    ])
    await Promise.all(started.map((app) => app.waitUntilReady()))
    return product
  } catch (error) {
    await resources.disposeAsync()
    throw error
  }
}
