import { Cluster, Redis } from 'ioredis'
import type { Logger } from './log.ts'

export type RedisTarget = {
  readonly url: string
  /** `host:port` of a Redis Cluster; the url then gives user, password and TLS only. */
  readonly clusterNodes: readonly string[]
}

export type RedisConnection = Redis | Cluster

/**
 * Two ways to wait. `answering` serves a request that has a deadline: it fails at once when Redis is gone and after
 * `commandTimeoutMs` when Redis is frozen. `working` waits for ever, as BullMQ's workers need.
 */
export type RedisProfile =
  | { readonly kind: 'answering'; readonly commandTimeoutMs: number }
  | { readonly kind: 'working' }

const LOG_EVERY_MS = 5_000

/** Connects in the background; never throws because Redis is away. Errors are logged at most every 5 s: a client repeats them by the thousand. */
export function openRedis(
  target: RedisTarget,
  profile: RedisProfile,
  log: Logger,
): RedisConnection {
  const answering = profile.kind === 'answering'
  const options = {
    connectTimeout: 2_000,
    keepAlive: 10_000,
    retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times, 10), 1_000),
    maxRetriesPerRequest: answering ? 1 : null,
    ...(answering ? { commandTimeout: profile.commandTimeoutMs } : {}),
  }
  const connection =
    target.clusterNodes.length === 0
      ? new Redis(target.url, { ...options, enableOfflineQueue: !answering })
      : openCluster(target, options, !answering)
  let loggedAtMs = 0
  connection.on('error', (error: Error) => {
    if (Date.now() - loggedAtMs < LOG_EVERY_MS) return
    loggedAtMs = Date.now()
    log.warn({ error: error.message }, 'redis.connection_failed')
  })
  return connection
}

function openCluster(
  target: RedisTarget,
  redisOptions: object,
  enableOfflineQueue: boolean,
): Cluster {
  const url = new URL(target.url)
  const nodes = target.clusterNodes.map((node) => {
    const [host = '', port = '6379'] = node.split(':')
    return { host, port: Number(port) }
  })
  return new Cluster(nodes, {
    // Inside redisOptions it would be ignored (ioredis #581).
    enableOfflineQueue,
    redisOptions: {
      ...redisOptions,
      ...(url.username ? { username: decodeURIComponent(url.username) } : {}),
      ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
      ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
    },
  })
}

const QUIT_TIMEOUT_MS = 1_000

/** Says goodbye if Redis answers, and hangs up either way. */
export async function closeRedis(connection: RedisConnection): Promise<void> {
  const goodbye = connection.quit().catch(() => undefined)
  await Promise.race([
    goodbye,
    new Promise((resolve) => setTimeout(resolve, QUIT_TIMEOUT_MS).unref()),
  ])
  connection.disconnect()
}
