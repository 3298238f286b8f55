import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { silentLogger } from '@switchhook/core/log'
import { openDatabase } from '@switchhook/core/store/database'
import { migrate } from '@switchhook/core/store/migrate'
import { startMailInbox } from '@switchhook/embedded/mail-inbox'
import { startPostgres } from '@switchhook/embedded/postgres'
import { startRedis } from '@switchhook/embedded/redis'
import { type Child, startChild } from './child-process.ts'
import { ensureDemoTenant, sendDemoSms } from './demo.ts'
import { choosePorts, type Ports } from './ports.ts'
import { printJourney, printReady } from './print.ts'
import { readState, type State, writeState } from './state.ts'
import { waitUntilReady } from './wait-until-ready.ts'

type Env = Readonly<Record<string, string | undefined>>

const STOP_CHILD_MS = 25_000
const MIGRATE_TIMEOUT_MS = 120_000

function say(text: string): void {
  console.log(text)
}

/** Opens both stores at once; what is given by URL is used as it is. */
async function openStores(dataDir: string, env: Env, resources: AsyncDisposableStack) {
  const [postgres, redis] = await Promise.allSettled([
    env.DATABASE_URL ? undefined : startPostgres({ dataDir: join(dataDir, 'postgres') }),
    env.REDIS_URL
      ? undefined
      : startRedis({
          dataDir: join(dataDir, 'redis'),
          ...(env.REDIS_SERVER_BIN ? { binary: env.REDIS_SERVER_BIN } : {}),
        }),
  ])
  for (const store of [postgres, redis]) {
    if (store.status === 'fulfilled' && store.value !== undefined) resources.use(store.value)
  }
  if (postgres.status === 'rejected') throw postgres.reason
  if (redis.status === 'rejected') throw redis.reason
  say(`  redis      ${redis.value?.how ?? 'given by REDIS_URL'}`)
  return {
    DATABASE_URL: env.DATABASE_URL || (postgres.value?.url ?? ''),
    REDIS_URL: env.REDIS_URL || (redis.value?.url ?? ''),
  }
}

async function migrateDatabase(url: string): Promise<void> {
  const database = openDatabase(
    {
      url,
      applicationName: 'switchhook-start',
      maxConnections: 2,
      queryTimeoutMs: MIGRATE_TIMEOUT_MS,
    },
    silentLogger,
  )
  try {
    const applied = await migrate(database)
    say(
      `  schema     ${applied.length === 0 ? 'up to date' : `${applied.length} migrations applied`}`,
    )
  } finally {
    await database.close()
  }
}

/** Only what a person must look at; everything is in the log file. */
function printProblem(name: string, line: string): void {
  const parsed = /"level":(50|60)/.test(line) ? /"msg":"([^"]+)"/.exec(line) : null
  if (parsed !== null) say(`  ${name}: ${parsed[1]}`)
  else if (line !== '' && !line.startsWith('{')) say(`  ${name}: ${line}`)
}

function childEnvironment(env: Env, state: State, ports: Ports, stores: Env, smtpUrl: string): Env {
  return {
    ...env,
    ...stores,
    PUBLIC_BASE_URL: env.PUBLIC_BASE_URL || `http://127.0.0.1:${ports.ingress}`,
    INGRESS_HOST: env.INGRESS_HOST || '127.0.0.1',
    INGRESS_PORT: String(ports.ingress),
    OPS_HOST: env.OPS_HOST || '127.0.0.1',
    ADMIN_API_KEY: env.ADMIN_API_KEY || state.adminApiKey,
    ENCRYPTION_KEYS: env.ENCRYPTION_KEYS || state.encryptionKeys,
    SMTP_URL: env.SMTP_URL || smtpUrl,
    DESTINATION_ALLOWED_CIDRS: env.DESTINATION_ALLOWED_CIDRS || '127.0.0.0/8',
    DESTINATION_ALLOW_HTTP: env.DESTINATION_ALLOW_HTTP || 'true',
  }
}

async function run(root: string, env: Env, interrupted: Promise<unknown>): Promise<number> {
  const dataDir = env.SWITCHHOOK_DATA_DIR || join(root, '.switchhook')
  await mkdir(join(dataDir, 'logs'), { recursive: true, mode: 0o700 })
  const state = await readState(dataDir)
  const ports = await choosePorts(env, state.ports)
  await writeState(dataDir, { ...state, ports: { ...ports } })

  say('Switchhook is starting (Ctrl-C stops it)')
  // Closed in reverse: ingress, worker, receiver, inbox, stores.
  await using resources = new AsyncDisposableStack()
  const stores = await openStores(dataDir, env, resources)
  await migrateDatabase(stores.DATABASE_URL)
  const inbox = resources.adopt(
    await startMailInbox({
      smtpPort: ports.smtp,
      httpPort: ports.inbox,
      dir: join(dataDir, 'mails'),
    }),
    (opened) => opened.stop(),
  )
  const childEnv = childEnvironment(env, state, ports, stores, inbox.smtpUrl)
  const children: Child[] = []
  const startPart = (name: string, entry: string, extra: Env): void => {
    const child = startChild({
      ...{ name, entry: join(root, entry), env: { ...childEnv, ...extra } },
      logFile: join(dataDir, 'logs', `${name}.log`),
      onLine: (line) => printProblem(name, line),
    })
    children.push(resources.adopt(child, (started) => started.stop(STOP_CHILD_MS)))
  }
  startPart('receiver', 'packages/testing/src/receiver.main.ts', {
    ...{ PORT: String(ports.receiver), HOST: '127.0.0.1', QUIET: '1' },
  })
  startPart('worker', 'apps/worker/src/main.ts', { OPS_PORT: String(ports.workerOps) })
  startPart('ingress', 'apps/ingress/src/main.ts', { OPS_PORT: String(ports.ingressOps) })
  const died = Promise.race(children.map((child) => child.died))

  const ingressUrl = `http://127.0.0.1:${ports.ingress}`
  const receiverUrl = `http://127.0.0.1:${ports.receiver}`
  const ready = Promise.all([
    waitUntilReady(`http://127.0.0.1:${ports.ingressOps}/readyz`),
    waitUntilReady(`http://127.0.0.1:${ports.workerOps}/readyz`),
    waitUntilReady(`${receiverUrl}/__count`),
  ])
  const failed = died.then((reason) => Promise.reject(new Error(reason)))
  failed.catch(() => undefined)
  const stopped = interrupted.then(() => 'stopped' as const)
  if ((await Promise.race([ready, failed, stopped])) === 'stopped') return 0

  const publicBaseUrl = childEnv.PUBLIC_BASE_URL ?? ingressUrl
  const demoOptions = { ingressUrl, publicBaseUrl, receiverUrl }
  const adminApiKey = childEnv.ADMIN_API_KEY ?? ''
  const demo = (async () => {
    const tenant = await ensureDemoTenant(demoOptions, adminApiKey, state.demo)
    await writeState(dataDir, { ...state, ports: { ...ports }, demo: tenant })
    printReady(say, {
      dataDir,
      ports,
      ingressUrl,
      receiverUrl,
      inboxUrl: inbox.httpUrl,
      adminApiKey,
      tenant,
    })
    printJourney(say, ingressUrl, tenant, await sendDemoSms(demoOptions, tenant))
  })()
  if ((await Promise.race([demo, failed, stopped])) === 'stopped') return 0
  await Promise.race([failed, stopped])
  return 0
}

/** Runs the whole product until Ctrl-C. Returns the exit code. */
export async function start(root: string, env: Env): Promise<number> {
  const interrupted = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  interrupted.then(
    () => {
      say('\nStopping, in order (Ctrl-C again to stop at once)')
      process.once('SIGINT', () => process.exit(130))
    },
    () => undefined,
  )
  try {
    const code = await run(root, env, interrupted)
    say('Stopped. Data and keys are kept for the next start.')
    return code
  } catch (error) {
    console.error(`\nSwitchhook could not go on: ${(error as Error).message}`)
    return 1
  }
}
