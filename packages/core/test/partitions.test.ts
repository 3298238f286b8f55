import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { writeJournal } from '../src/store/journal.ts'
import { dropOldPartitions, ensurePartitions } from '../src/store/partitions.ts'
import { dropOldRows } from '../src/store/retention.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createEntry } from './test-rows.ts'

const DAY_MS = 86_400_000
const nowMs = Date.now()
const dayOf = (atMs: number): string =>
  new Date(atMs).toISOString().slice(0, 10).replaceAll('-', '')

let database: TestDatabase
beforeEach(async () => {
  database = await createTestDatabase('migrated')
})
afterEach(() => database.drop())

async function findDays(table: string): Promise<string[]> {
  const { rows } = await database.pool.query(
    `select relname from pg_class where relname ~ $1 and relkind = 'r' order by relname`,
    [`^${table}_\\d{8}$`],
  )
  return rows.map(({ relname }) => relname.slice(-8))
}

describe('ensurePartitions', () => {
  it('makes each day once when four processes do it at the same time', async () => {
    const laterMs = nowMs + 40 * DAY_MS
    const made = await Promise.all([1, 2, 3, 4].map(() => ensurePartitions(database.pool, laterMs)))
    expect(made.flat()).toHaveLength(30)
    expect(new Set(made.flat()).size).toBe(30)
  })
})

describe('dropOldPartitions', () => {
  it('drops the days that are wholly older than the retention, with their rows, and keeps the others', async () => {
    const ages = [29.99, 30, 31, 33]
    const entries = ages.map((age) => createEntry({ receivedAtMs: nowMs - age * DAY_MS }))
    await writeJournal(database.pool, entries)
    const before = await findDays('events')
    const dropped = await dropOldPartitions(database.pool, nowMs, 30)
    const oldestKept = dayOf(nowMs - 30 * DAY_MS)
    for (const table of ['events', 'deliveries', 'webhook_logs']) {
      expect(await findDays(table)).toEqual(before.filter((day) => day >= oldestKept))
    }
    expect(dropped).toContain(`events_${dayOf(nowMs - 33 * DAY_MS)}`)
    expect(dropped.every((name) => name.slice(-8) < oldestKept)).toBe(true)
    const { rows } = await database.pool.query('select id from events order by received_at desc')
    expect(rows.map(({ id }) => id)).toEqual(entries.slice(0, 2).map(({ event }) => event.id))
    expect(await dropOldPartitions(database.pool, nowMs, 30)).toEqual([])
  })

  it('finishes in a later round what somebody reading an old day held up', async () => {
    await writeJournal(database.pool, [createEntry({ receivedAtMs: nowMs - 40 * DAY_MS })])
    const reader = await database.pool.connect()
    await reader.query('begin')
    await reader.query('select count(*) from events')
    await expect(dropOldPartitions(database.pool, nowMs, 30)).rejects.toThrow(/lock timeout/)
    await reader.query('commit')
    reader.release()
    await dropOldPartitions(database.pool, nowMs, 30)
    expect((await findDays('events'))[0]).toBe(dayOf(nowMs - 2 * DAY_MS))
  })

  it('drops a day that a killed process had detached but not dropped', async () => {
    await ensurePartitions(database.pool, nowMs - 50 * DAY_MS)
    const name = `events_${dayOf(nowMs - 50 * DAY_MS)}`
    await database.pool.query(`alter table events detach partition ${name}`)
    expect(await dropOldPartitions(database.pool, nowMs, 30)).toContain(name)
    expect((await findDays('events'))[0]).toBe(dayOf(nowMs - 2 * DAY_MS))
  })

  it('leaves no setting behind on the connections of the pool', async () => {
    await dropOldPartitions(database.pool, nowMs, 30)
    const { rows } = await database.pool.query('show lock_timeout')
    expect(rows).toEqual([{ lock_timeout: '0' }])
  })
})

describe('dropOldRows', () => {
  it('forgets the keys older than the retention and no others', async () => {
    const entries = [0, 29, 31, 45].map((age) =>
      createEntry({ receivedAtMs: nowMs - age * DAY_MS }),
    )
    await writeJournal(database.pool, entries)
    expect(await dropOldRows(database.pool, 'dedupe_keys', nowMs - 30 * DAY_MS)).toBe(2)
    const { rows } = await database.pool.query(
      'select event_id from dedupe_keys order by received_at desc',
    )
    expect(rows.map((row) => row.event_id)).toEqual(
      entries.slice(0, 2).map(({ event }) => event.id),
    )
  })
})
