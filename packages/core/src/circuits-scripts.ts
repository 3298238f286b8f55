/** All keys are in one slot: what happens to circuits is rare, and one script may then read and write all of them. */
export const PREFIX = '{switchhook:circuits}'
export const CHANNEL = 'switchhook:circuits'

/** contract.md, Fine print 1: more than 10 failures, of at least three deliveries, at least half of all, within 60 s. */
export const RULE = {
  windowMs: 60_000,
  moreFailuresThan: 10,
  minDeliveries: 3,
  bucketMs: 5_000,
  buckets: 12,
} as const

/** How long a circuit is remembered that nobody probes, because nothing is owed to its destination. */
const KEEP_MS = 86_400_000

/** Deliveries of one circuit that can be woken before their turn: those that asked last. */
const MAX_WAITING = 10_000
/** Every worker sees a change of a destination by itself, within this time. */
const SAME_CHANGE_MS = 5_000

/** Time for the other workers to say how many attempts succeeded with them, before a circuit opens. */
const ASK_MS = 25
/** An answer older than that is asked for again. */
const ASKED_FOR_MS = 1_000

/** The time is Redis's own in every script: workers' clocks differ. */
const PRELUDE = `
local P = KEYS[1]
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function stateKey(id) return P .. ':state:' .. id end
local function leaseKey(id) return P .. ':lease:' .. id end
local function countsKey(id) return P .. ':counts:' .. id end
local function failedKey(id) return P .. ':failed:' .. id end
local function waitingKey(id) return P .. ':waiting:' .. id end
local function find(id)
  local s = redis.call('hmget', stateKey(id), 'opened', 'pause', 'due', 'probe_ends')
  if not s[1] then return nil end
  local isProbed = redis.call('exists', leaseKey(id)) == 1
  return {
    id = id, openedAtMs = tonumber(s[1]), pauseMs = tonumber(s[2]), nextProbeAtMs = tonumber(s[3]),
    probeEndsAtMs = isProbed and tonumber(s[4]) or 0,
  }
end
local function announce(id)
  local version = redis.call('incr', P .. ':version')
  redis.call('publish', '${CHANNEL}', cjson.encode({
    kind = 'changed', id = id, version = version, nowMs = now, circuit = find(id),
  }))
end
local function pause(id, opened, ms, waitMs)
  redis.call('hset', stateKey(id), 'opened', opened, 'pause', ms, 'due', now + waitMs, 'turns', 0)
  redis.call('hdel', stateKey(id), 'probe_ends')
  redis.call('pexpire', stateKey(id), waitMs + ${KEEP_MS})
  redis.call('zadd', P .. ':open', now + waitMs + ${KEEP_MS}, id)
  announce(id)
end
`

/** ARGV: reports as JSON, first pause. Answers JSON: nowMs, verdicts. */
export const REPORT = `${PRELUDE}
local bucket = math.floor(now / ${RULE.bucketMs})
local function judge(report)
  local id, counts, failed = report.id, countsKey(report.id), failedKey(report.id)
  local circuit = find(id)
  if circuit then return { kind = 'open', circuit = circuit } end
  for _, one in ipairs(report.successes) do
    redis.call('hincrby', counts, 's' .. (bucket - one[1]), one[2])
  end
  if report.failedDelivery ~= '' then
    redis.call('hincrby', counts, 'f' .. bucket, 1)
    redis.call('zadd', failed, now, report.failedDelivery)
    redis.call('zremrangebyrank', failed, 0, -${RULE.minDeliveries + 1})
    redis.call('pexpire', failed, ${RULE.windowMs})
  end
  redis.call('pexpire', counts, ${RULE.windowMs + RULE.bucketMs})
  local failures, successes = 0, 0
  local all = redis.call('hgetall', counts)
  for index = 1, #all, 2 do
    local kind, at = string.sub(all[index], 1, 1), tonumber(string.sub(all[index], 2))
    if at == nil then -- asked_at
    elseif at <= bucket - ${RULE.buckets} then redis.call('hdel', counts, all[index])
    elseif kind == 'f' then failures = failures + all[index + 1]
    else successes = successes + all[index + 1] end
  end
  local deliveries = redis.call('zcount', failed, now - ${RULE.windowMs}, '+inf')
  if failures <= ${RULE.moreFailuresThan} or deliveries < ${RULE.minDeliveries} or failures < successes then
    return { kind = 'counted' }
  end
  local sinceAsked = now - tonumber(redis.call('hget', counts, 'asked_at') or 0)
  if sinceAsked > ${ASKED_FOR_MS} then
    redis.call('hset', counts, 'asked_at', now)
    redis.call('publish', '${CHANNEL}', cjson.encode({ kind = 'asked', id = id }))
    return { kind = 'asking' }
  end
  if sinceAsked < ${ASK_MS} then return { kind = 'asking' } end
  pause(id, now, tonumber(ARGV[2]), tonumber(ARGV[2]))
  return { kind = 'opened', circuit = find(id) }
end
local verdicts = {}
for index, report in ipairs(cjson.decode(ARGV[1])) do verdicts[index] = judge(report) end
return cjson.encode({ nowMs = now, verdicts = verdicts })`

/** ARGV: id, lease, lease in ms. Answers JSON: kind, nowMs, circuit. */
export const TAKE_PROBE = `${PRELUDE}
local id = ARGV[1]
local function take(circuit)
  if not circuit then return 'closed' end
  if now < circuit.nextProbeAtMs then return 'held' end
  if not redis.call('set', leaseKey(id), ARGV[2], 'nx', 'px', ARGV[3]) then return 'held' end
  redis.call('hset', stateKey(id), 'probe_ends', now + ARGV[3], 'turns', 0)
  announce(id)
  return 'granted'
end
local kind = take(find(id))
return cjson.encode({ kind = kind, nowMs = now, circuit = find(id) })`

/**
 * ARGV: id, lease, when its probe was due, outcome, longest pause, wait after an unknown outcome. Answers JSON: kind,
 * nowMs, circuit. A prober that comes back too late, after another one has probed, changes nothing.
 */
export const SETTLE_PROBE = `${PRELUDE}
local id, outcome = ARGV[1], ARGV[4]
local circuit = find(id)
local holder = redis.call('get', leaseKey(id))
local isMine = holder == ARGV[2] or (not holder and circuit and circuit.nextProbeAtMs == tonumber(ARGV[3]))
if not circuit or not isMine then return cjson.encode({ kind = 'ignored', nowMs = now, circuit = circuit }) end
redis.call('del', leaseKey(id))
if outcome == 'delivered' then
  redis.call('del', stateKey(id), countsKey(id), failedKey(id), waitingKey(id))
  redis.call('zrem', P .. ':open', id)
  announce(id)
elseif outcome == 'failed' then
  local longer = math.min(circuit.pauseMs * 2, tonumber(ARGV[5]))
  pause(id, circuit.openedAtMs, longer, longer)
else
  pause(id, circuit.openedAtMs, circuit.pauseMs, tonumber(ARGV[6]))
end
return cjson.encode({ kind = 'settled', nowMs = now, circuit = find(id) })`

/**
 * ARGV: for each circuit its id, how many turns are wanted, how many deliveries follow, and these, which are noted as
 * waiting. Answers the first turn of each; -1 where the circuit is closed.
 */
export const TAKE_TURNS = `${PRELUDE}
local firsts, index = {}, 1
while index <= #ARGV do
  local id, wanted, last = ARGV[index], tonumber(ARGV[index + 1]), index + 2 + tonumber(ARGV[index + 2])
  if redis.call('exists', stateKey(id)) == 1 then
    firsts[#firsts + 1] = redis.call('hincrby', stateKey(id), 'turns', wanted) - wanted
    for at = index + 3, last do redis.call('zadd', waitingKey(id), now, ARGV[at]) end
    redis.call('zremrangebyrank', waitingKey(id), 0, -${MAX_WAITING + 1})
    redis.call('pexpire', waitingKey(id), ${KEEP_MS})
  else
    firsts[#firsts + 1] = -1
  end
  index = last + 1
end
return firsts`

/**
 * ARGV: id, what the destination is now. Its probe is due, unless one is under way (`probed`: ask again) or another
 * worker asked for the same change (`known`). Answers the kind, then the deliveries that waited, in the order of their
 * turns; they are to be woken bit by bit.
 */
export const PROBE_NOW = `${PRELUDE}
local id, change = ARGV[1], ARGV[2]
local circuit = find(id)
if not circuit then return { 'closed' } end
local last = redis.call('hmget', stateKey(id), 'change', 'changed')
if last[1] == change and now - tonumber(last[2]) < ${SAME_CHANGE_MS} then return { 'known' } end
if circuit.probeEndsAtMs > 0 then return { 'probed' } end
redis.call('hset', stateKey(id), 'change', change, 'changed', now)
pause(id, circuit.openedAtMs, circuit.pauseMs, 0)
local answer = redis.call('zrange', waitingKey(id), 0, -1)
redis.call('del', waitingKey(id))
table.insert(answer, 1, 'due')
return answer`

/** Answers version, now and each open circuit as JSON. */
export const LIST = `${PRELUDE}
local open = P .. ':open'
redis.call('zremrangebyscore', open, '-inf', now)
local found = { tonumber(redis.call('get', P .. ':version') or 0), now }
for _, id in ipairs(redis.call('zrange', open, 0, -1)) do
  local circuit = find(id)
  if circuit then found[#found + 1] = cjson.encode(circuit) else redis.call('zrem', open, id) end
end
return found`

/** ARGV: ids. Answers each circuit as JSON, '' where it is closed. */
export const READ = `${PRELUDE}
local found = {}
for index, id in ipairs(ARGV) do
  local circuit = find(id)
  found[index] = circuit and cjson.encode(circuit) or ''
end
return found`
