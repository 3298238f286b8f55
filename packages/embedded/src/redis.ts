import { writeFileSync } from 'node:fs'
import { mkdir, readFile, realpath, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { choosePort, rememberPort } from './choose-port.ts'
import { claimFolder } from './claim-folder.ts'
import { findRedisBinary, type RedisBinary } from './find-redis-binary.ts'
import { removeOrphan } from './remove-orphan.ts'
import { type ServerProcess, startServerProcess } from './server-process.ts'

const maxStartAttempts = 5
const probeTimeoutMs = 2_000
const maxReplyLength = 16_384

export type RedisOptions = {
  /** Belongs to this server alone; made when missing. */
  dataDir: string
  /** Without it, the port of the last start where free, else any free one. */
  port?: number
  /** A path or command of the redis-server to use; see find-redis-binary.ts for what happens without. */
  binary?: string | undefined
  cacheDir?: string | undefined
  onLog?: (line: string) => void
  /** Server settings by name, e.g. `{ maxmemory: '256mb' }`; they win over the defaults below. */
  settings?: Record<string, string>
}

export type EmbeddedRedis = {
  /** `redis://127.0.0.1:<port>` */
  url: string
  port: number
  pid: number
  /** Where the binary came from, for the log. */
  how: string
  /** Resolves when the server has ended, for whatever reason. */
  exited: Promise<void>
  /** SIGTERM, SIGKILL after 10 s. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What the queue needs to lose nothing: every write on disk before its answer, and no eviction. */
const defaultSettings: Record<string, string> = {
  appendonly: 'yes',
  appendfsync: 'always',
  'maxmemory-policy': 'noeviction',
  save: '',
}

/**
 * Starts a real redis-server on loopback; `findRedisBinary` says where it comes from.
 *
 * A server that an earlier, killed run left on `dataDir` is stopped first. Errors: RedisNotFoundError; a
 * live process already runs Redis there; `port` is busy; the server ended or was not ready within 30 s
 * (with its last lines).
 */
export async function startRedis(options: RedisOptions): Promise<EmbeddedRedis> {
  const { binary, cacheDir, onLog } = options
  const redis = await findRedisBinary({ binary, cacheDir })
  await mkdir(options.dataDir, { recursive: true, mode: 0o700 })
  const dataDir = await realpath(options.dataDir)
  const claim = await claimFolder(dataDir, 'Redis')
  try {
    const leftover = await removeLeftoverServer(dataDir)
    if (leftover !== undefined) onLog?.(`stopped Redis ${leftover}, left over by a killed run`)
    const { server, port } = await startServer({ ...options, dataDir }, redis)
    await rememberPort(dataDir, port)
    const exited = server.exited.then(() => claim.release())
    const stop = async () => {
      await server.stop()
      await exited
    }
    const url = `redis://127.0.0.1:${port}`
    const { pid } = server
    return { url, port, pid, how: redis.how, exited, stop, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await claim.release()
    throw error
  }
}

async function startServer(
  options: RedisOptions,
  redis: RedisBinary,
): Promise<{ server: ServerProcess; port: number }> {
  const { dataDir, onLog } = options
  for (let attempt = 1; ; attempt += 1) {
    const port = await choosePort(dataDir, options.port)
    const settings: Record<string, string> = {
      dir: dataDir,
      port: String(port),
      bind: '127.0.0.1',
      pidfile: pidFile(dataDir),
      daemonize: 'no',
      // Redis would replace its command line by a title, and an orphan could not be recognised any more.
      'set-proc-title': 'no',
      // Older ones do not know the setting; there DEBUG is always allowed.
      ...(redis.version.major >= 7 ? { 'enable-debug-command': 'local' } : {}),
      ...defaultSettings,
      ...options.settings,
    }
    const server = await startServerProcess({
      name: 'Redis',
      command: redis.command,
      args: Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
      env: { ...process.env, ...redis.env },
      stopSignal: 'SIGTERM',
      onLog,
    })
    // Redis writes the same a moment later; until then a SIGKILL of this process would leave no trace.
    writeFileSync(pidFile(dataDir), `${server.pid}\n`)
    try {
      await server.waitUntilReady(async () => await answersAs(server.pid, port))
      return { server, port }
    } catch (error) {
      await server.stop()
      // Somebody took the free port in between.
      const passes = /address already in use/i.test(server.lastLines())
      if (!passes || attempt === maxStartAttempts) throw error
    }
  }
}

async function removeLeftoverServer(dataDir: string): Promise<number | undefined> {
  const text = await readFile(pidFile(dataDir), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const pid = Number(text)
  const isOrphan = await removeOrphan({
    pid,
    isOurs: (commandLine) => commandLine.includes(` --pidfile ${pidFile(dataDir)} `),
    stopSignal: 'SIGTERM',
  })
  await rm(pidFile(dataDir), { force: true })
  return isOrphan ? pid : undefined
}

function pidFile(dataDir: string): string {
  return join(dataDir, 'redis.pid')
}

/** Whether the Redis on this port has loaded its data (PONG, not -LOADING) and is the process `pid`. */
function answersAs(pid: number, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    let reply = ''
    const settle = (isReady: boolean) => {
      socket.destroy()
      resolve(isReady)
    }
    socket.setEncoding('utf8')
    socket.setTimeout(probeTimeoutMs, () => settle(false))
    socket.on('error', () => settle(false))
    socket.on('close', () => settle(false))
    socket.on('data', (chunk: string) => {
      reply += chunk
      const processId = /\bprocess_id:(\d+)\r/.exec(reply)?.[1]
      if (processId !== undefined) settle(reply.startsWith('+PONG') && Number(processId) === pid)
      else if (reply.length > maxReplyLength) settle(false)
    })
    socket.write('PING\r\nINFO server\r\n')
  })
}
