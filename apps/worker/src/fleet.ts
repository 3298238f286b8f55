import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { RedisConnection } from '@switchhook/core/redis'

const WORKERS = '{switchhook:control}:workers'
const ANNOUNCE_EVERY_MS = 1_000
const JOIN_ATTEMPTS = 10
const JOIN_RETRY_MS = 100
/** A worker that is silent for so long counts as dead. */
const ALIVE_MS = 10_000
/** A lease outlives its attempt, so that nothing but the death of its worker lets it lapse. */
const LEASE_MARGIN_MS = 5_000

/** The time is Redis's own: workers' clocks differ. */
const NOW = `
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`

const ANNOUNCE = `${NOW}
redis.call('zadd', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
return redis.call('zrange', KEYS[1], 0, -1)`

const LEASE = `${NOW}
redis.call('zremrangebyscore', KEYS[1], '-inf', now)
if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('zadd', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('pexpire', KEYS[1], ARGV[3])
return 1`

const leaseKey = (destinationId: string): string => `{switchhook:slots:${destinationId}}`

/**
 * One worker's part of a destination's cap. The parts of all workers sum up to the cap, the remainder going to other
 * workers for each destination; a fraction when there are more workers than slots. `workers` is sorted.
 */
export function shareOfCap(
  destinationId: string,
  cap: number,
  workers: readonly string[],
  self: string,
): number {
  const count = Math.max(1, workers.length)
  if (cap < count) return cap / count
  let first = 0
  for (let index = 0; index < destinationId.length; index += 1) {
    first = (first * 31 + destinationId.charCodeAt(index)) % 65_521
  }
  const turn = (first + Math.max(0, workers.indexOf(self))) % count
  return Math.floor(cap / count) + (turn < cap % count ? 1 : 0)
}

export type Fleet = {
  /** See `shareOfCap`; less than 1 when an attempt also needs a lease. */
  shareOf(destinationId: string, cap: number): number
  /** A slot of all workers' together, until it is given back or its attempt must be over; undefined: none is free. */
  lease(
    destination: Pick<Destination, 'id' | 'maxConcurrency' | 'timeoutMs'>,
  ): Promise<(() => Promise<void>) | undefined>
  /** Resolves when this worker has been announced and knows the others, or Redis could not be asked. */
  readonly joined: Promise<void>
  stop(): Promise<void>
}

/** Tells the other workers that this one lives, and asks who else does: once a second. Without Redis the last answer stands. */
export function joinFleet(connection: RedisConnection, log: Logger): Fleet {
  const self = randomBytes(8).toString('hex')
  const stopping = new AbortController()
  let workers: readonly string[] = [self]

  async function announce(): Promise<boolean> {
    try {
      const found = await connection.eval(ANNOUNCE, 1, WORKERS, self, ALIVE_MS)
      const ids = (found as string[]).toSorted()
      if (ids.length !== workers.length) log.info({ workers: ids.length }, 'fleet.changed')
      workers = ids
      return true
    } catch {
      // What needs Redis more than this tells the log.
      return false
    }
  }

  const pause = (ms: number): Promise<void> =>
    sleep(ms, undefined, { signal: stopping.signal }).catch(() => undefined)

  async function join(): Promise<void> {
    for (let attempt = 0; attempt < JOIN_ATTEMPTS; attempt += 1) {
      if (await announce()) return
      await pause(JOIN_RETRY_MS)
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await pause(ANNOUNCE_EVERY_MS)
      if (!stopping.signal.aborted) await announce()
    }
  }
  const joined = join()
  const running = joined.then(run)

  return {
    joined,
    shareOf: (destinationId, cap) => shareOfCap(destinationId, cap, workers, self),
    async lease({ id, maxConcurrency, timeoutMs }) {
      const key = leaseKey(id)
      const lease = randomBytes(8).toString('hex')
      const leaseMs = timeoutMs + LEASE_MARGIN_MS
      const isMine = await connection.eval(LEASE, 1, key, lease, maxConcurrency, leaseMs)
      if (isMine !== 1) return undefined
      return async () => {
        // A failure frees the slot later: the lease lapses.
        await connection.zrem(key, lease).catch(() => undefined)
      }
    },
    async stop() {
      stopping.abort()
      await running
      await connection.zrem(WORKERS, self).catch(() => undefined)
    },
  }
}
