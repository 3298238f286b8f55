import type { Destination } from '@switchhook/core/event'
import type { RedisConnection } from '@switchhook/core/redis'

/** A destination that was idle may get what it missed for so long: the depth of the bucket, in time. */
const BURST_MS = 200
/** A delivery that comes later than that for its turn has lost it, or many late ones would come at once. */
const LATE_MS = 500
/** The rate may be changed while deliveries wait. */
const MAX_WAIT_MS = 300_000

/**
 * A token bucket that gives out turns: what finds no token is told when its own will be there, and has it then, whoever
 * else comes meanwhile. So a delivery wakes up once, and the order is kept. Answers the wait in ms; 0: now.
 */
const TAKE = `
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local interval = tonumber(ARGV[2])
local bucket = redis.call('hmget', KEYS[1], 'next', 'interval')
if bucket[2] and bucket[2] ~= ARGV[2] then
  redis.call('del', KEYS[1], KEYS[2])
  bucket = {}
end
local turn = redis.call('zscore', KEYS[2], ARGV[1])
if turn then
  local early = tonumber(turn) - now
  if early > 1 then return math.ceil(early) end
  redis.call('zrem', KEYS[2], ARGV[1])
  if early >= -${LATE_MS} then return 0 end
end
local at = math.max(now, tonumber(bucket[1] or '0'))
redis.call('hset', KEYS[1], 'next', string.format('%.3f', at + interval), 'interval', ARGV[2])
local keep = math.ceil(at + interval - now) + 60000
redis.call('pexpire', KEYS[1], keep)
if at - now <= ${BURST_MS} then return 0 end
redis.call('zremrangebyscore', KEYS[2], '-inf', now - 60000)
redis.call('zadd', KEYS[2], string.format('%.3f', at), ARGV[1])
redis.call('pexpire', KEYS[2], keep)
return math.ceil(at - now)`

export type RateLimits = {
  /** 0 when the delivery may be attempted now; else how long to wait, in ms. Asks Redis only where there is a limit. */
  waitMs(
    destination: Pick<Destination, 'id' | 'rateLimitPerSecond'>,
    deliveryId: string,
  ): Promise<number>
}

/**
 * Holds destinations to their `rate_limit_per_second` over all workers: in any time of t seconds at most
 * rate × (t + 0.7) + 1 attempts begin.
 */
export function createRateLimits(connection: RedisConnection, random: () => number): RateLimits {
  return {
    async waitMs({ id, rateLimitPerSecond }, deliveryId) {
      if (rateLimitPerSecond === null) return 0
      const tag = `{switchhook:rate:${id}}`
      const intervalMs = (1_000 / rateLimitPerSecond).toFixed(3)
      const answer = await connection.eval(TAKE, 2, tag, `${tag}:turns`, deliveryId, intervalMs)
      const waitMs = Number(answer)
      return waitMs <= MAX_WAIT_MS ? waitMs : MAX_WAIT_MS * (0.5 + 0.5 * random())
    },
  }
}
