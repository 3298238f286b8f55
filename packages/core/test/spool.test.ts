import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { silentLogger } from '../src/log.ts'
import { closeRedis, openRedis, type RedisConnection } from '../src/redis.ts'
import { createSpool, type Spool, SpoolFullError, type SpoolItem } from '../src/spool.ts'
import type { DeliveryRecord } from '../src/store/delivery-log.ts'
import type { JournalEntry } from '../src/store/journal.ts'
import { sampleEvent } from './sample-event.ts'

const LIST = '{switchhook:control}:spool'
const POISON_LIST = '{switchhook:control}:spool-poison'

let redis: OwnRedis
let connection: RedisConnection
let spool: Spool

beforeAll(async () => {
  // Nothing here outlives a crash of the machine, and some disks take 300 ms for a sync.
  redis = await startOwnRedis({ settings: { appendfsync: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 5_000 }, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
})
beforeEach(async () => {
  await redis.flushAll()
  spool = createSpool(connection, 4)
})
afterAll(async () => {
  await closeRedis(connection)
  await redis.stop()
})

function entryOf(id: string, payload = Buffer.from('a=b')): JournalEntry {
  const deliveries = [{ deliveryId: `dlv_${id}`, destinationId: 'dst_1' }]
  return { event: sampleEvent({ id, payload }), deliveries }
}

function recordOf(attempts: number): DeliveryRecord {
  return {
    deliveryId: 'dlv_1',
    createdAtMs: 1,
    eventId: 'evt_1',
    eventReceivedAtMs: 1,
    organizationId: 'org_a',
    destinationId: 'dst_1',
    eventType: 'sms_received',
    phoneNumber: null,
    callSid: null,
    assistantId: null,
    state: 'pending',
    attempts,
    dueAtMs: 2,
    fallbackAtMs: null,
    reason: 'no',
    attempt: {
      attempt: attempts,
      attemptedAtMs: 2,
      url: 'https://customer.example/',
      webhookType: 'sms_received',
      requestContentType: 'application/json',
      requestBodyBase64: 'e30=',
      statusCode: 500,
      responseBody: 'oops',
      responseTimeMs: 1,
      outcome: 'refused',
      error: 'no',
    },
  }
}

const idOf = (item: SpoolItem): string =>
  item.kind === 'event'
    ? item.entry.event.id
    : item.kind === 'record'
      ? `record ${item.record.attempts}`
      : 'unreadable'

describe('the order of statuses while Postgres is away', () => {
  const status = (id: string, rank: number, subject = 'message.SM1') => {
    const entry = entryOf(id)
    return { ...entry, event: { ...entry.event, order: { subject, rank } } }
  }

  it('is known of what was taken here', async () => {
    expect(await spool.takeEvent(status('evt_1', 5))).toBe('new')
    expect(await spool.takeEvent(status('evt_2', 2))).toBe('stale')
    expect(await spool.takeEvent(status('evt_2', 2))).toBe('duplicate')
    expect(await spool.takeEvent(status('evt_3', 1, 'message.SM2'))).toBe('new')
    expect(await spool.length()).toBe(3)
  })
})

describe('an event', () => {
  it('is taken once, however often and by however many it is offered at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => spool.takeEvent(entryOf('evt_1'))),
    )
    expect(answers.filter((answer) => answer === 'new')).toHaveLength(1)
    expect(answers.filter((answer) => answer === 'duplicate')).toHaveLength(19)
    expect(await spool.length()).toBe(1)
    expect(await spool.hasSeen('evt_1')).toBe(true)
    expect(await spool.hasSeen('evt_2')).toBe(false)
  })

  it('is a duplicate for 72 h, also after it left the spool', async () => {
    await spool.takeEvent(entryOf('evt_1'))
    await spool.drop(1)
    expect(await spool.takeEvent(entryOf('evt_1'))).toBe('duplicate')
    expect(await spool.length()).toBe(0)
    const seconds = await connection.ttl('{switchhook:control}:seen:evt_1')
    expect(seconds).toBeGreaterThan(72 * 3600 - 60)
    expect(seconds).toBeLessThanOrEqual(72 * 3600)
  })

  it('is refused when the spool is full, and not remembered: the provider sends it again', async () => {
    for (const id of ['a', 'b', 'c', 'd']) expect(await spool.takeEvent(entryOf(id))).toBe('new')
    expect(await spool.takeEvent(entryOf('e'))).toBe('full')
    expect(await spool.takeEvent(entryOf('a'))).toBe('duplicate')
    expect(await spool.length()).toBe(4)
    expect(await spool.hasSeen('e')).toBe(false)
    await spool.drop(1)
    expect(await spool.takeEvent(entryOf('e'))).toBe('new')
  })

  it('comes back byte for byte, however large', async () => {
    const payload = Buffer.concat([
      Buffer.from([0, 0xff, 0xed, 0xa0, 0x80]),
      Buffer.alloc(2e6, 'x'),
    ])
    await spool.takeEvent(entryOf('evt_1', payload))
    const [item] = await spool.read(1)
    expect(item?.kind === 'event' && item.entry.event.payload.equals(payload)).toBe(true)
    const small = item?.kind === 'event' && {
      ...item.entry,
      event: { ...item.entry.event, payload: Buffer.from('a=b') },
    }
    expect(small).toEqual(entryOf('evt_1'))
  })
})

describe('what is spooled', () => {
  it('comes out in the order in which it went in, and stays until it is dropped', async () => {
    await spool.takeEvent(entryOf('evt_1'))
    await spool.addRecord(recordOf(1))
    await spool.takeEvent(entryOf('evt_2'))
    await spool.addRecord(recordOf(2))
    const order = ['evt_1', 'record 1', 'evt_2', 'record 2']
    expect((await spool.read(10)).map(idOf)).toEqual(order)
    expect((await spool.read(2)).map(idOf)).toEqual(order.slice(0, 2))
    await spool.drop(3)
    expect((await spool.read(10)).map(idOf)).toEqual(order.slice(3))
    await spool.drop(99)
    expect(await spool.read(10)).toEqual([])
    expect(await spool.length()).toBe(0)
  })

  it('is dropped once, though the command comes twice because its reply was lost', async () => {
    for (const id of ['a', 'b', 'c']) await spool.takeEvent(entryOf(id))
    expect((await spool.read(1)).map(idOf)).toEqual(['a'])
    await spool.drop(1)
    await spool.drop(1)
    expect((await spool.read(10)).map(idOf)).toEqual(['b', 'c'])
  })

  it('is not dropped by a process whose read another one has drained since', async () => {
    for (const id of ['a', 'b', 'c']) await spool.takeEvent(entryOf(id))
    const paused = createSpool(connection, 4)
    await paused.read(2)
    await spool.read(2)
    await spool.drop(2)
    await paused.drop(2)
    expect((await paused.read(10)).map(idOf)).toEqual(['c'])
  })

  it('that cannot be read is told as such, and hides nothing behind it', async () => {
    const odd = ['not JSON', 'null', '{}', '{"kind":"event"}', '{"kind":"record","record":{}}']
    await connection.rpush(LIST, ...odd)
    await createSpool(connection, 100).addRecord(recordOf(1))
    const items = await spool.read(10)
    expect(items.slice(0, -1)).toEqual(odd.map((text) => ({ kind: 'unreadable', text })))
    expect(items.at(-1)).toEqual({ kind: 'record', record: recordOf(1) })
  })
})

describe('a record', () => {
  it('loses its bodies when the spool is full, and is refused when it is full twice over', async () => {
    for (let attempts = 1; attempts <= 4; attempts += 1) {
      expect(await spool.addRecord(recordOf(attempts))).toEqual({ bodiesKept: true })
    }
    for (let attempts = 5; attempts <= 8; attempts += 1) {
      expect(await spool.addRecord(recordOf(attempts))).toEqual({ bodiesKept: false })
    }
    await expect(spool.addRecord(recordOf(9))).rejects.toThrow(SpoolFullError)
    const items = await spool.read(10)
    expect(items).toHaveLength(8)
    expect(items[3]).toEqual({ kind: 'record', record: recordOf(4) })
    const { attempt, ...facts } = recordOf(5)
    expect(items[4]).toEqual({
      kind: 'record',
      record: { ...facts, attempt: { ...attempt, requestBodyBase64: null, responseBody: null } },
    })
  })

  it('has no bodies to lose when no attempt was made', async () => {
    const record = { ...recordOf(1), attempt: null }
    for (let count = 0; count < 5; count += 1) await spool.addRecord(record)
    expect((await spool.read(5)).at(-1)).toEqual({ kind: 'record', record })
  })
})

describe('what was set aside', () => {
  it('can be looked at, the newest thousand of it', async () => {
    await spool.setAside({ kind: 'unreadable', text: 'not JSON' })
    await spool.setAside({ kind: 'record', record: recordOf(1) })
    await spool.setAside({ kind: 'event', entry: entryOf('evt_1') })
    const [text, record = '', event = ''] = await connection.lrange(POISON_LIST, 0, -1)
    expect(text).toBe('not JSON')
    expect(JSON.parse(record)).toEqual({ kind: 'record', record: recordOf(1) })
    expect(JSON.parse(event)).toMatchObject({ kind: 'event', event: { id: 'evt_1' } })
    await connection.rpush(POISON_LIST, ...Array.from({ length: 1_500 }, () => 'x'))
    await spool.setAside({ kind: 'unreadable', text: 'last' })
    expect(await connection.llen(POISON_LIST)).toBe(1_000)
    expect(await connection.lindex(POISON_LIST, -1)).toBe('last')
    expect(await spool.length()).toBe(0)
  })
})
