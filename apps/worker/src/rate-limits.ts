import type { Destination } from '@switchhook/core/event'
import type { RedisConnection } from '@switchhook/core/redis'

/** A destination that was idle may get what it missed for so long: the depth of the bucket, in time. */
const BURST_MS = 200
/** How far what begins may run ahead of the rate, in time, when late ones come at once for their turns. */
const AHEAD_MS = 950
/** How late a delivery may come for its turn; after that it is taken for gone. */
const KEPT_MS = 600_000
/** The rate may be changed while deliveries wait. */
const MAX_WAIT_MS = 300_000

/**
 * A token bucket that gives out turns: what finds no token is told when its own will be there, and has it then, whoever
 * else comes meanwhile. So a delivery wakes up once, and the order is kept. Answers the wait in ms; 0: now.
 *
 * Who comes late keeps its right, as all may be late alike. So what begins is metered apart from the turns (`metered`),
 * and what comes when too much has just begun gets another turn soon (`again`), not at the end of the line; what is new
 * goes behind those, too.
 */
const TAKE = `
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local interval = tonumber(ARGV[2])
local bucket = redis.call('hmget', KEYS[1], 'interval', 'next', 'metered', 'again')
if bucket[1] and bucket[1] ~= ARGV[2] then
  redis.call('del', KEYS[1], KEYS[2])
  bucket = {}
end
local next = tonumber(bucket[2] or '0')
local metered = tonumber(bucket[3] or '0')
local again = tonumber(bucket[4] or '0')
local turn = redis.call('zscore', KEYS[2], ARGV[1])
local at = now
if turn then
  local early = tonumber(turn) - now
  if early > 1 then return math.ceil(early) end
else
  at = math.max(now, next, again)
  next = at + interval
end
local goes = at - now <= ${BURST_MS}
if goes and metered - now > ${AHEAD_MS} then
  goes = false
  at = math.max(metered - ${AHEAD_MS}, again)
  again = at + interval
end
if goes then metered = math.max(now, metered) + interval end
local keep = math.ceil(math.max(now, next, metered, again) - now) + ${KEPT_MS}
redis.call('hset', KEYS[1], 'interval', ARGV[2], 'next', string.format('%.3f', next),
  'metered', string.format('%.3f', metered), 'again', string.format('%.3f', again))
redis.call('pexpire', KEYS[1], keep)
if goes then
  if turn then redis.call('zrem', KEYS[2], ARGV[1]) end
  return 0
end
redis.call('zremrangebyscore', KEYS[2], '-inf', now - ${KEPT_MS})
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
 * rate × (t + 1) + 1 attempts begin.
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
