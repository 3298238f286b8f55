import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  type AttemptRecord,
  type DeliveryRecord,
  writeDeliveryLog,
} from '../src/store/delivery-log.ts'
import { writeJournal } from '../src/store/journal.ts'
import {
  findDeliveryProgress,
  findEvents,
  findOldestPendingAgeSeconds,
  findOverdueDeliveries,
} from '../src/store/owed-deliveries.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createAttempt, createEntry, createRecord, ORGANIZATION } from './test-rows.ts'

let database: TestDatabase
const DAY_MS = 86_400_000

beforeAll(async () => {
  database = await createTestDatabase('migrated')
  await database.pool.query('insert into organizations (id, name) values ($1, $1)', [ORGANIZATION])
})
afterAll(() => database.drop())
beforeEach(async () => {
  await database.pool.query('truncate dedupe_keys, events, deliveries, webhook_logs, calls')
})

async function countOf(table: 'events' | 'deliveries' | 'webhook_logs' | 'calls'): Promise<number> {
  const { rows } = await database.pool.query(`select count(*)::int as n from ${table}`)
  return rows[0]?.n
}

function refuse(record: DeliveryRecord, error: unknown): never {
  throw new Error(`${record.deliveryId} was refused`, { cause: error })
}

const write = (...records: DeliveryRecord[]): Promise<void> =>
  writeDeliveryLog(database.pool, records, refuse)
const progressOf = ({ deliveryId, createdAtMs }: DeliveryRecord) =>
  findDeliveryProgress(database.pool, deliveryId, createdAtMs)

describe('writeJournal', () => {
  it('tells new events from those journaled before, in the order of the batch', async () => {
    const [a, b, c] = [createEntry(), createEntry(), createEntry()]
    expect(await writeJournal(database.pool, [b])).toEqual(['new'])
    expect(await writeJournal(database.pool, [a, b, c])).toEqual(['new', 'duplicate', 'new'])
    expect(await writeJournal(database.pool, [a, b, c])).toEqual([
      'duplicate',
      'duplicate',
      'duplicate',
    ])
    expect([await countOf('events'), await countOf('deliveries')]).toEqual([3, 3])
  })

  it('keeps the first of an event that a batch holds twice', async () => {
    const first = createEntry()
    const repeat = { ...first, event: { ...first.event, payload: Buffer.from('later') } }
    expect(await writeJournal(database.pool, [first, repeat])).toEqual(['new', 'duplicate'])
    const found = await findEvents(database.pool, [
      { eventId: first.event.id, eventReceivedAtMs: first.event.receivedAtMs },
    ])
    expect(found.get(first.event.id)).toEqual(first.event)
  })

  it('keeps every byte of the payload and every fact of the event', async () => {
    const payload = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    const entry = createEntry({ payload, callSid: 'CA1', assistantId: 7, phoneNumber: null })
    await writeJournal(database.pool, [entry])
    const ref = { eventId: entry.event.id, eventReceivedAtMs: entry.event.receivedAtMs }
    expect((await findEvents(database.pool, [ref])).get(entry.event.id)).toEqual(entry.event)
  })

  it('makes the partition of a day that has none', async () => {
    const entry = createEntry({ receivedAtMs: Date.now() - 20 * DAY_MS })
    expect(await writeJournal(database.pool, [entry])).toEqual(['new'])
    expect(await countOf('events')).toBe(1)
  })

  it('makes one call of all events with its call_sid, and an ended call stays ended', async () => {
    const call = {
      provider: 'platform',
      callSid: 'CA2',
      payload: platformPayload('call_ended', 42),
    } as const
    await writeJournal(database.pool, [
      createEntry({ ...call, type: 'call_started', payload: platformPayload('call_started') }),
      createEntry({ ...call, type: 'call_ended', assistantId: 3 }),
    ])
    await writeJournal(database.pool, [createEntry({ ...call, type: 'call_started' })])
    const { rows } = await database.pool.query('select * from calls')
    expect(rows).toMatchObject([
      { call_sid: 'CA2', status: 'completed', duration_seconds: 42, assistant_id: 3 },
    ])
  })
})

describe('the order of statuses', () => {
  const status = (rank: number, subject = 'message.SM1', facts = {}) =>
    createEntry({ type: 'sms_status', order: { subject, rank }, ...facts })

  it('marks one that comes after a later one, in another batch or in the same', async () => {
    const [sent, delivered, queued, read] = [status(2), status(5), status(1), status(6)]
    expect(await writeJournal(database.pool, [delivered])).toEqual(['new'])
    expect(await writeJournal(database.pool, [sent, read, queued])).toEqual([
      ...['stale', 'new', 'stale'],
    ])
    const { rows } = await database.pool.query('select id from events where is_stale order by id')
    expect(rows.map(({ id }) => id)).toEqual([sent.event.id, queued.event.id].sort())
  })

  it('keeps the subjects and the organizations apart', async () => {
    await writeJournal(database.pool, [status(5)])
    const other = status(1, 'message.SM2')
    const foreign = status(1, 'message.SM1', { organizationId: 'org_other' })
    expect(await writeJournal(database.pool, [other, foreign])).toEqual(['new', 'new'])
  })

  it('does not take an equal one for stale: two final statuses contradict each other', async () => {
    expect(
      await writeJournal(database.pool, [status(5, 'message.SM3'), status(5, 'message.SM3')]),
    ).toEqual(['new', 'new'])
  })

  it('is the same when the entries are written again', async () => {
    const [delivered, sent] = [status(5, 'message.SM4'), status(2, 'message.SM4')]
    await writeJournal(database.pool, [delivered, sent])
    expect(await writeJournal(database.pool, [delivered, sent])).toEqual([
      ...['duplicate', 'duplicate'],
    ])
  })
})

function platformPayload(type: string, duration?: number): Buffer {
  return Buffer.from(JSON.stringify({ type, data: { duration }, idempotency_key: 'k' }))
}

describe('writeDeliveryLog', () => {
  it('written twice leaves the same rows as once', async () => {
    const entry = createEntry()
    await writeJournal(database.pool, [entry])
    const record = createRecord(entry)
    await write(record)
    await write(record)
    expect([await countOf('webhook_logs'), await countOf('deliveries')]).toEqual([1, 1])
    expect(await progressOf(record)).toMatchObject({ state: 'delivered', attempts: 1 })
  })

  it('never takes a delivery back from delivered, however late a record comes', async () => {
    const record = createRecord(createEntry(), { attempts: 2 })
    await write(record)
    await write({ ...record, state: 'pending', attempts: 3, attempt: null })
    await write({ ...record, state: 'given_up', attempts: 4, attempt: null, reason: 'late' })
    expect(await progressOf(record)).toMatchObject({
      state: 'delivered',
      attempts: 2,
      reason: null,
    })
  })

  it('never lowers the number of attempts', async () => {
    const record = createRecord(createEntry(), { state: 'pending', attempts: 3 })
    await write(record)
    await write({ ...record, attempts: 2 })
    expect(await progressOf(record)).toMatchObject({ state: 'pending', attempts: 3 })
    await write({ ...record, attempts: 2 }, { ...record, attempts: 4 }, { ...record, attempts: 1 })
    expect(await progressOf(record)).toMatchObject({ attempts: 4 })
  })

  it('takes the final one of several records of a delivery in one batch', async () => {
    const record = createRecord(createEntry(), { attempts: 2 })
    const failed = { ...record, state: 'pending', attempts: 1, reason: 'refused' } as const
    await write(record, failed)
    expect(await progressOf(record)).toMatchObject({ state: 'delivered', attempts: 2 })
  })

  it('lets a final state stand against a later record of the same batch', async () => {
    const record = createRecord(createEntry())
    await write(record, { ...record, state: 'pending', attempts: 2, attempt: null })
    expect(await progressOf(record)).toMatchObject({ state: 'delivered', attempts: 1 })
  })

  it('keeps the moment when the mail became owed', async () => {
    const record = createRecord(createEntry(), {
      state: 'pending',
      fallbackAtMs: 1_764_000_000_000,
    })
    await write(record)
    await write({ ...record, state: 'emailed', fallbackAtMs: null, attempt: null })
    expect(await progressOf(record)).toMatchObject({
      state: 'emailed',
      fallbackAtMs: 1_764_000_000_000,
    })
  })

  async function writeWithPoison(attempt: AttemptRecord) {
    const records = Array.from({ length: 7 }, () => createRecord(createEntry()))
    const poison = createRecord(createEntry(), { attempt })
    const refused: DeliveryRecord[] = []
    const batch = [...records.slice(0, 3), poison, ...records.slice(3)]
    await writeDeliveryLog(database.pool, batch, (record) => refused.push(record))
    expect(refused).toEqual([poison])
    return poison
  }

  it('commits a batch whole when Postgres refuses one body, that record without its bodies', async () => {
    const poison = await writeWithPoison(createAttempt({ responseBody: 'a\0b' }))
    expect(await progressOf(poison)).toMatchObject({ state: 'delivered' })
    const { rows } = await database.pool.query(
      'select delivery_id from webhook_logs where response_body is null and request_body is null',
    )
    expect(rows).toEqual([{ delivery_id: poison.deliveryId }])
    expect(await countOf('webhook_logs')).toBe(8)
  })

  it('commits every record of a batch but the one that Postgres refuses with and without bodies', async () => {
    const poison = await writeWithPoison(createAttempt({ error: 'a\0b' }))
    expect(await progressOf(poison)).toBeUndefined()
    expect(await countOf('webhook_logs')).toBe(7)
  })

  it('throws, and calls no record poison, when Postgres itself fails', async () => {
    const closed = await createTestDatabase('empty')
    await closed.drop()
    const refused: DeliveryRecord[] = []
    const writing = writeDeliveryLog(closed.pool, [createRecord(createEntry())], (record) =>
      refused.push(record),
    )
    await expect(writing).rejects.toThrow()
    expect(refused).toEqual([])
  })

  it('may come before the journal of its event, which then leaves the delivery delivered', async () => {
    const entry = createEntry()
    const record = createRecord(entry)
    await write(record)
    expect(await writeJournal(database.pool, [entry])).toEqual(['new'])
    expect(await progressOf(record)).toMatchObject({ state: 'delivered', attempts: 1 })
    expect([await countOf('events'), await countOf('deliveries')]).toEqual([1, 1])
  })

  it('makes the partitions of days that have none', async () => {
    const receivedAtMs = Date.now() - 25 * DAY_MS
    const record = createRecord(createEntry({ receivedAtMs }), {
      attempt: createAttempt({ attemptedAtMs: Date.now() + 40 * DAY_MS }),
    })
    await write(record)
    expect([await countOf('webhook_logs'), await countOf('deliveries')]).toEqual([1, 1])
  })
})

describe('findOverdueDeliveries', () => {
  it('pages through all that are pending and overdue, oldest first, none twice, equal times included', async () => {
    const nowMs = Date.now()
    const entries = Array.from({ length: 9 }, (_, index) =>
      createEntry({ receivedAtMs: nowMs - 60_000 - Math.floor(index / 3) * 1000 }),
    )
    const delivered = createEntry({ receivedAtMs: nowMs - 90_000 })
    const later = createEntry({ receivedAtMs: nowMs })
    await writeJournal(database.pool, [...entries, delivered, later])
    await write(createRecord(delivered))
    const found: string[] = []
    for (let page = await findOverdueDeliveries(database.pool, nowMs - 1, undefined, 2); ; ) {
      found.push(...page.map(({ deliveryId }) => deliveryId))
      const last = page.at(-1)
      if (last === undefined) break
      page = await findOverdueDeliveries(database.pool, nowMs - 1, last, 2)
    }
    const expected = entries
      .flatMap(({ event, deliveries }) =>
        deliveries.map((owed) => ({ ...owed, at: event.receivedAtMs })),
      )
      .sort((a, b) => a.at - b.at || (a.deliveryId < b.deliveryId ? -1 : 1))
    expect(found).toEqual(expected.map(({ deliveryId }) => deliveryId))
  })

  it('agrees with the age of the oldest pending delivery', async () => {
    expect(await findOldestPendingAgeSeconds(database.pool)).toBe(0)
    await writeJournal(database.pool, [createEntry({ receivedAtMs: Date.now() - 60_000 })])
    const ageSeconds = await findOldestPendingAgeSeconds(database.pool)
    expect(ageSeconds).toBeGreaterThan(59)
    expect(ageSeconds).toBeLessThan(120)
  })
})
