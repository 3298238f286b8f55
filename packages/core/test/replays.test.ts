import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { deliveryId } from '../src/ids.ts'
import { writeDeliveryLog } from '../src/store/delivery-log.ts'
import { findDelivery, listDeliveries } from '../src/store/delivery-queries.ts'
import { findEvent, listEvents } from '../src/store/event-queries.ts'
import { writeJournal } from '../src/store/journal.ts'
import {
  cancelDelivery,
  EventNotKeptError,
  inReplayTransaction,
  insertEventReplay,
  insertReplay,
} from '../src/store/replays.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createEntry, createRecord, DESTINATION, ORGANIZATION } from './test-rows.ts'

let database: TestDatabase
const DAY_MS = 86_400_000

beforeAll(async () => {
  database = await createTestDatabase('migrated')
})
afterAll(() => database.drop())

async function storeEvent(deliveries: 'owed' | 'unrouted') {
  const entry = createEntry()
  const stored = deliveries === 'owed' ? entry : { ...entry, deliveries: [] }
  await writeJournal(database.pool, [stored])
  const event = await findEvent(database.db, ORGANIZATION, entry.event.id)
  if (event === undefined) throw new Error('the event was not stored')
  return { entry, event }
}

const unrouted = async () => {
  const rows = await listEvents(database.db, ORGANIZATION, { isRouted: false }, { limit: 100 })
  return rows.map(({ id }) => id)
}

const replay = (event: Awaited<ReturnType<typeof storeEvent>>['event'], ...ids: string[]) => {
  const nowMs = Date.now()
  return inReplayTransaction(database, nowMs, (tx) => insertEventReplay(tx, event, ids, nowMs))
}

async function isSomebodyWaiting(): Promise<boolean> {
  const { rowCount } = await database.pool.query(
    `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
  )
  return rowCount === 1
}

describe('a replay of a delivery', () => {
  it('is a new pending delivery of the same event that names the one it repeats', async () => {
    const { entry, event } = await storeEvent('owed')
    await writeDeliveryLog(database.pool, [createRecord(entry)], () => undefined)
    const [owed] = entry.deliveries
    const original = await findDelivery(database.db, ORGANIZATION, owed?.deliveryId ?? '')
    if (original === undefined) throw new Error('no delivery')
    const nowMs = Date.now()
    const made = await inReplayTransaction(database, nowMs, (tx) =>
      insertReplay(tx, event, original, nowMs),
    )
    expect(await findDelivery(database.db, ORGANIZATION, made.deliveryId)).toEqual({
      ...original,
      ...{ id: made.deliveryId, createdAtMs: nowMs, state: 'pending', attempts: 0 },
      ...{ dueAtMs: nowMs, updatedAtMs: nowMs, replayOf: original.id },
    })
  })

  it('makes the partitions of a day that no worker has made', async () => {
    const { entry, event } = await storeEvent('owed')
    const nowMs = Date.now() + 90 * DAY_MS
    const [owed] = entry.deliveries
    const original = { id: owed?.deliveryId ?? '', destinationId: DESTINATION }
    const made = await inReplayTransaction(database, nowMs, (tx) =>
      insertReplay(tx, event, original, nowMs),
    )
    expect(made.createdAtMs).toBe(nowMs)
  })
})

describe('a replay of an event', () => {
  it('gives a destination its first delivery under the id that it would have had, then others', async () => {
    const { event } = await storeEvent('unrouted')
    expect(await unrouted()).toContain(event.id)
    const [first] = await replay(event, 'dst_a')
    expect(first?.deliveryId).toBe(deliveryId(event.id, 'dst_a'))
    expect(await unrouted()).not.toContain(event.id)
    const [again, other] = await replay(event, 'dst_a', 'dst_b')
    expect(again?.deliveryId).not.toBe(first?.deliveryId)
    expect(other?.deliveryId).toBe(deliveryId(event.id, 'dst_b'))
    const rows = await listDeliveries(
      database.db,
      ORGANIZATION,
      { eventId: event.id },
      { limit: 9 },
    )
    const links = rows.map(({ id, replayOf }) => [id, replayOf])
    expect(new Map(links as [string, string][])).toEqual(
      new Map([
        [first?.deliveryId, null],
        [again?.deliveryId, first?.deliveryId],
        [other?.deliveryId, null],
      ]),
    )
    expect((await findEvent(database.db, ORGANIZATION, event.id))?.deliveryCount).toBe(2)
  })

  it('twice at once makes one first delivery and one that repeats it', async () => {
    const { event } = await storeEvent('unrouted')
    const nowMs = Date.now()
    let second: ReturnType<typeof replay> | undefined
    const [first] = await inReplayTransaction(database, nowMs, async (tx) => {
      const made = await insertEventReplay(tx, event, ['dst_a'], nowMs)
      second = replay(event, 'dst_a')
      await waitFor(isSomebodyWaiting, { timeoutMs: 12_000, what: 'the second one to wait' })
      return made
    })
    const [again] = (await second) ?? []
    expect(first?.deliveryId).toBe(deliveryId(event.id, 'dst_a'))
    const repeat = await findDelivery(database.db, ORGANIZATION, again?.deliveryId ?? '')
    expect(repeat?.replayOf).toBe(first?.deliveryId)
    expect((await findEvent(database.db, ORGANIZATION, event.id))?.deliveryCount).toBe(1)
  })
})

describe('a replay of an event that is being erased', () => {
  it.each(['delivery', 'event'] as const)(
    'waits for the erasure and makes nothing, when it is of the %s',
    async (kind) => {
      const { entry, event } = await storeEvent('owed')
      const original = { id: entry.deliveries[0]?.deliveryId ?? '', destinationId: DESTINATION }
      const nowMs = Date.now()
      const erasing = await database.pool.connect()
      await erasing.query('begin')
      await erasing.query(`update events set payload = '', erased_at = now() where id = $1`, [
        event.id,
      ])
      const late = inReplayTransaction(database, nowMs, async (tx) => {
        if (kind === 'delivery') await insertReplay(tx, event, original, nowMs)
        else await insertEventReplay(tx, event, [DESTINATION], nowMs)
      })
      const refused = expect(late).rejects.toThrow(EventNotKeptError)
      await waitFor(isSomebodyWaiting, { timeoutMs: 12_000, what: 'the replay to wait' })
        .then(() => erasing.query('commit'))
        .finally(() => erasing.release(true))
      await refused
      const rows = await listDeliveries(
        database.db,
        ORGANIZATION,
        { eventId: event.id },
        { limit: 9 },
      )
      expect(rows.map(({ id }) => id)).toEqual([original.id])
    },
  )
})

describe('a delivery that is cancelled', () => {
  it('stays so, whatever a worker that was at it brings later', async () => {
    const { entry } = await storeEvent('owed')
    const record = createRecord(entry, { state: 'pending', attempts: 1 })
    const delivery = { id: record.deliveryId, createdAtMs: record.createdAtMs }
    const cancel = (organizationId: string) =>
      cancelDelivery(database.db, organizationId, delivery, 'Why')
    expect(await cancel('org_other')).toBe(false)
    expect(await cancel(ORGANIZATION)).toBe(true)
    expect(await cancel(ORGANIZATION)).toBe(false)
    await writeDeliveryLog(database.pool, [record], () => undefined)
    const stored = await findDelivery(database.db, ORGANIZATION, record.deliveryId)
    expect(stored).toMatchObject({ state: 'cancelled', reason: 'Why' })
  })
})
