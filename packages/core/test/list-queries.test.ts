import { type CompiledQuery, Kysely, PostgresDialect } from 'kysely'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { findCallBySid, findCalls } from '../src/store/call-queries.ts'
import type { Database } from '../src/store/database.ts'
import { writeDeliveryLog } from '../src/store/delivery-log.ts'
import { findDelivery, listDeliveries } from '../src/store/delivery-queries.ts'
import { findEvent, listEvents } from '../src/store/event-queries.ts'
import { writeJournal } from '../src/store/journal.ts'
import type { Position } from '../src/store/keyset.ts'
import {
  findAttempts,
  findAttemptsOf,
  findWebhookLogsOfCall,
  listWebhookLogs,
} from '../src/store/webhook-log-queries.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createAttempt, createEntry, createRecord, DESTINATION, ORGANIZATION } from './test-rows.ts'

const DAY_MS = 86_400_000
const nowMs = Date.now()
let database: TestDatabase
let queries: CompiledQuery[] = []
/** The same pool, but it keeps what it was asked. */
let db: Kysely<Database>

beforeAll(async () => {
  database = await createTestDatabase('migrated')
  const dialect = new PostgresDialect({ pool: database.pool })
  db = new Kysely<Database>({ dialect, log: ({ query }) => void queries.push(query) })
  await database.pool.query('insert into organizations (id, name) values ($1, $1)', [ORGANIZATION])
  // Three days, and many rows of one moment: the worst case for a position in time.
  const entries = Array.from({ length: 24 }, (_, index) =>
    createEntry({
      receivedAtMs: nowMs - (index % 3) * DAY_MS,
      callSid: index % 2 === 0 ? 'CA1' : null,
    }),
  )
  await writeJournal(database.pool, entries)
  const records = entries.map((entry) => createRecord(entry))
  await writeDeliveryLog(database.pool, records, (_, error) => {
    throw error
  })
})
afterAll(() => database.drop())
beforeEach(() => {
  queries = []
})

type PlanNode = {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly Plans?: readonly PlanNode[]
}

function flatten(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(flatten)]
}

/**
 * How Postgres would run the last query if scans of whole tables and sorts cost a fortune: what is still there has no
 * index to do without it.
 */
async function explainLast(): Promise<PlanNode[]> {
  const query = queries.at(-1)
  if (query === undefined) throw new Error('no query was made')
  const client = await database.pool.connect()
  try {
    await client.query('begin')
    await client.query('set local enable_seqscan = off')
    await client.query('set local enable_sort = off')
    await client.query('set local enable_bitmapscan = off')
    const { rows } = await client.query(`explain (format json) ${query.sql}`, [...query.parameters])
    return flatten(rows[0]['QUERY PLAN'][0].Plan)
  } finally {
    await client.query('rollback')
    client.release()
  }
}

const typesOf = (plan: readonly PlanNode[]): string[] => plan.map((node) => node['Node Type'])
const daysOf = (plan: readonly PlanNode[]): number =>
  new Set(plan.flatMap((node) => node['Relation Name'] ?? [])).size

const page = { limit: 50, after: { timeMs: nowMs, id: 'zzz' } }
const logPage = { limit: 50, after: { timeMs: nowMs, id: 1_000_000 } }

describe('a page in order of time needs no scan of a whole table and no sort', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['events', () => listEvents(db, ORGANIZATION, {}, page)],
    ['events of a number', () => listEvents(db, ORGANIZATION, { phoneNumber: '+1' }, page)],
    ['events of a call', () => listEvents(db, ORGANIZATION, { callSid: 'CA1' }, page)],
    ['unrouted events', () => listEvents(db, ORGANIZATION, { isRouted: false }, page)],
    ['deliveries', () => listDeliveries(db, ORGANIZATION, {}, page)],
    [
      'deliveries of a destination',
      () => listDeliveries(db, ORGANIZATION, { destinationId: DESTINATION }, page),
    ],
    ['emailed deliveries', () => listDeliveries(db, ORGANIZATION, { state: 'emailed' }, page)],
    ['logs', () => listWebhookLogs(db, ORGANIZATION, {}, logPage)],
    ['logs of a call', () => listWebhookLogs(db, ORGANIZATION, { callSid: 'CA1' }, logPage)],
    ['the log of one call', () => findWebhookLogsOfCall(db, ORGANIZATION, 'CA1', undefined, 1000)],
  ])('%s', async (_, ask) => {
    await ask()
    const types = typesOf(await explainLast())
    expect(types).not.toContain('Seq Scan')
    expect(types).not.toContain('Sort')
    expect(types).not.toContain('Incremental Sort')
  })
})

describe('a look-up needs no scan of a whole table', () => {
  it.each<[string, () => Promise<unknown>]>([
    ['an event by id', () => findEvent(db, ORGANIZATION, 'evt_1')],
    ['a delivery by id', () => findDelivery(db, ORGANIZATION, 'dlv_1')],
    ['deliveries of an event', () => listDeliveries(db, ORGANIZATION, { eventId: 'evt_1' }, page)],
    ['logs of a delivery', () => listWebhookLogs(db, ORGANIZATION, { deliveryId: 'd' }, logPage)],
    ['logs of an event', () => listWebhookLogs(db, ORGANIZATION, { eventId: 'evt_1' }, logPage)],
    [
      'the attempts of deliveries',
      () => findAttempts(db, ORGANIZATION, [{ id: 'dlv_1', createdAtMs: nowMs }]),
    ],
    [
      'the attempts of a delivery',
      () => findAttemptsOf(db, ORGANIZATION, { id: 'dlv_1', createdAtMs: nowMs }),
    ],
    ['a call by sid', () => findCallBySid(db, ORGANIZATION, 'CA1')],
    ['calls by id and sid', () => findCalls(db, ORGANIZATION, [1], ['CA1'])],
  ])('%s', async (_, ask) => {
    await ask()
    expect(typesOf(await explainLast())).not.toContain('Seq Scan')
  })
})

describe('a page', () => {
  it('leaves out the days after its cursor and before its floor', async () => {
    await listEvents(db, ORGANIZATION, {}, { ...page, sinceMs: nowMs - DAY_MS })
    expect(daysOf(await explainLast())).toBe(2)
    await listDeliveries(db, ORGANIZATION, {}, { limit: 5, untilMs: nowMs, sinceMs: nowMs })
    expect(daysOf(await explainLast())).toBeLessThanOrEqual(1)
  })

  it('after page holds every row once, in order, over days and equal times', async () => {
    const seen = await readAll(async (after: Position<string> | undefined) => {
      const rows = await listDeliveries(db, ORGANIZATION, {}, { limit: 5, after })
      return rows.map(({ id, createdAtMs }) => ({ id, timeMs: createdAtMs }))
    })
    expect(seen).toHaveLength(24)
    expect(seen).toEqual([...seen].sort((a, b) => b.timeMs - a.timeMs || (a.id < b.id ? 1 : -1)))
    expect(new Set(seen.map(({ id }) => id)).size).toBe(24)
  })

  it('of the log, too', async () => {
    const seen = await readAll(async (after: Position<number> | undefined) => {
      const rows = await listWebhookLogs(db, ORGANIZATION, {}, { limit: 7, after })
      return rows.map(({ id, attemptedAtMs }) => ({ id, timeMs: attemptedAtMs }))
    })
    expect(new Set(seen.map(({ id }) => id)).size).toBe(24)
    expect(seen).toEqual([...seen].sort((a, b) => b.timeMs - a.timeMs || b.id - a.id))
  })

  it('includes since and excludes until', async () => {
    const between = { limit: 50, sinceMs: nowMs - DAY_MS, untilMs: nowMs }
    const rows = await listEvents(db, ORGANIZATION, {}, between)
    expect(rows.map(({ receivedAtMs }) => receivedAtMs)).toEqual(Array(8).fill(nowMs - DAY_MS))
  })
})

async function readAll<Id extends string | number>(
  readPage: (after: Position<Id> | undefined) => Promise<Position<Id>[]>,
): Promise<Position<Id>[]> {
  const seen: Position<Id>[] = []
  for (;;) {
    const rows = await readPage(seen.at(-1))
    if (rows.length === 0) return seen
    seen.push(...rows)
  }
}

describe('the attempts of deliveries', () => {
  it('come in order, whichever day they were made, and for another organization not at all', async () => {
    const entry = createEntry({ receivedAtMs: nowMs - 2 * DAY_MS })
    const records = [1, 2, 3].map((attempt) =>
      createRecord(entry, {
        state: attempt === 3 ? 'delivered' : 'pending',
        attempts: attempt,
        attempt: createAttempt({ attempt, attemptedAtMs: nowMs - (3 - attempt) * DAY_MS }),
      }),
    )
    await writeDeliveryLog(database.pool, records.toReversed(), () => undefined)
    const id = records[0]?.deliveryId ?? ''
    const refs = [{ id, createdAtMs: entry.event.receivedAtMs }]
    const found = (await findAttempts(db, ORGANIZATION, refs)).get(id)
    expect(found?.map(({ attempt }) => attempt)).toEqual([1, 2, 3])
    expect((await findAttempts(db, 'org_other', refs)).get(id)).toEqual([])
    await database.pool.query('delete from webhook_logs where delivery_id = $1', [id])
    await database.pool.query('delete from deliveries where id = $1', [id])
  })
})
