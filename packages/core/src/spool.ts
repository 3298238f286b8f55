import { decodeEvent, encodeEvent } from './delivery/delivery-job.ts'
import { statusSubject } from './ids.ts'
import type { RedisConnection } from './redis.ts'
import { type DeliveryRecord, withoutBodies } from './store/delivery-log.ts'
import type { JournalEntry } from './store/journal.ts'
import type { QuarantinedWebhook } from './store/quarantine.ts'

const LIST = '{switchhook:control}:spool'
/** How many items were ever dropped: tells one read from the next. */
const DROPPED = '{switchhook:control}:spool-dropped'
const POISON_LIST = '{switchhook:control}:spool-poison'
const MAX_POISON_ITEMS = 1_000
/** Each may have some MB. */
const POISON_PAGE = 20
const seenKey = (eventId: string): string => `{switchhook:control}:seen:${eventId}`
/** The furthest status of a message or call that was taken here: Postgres, which knows the others, is away. */
const rankKey = (subject: string): string => `{switchhook:control}:rank:${subject}`
/** Longer than any provider's retry horizon; the keys exist only for events taken while Postgres was away. */
const SEEN_SECONDS = 72 * 3600

/** Dedupe and durability in one step: killed between the two, a provider's retry would be taken for a duplicate and lost. */
const TAKE = `
if redis.call('exists', KEYS[1]) == 1 then return 0 end
if redis.call('llen', KEYS[2]) >= tonumber(ARGV[3]) then return -1 end
redis.call('rpush', KEYS[2], ARGV[1])
redis.call('set', KEYS[1], '1', 'ex', ARGV[2])
if ARGV[4] == '' then return 1 end
local furthest = tonumber(redis.call('get', KEYS[3]) or '-1')
if tonumber(ARGV[4]) < furthest then return 2 end
redis.call('set', KEYS[3], ARGV[4], 'ex', ARGV[2])
return 1`

const TAKEN: Readonly<Record<number, 'new' | 'stale' | 'duplicate'>> = {
  0: 'duplicate',
  1: 'new',
  2: 'stale',
}

/** Read together, so that a drop can say exactly what it drops. */
const READ = `return {redis.call('get', KEYS[2]) or '0', redis.call('lrange', KEYS[1], 0, ARGV[1])}`

/**
 * A command whose reply is lost is sent again, and another process may have drained meanwhile: only what was read, and
 * was not dropped since, is dropped.
 */
const DROP = `
if (redis.call('get', KEYS[2]) or '0') ~= ARGV[1] then return 0 end
redis.call('ltrim', KEYS[1], ARGV[2], -1)
redis.call('incrby', KEYS[2], ARGV[2])
return 1`

export type SpoolItem =
  | { readonly kind: 'event'; readonly entry: JournalEntry }
  | { readonly kind: 'record'; readonly record: DeliveryRecord }
  /** An authentic webhook that is nobody's. */
  | { readonly kind: 'quarantined'; readonly row: QuarantinedWebhook }
  /** What another version, or a person at a Redis prompt, put there. */
  | { readonly kind: 'unreadable'; readonly text: string }

/** What Postgres must be told when it is back: accepted events and attempts, in the order they happened. */
export type Spool = {
  /** `new`: durable in Redis. `stale`: too, but a later status was taken before. `duplicate`: was before. `full`: refused. */
  takeEvent(entry: JournalEntry): Promise<'new' | 'stale' | 'duplicate' | 'full'>
  /** Was this event taken here in the last 72 h? */
  hasSeen(eventId: string): Promise<boolean>
  /** Adds a record, without its bodies when the spool is more than full; throws `SpoolFullError` at twice its size. */
  addRecord(record: DeliveryRecord): Promise<{ readonly bodiesKept: boolean }>
  /** Throws `SpoolFullError`. */
  addQuarantined(row: QuarantinedWebhook): Promise<void>
  length(): Promise<number>
  read(count: number): Promise<SpoolItem[]>
  /** Forgets the oldest `count` of what was read last: they are in Postgres now. Twice is once. */
  drop(count: number): Promise<void>
  /** Puts what Postgres refuses for its content where a person can look at it (at most the newest 1,000). */
  setAside(item: SpoolItem): Promise<void>
  /** Forgets what was set aside and is chosen. */
  dropAside(isDropped: (item: SpoolItem) => boolean): Promise<void>
}

export class SpoolFullError extends Error {
  override readonly name = 'SpoolFullError'
}

type EncodedEvent = ReturnType<typeof encodeEvent>

function encodeItem(item: SpoolItem): string {
  if (item.kind === 'unreadable') return item.text
  if (item.kind === 'record') return JSON.stringify(item)
  if (item.kind === 'quarantined') {
    const { row } = item
    return JSON.stringify({ kind: item.kind, row: { ...row, body: row.body.toString('base64') } })
  }
  const { event, deliveries } = item.entry
  return JSON.stringify({ kind: 'event', event: encodeEvent(event, 'all'), deliveries })
}

function decodeItem(text: string): SpoolItem {
  try {
    const item = JSON.parse(text) as
      | Extract<SpoolItem, { kind: 'record' }>
      | { kind: 'event'; event: EncodedEvent; deliveries: JournalEntry['deliveries'] }
      | { kind: 'quarantined'; row: Omit<QuarantinedWebhook, 'body'> & { body: string } }
    if (item.kind === 'record' && typeof item.record.deliveryId === 'string') return item
    if (item.kind === 'quarantined' && typeof item.row.id === 'string') {
      return { kind: item.kind, row: { ...item.row, body: Buffer.from(item.row.body, 'base64') } }
    }
    if (item.kind === 'event' && Array.isArray(item.deliveries)) {
      const event = decodeEvent(item.event)
      if (event !== undefined)
        return { kind: 'event', entry: { event, deliveries: item.deliveries } }
    }
  } catch {
    // Falls through: one item must not stand before all the others.
  }
  return { kind: 'unreadable', text }
}

/** Attempts may fill it this many times over before they are refused: without them Postgres would think the work undone. */
const RECORD_ROOM = 2

export function createSpool(connection: RedisConnection, maxItems: number): Spool {
  let readAt = '0'
  return {
    async takeEvent(entry) {
      const text = encodeItem({ kind: 'event', entry })
      const { id, organizationId, provider, order } = entry.event
      const subject = statusSubject(organizationId, provider, order?.subject ?? '')
      const keys = [seenKey(id), LIST, rankKey(subject)]
      const rank = order?.rank ?? ''
      const answer = await connection.eval(TAKE, 3, ...keys, text, SEEN_SECONDS, maxItems, rank)
      return TAKEN[Number(answer)] ?? 'full'
    },
    async hasSeen(eventId) {
      return (await connection.exists(seenKey(eventId))) === 1
    },
    async addRecord(record) {
      const length = await connection.llen(LIST)
      if (length >= RECORD_ROOM * maxItems) throw new SpoolFullError(`${length} items are spooled`)
      const bodiesKept = length < maxItems
      const kept = bodiesKept ? record : withoutBodies(record)
      await connection.rpush(LIST, encodeItem({ kind: 'record', record: kept }))
      return { bodiesKept }
    },
    async addQuarantined(row) {
      const length = await connection.llen(LIST)
      if (length >= maxItems) throw new SpoolFullError(`${length} items are spooled`)
      await connection.rpush(LIST, encodeItem({ kind: 'quarantined', row }))
    },
    length: () => connection.llen(LIST),
    async read(count) {
      const answer = await connection.eval(READ, 2, LIST, DROPPED, count - 1)
      const [dropped, items] = answer as [string, string[]]
      readAt = dropped
      return items.map(decodeItem)
    },
    async drop(count) {
      await connection.eval(DROP, 2, LIST, DROPPED, readAt, count)
    },
    async setAside(item) {
      await connection.rpush(POISON_LIST, encodeItem(item))
      await connection.ltrim(POISON_LIST, -MAX_POISON_ITEMS, -1)
    },
    async dropAside(isDropped) {
      const dropped: string[] = []
      for (let from = 0; from < MAX_POISON_ITEMS; from += POISON_PAGE) {
        const texts = await connection.lrange(POISON_LIST, from, from + POISON_PAGE - 1)
        dropped.push(...texts.filter((text) => isDropped(decodeItem(text))))
        if (texts.length < POISON_PAGE) break
      }
      for (const text of dropped) await connection.lrem(POISON_LIST, 0, text)
    },
  }
}
