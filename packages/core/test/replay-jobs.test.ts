import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { DeliveryState } from '../src/event.ts'
import { deliveryId } from '../src/ids.ts'
import { writeDeliveryLog } from '../src/store/delivery-log.ts'
import { listDeliveries } from '../src/store/delivery-queries.ts'
import { findEvent } from '../src/store/event-queries.ts'
import { writeJournal } from '../src/store/journal.ts'
import {
  countReplayed,
  endReplay,
  findClockMs,
  findReplay,
  findRunningReplays,
  insertReplayJob,
  type ReplayRange,
} from '../src/store/replay-jobs.ts'
import { advanceReplay } from '../src/store/replay-jobs-advance.ts'
import { inReplayTransaction, insertReplay } from '../src/store/replays.ts'
import { isUniqueViolation } from '../src/store/transaction.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createEntry, createRecord, DESTINATION, ORGANIZATION } from './test-rows.ts'

const NOT_DELIVERED: readonly DeliveryState[] = ['emailed', 'given_up', 'expired', 'cancelled']
const HOUR_MS = 3_600_000
const SINCE_MS = Date.now() - 24 * HOUR_MS

let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase('migrated')
  const organizations = 'insert into organizations (id, name) values ($1, $1), ($2, $2)'
  await database.pool.query(organizations, [ORGANIZATION, 'org_busy'])
})
beforeEach(async () => {
  await database.pool.query('truncate replays, events, deliveries, webhook_logs, dedupe_keys')
  await database.pool.query('delete from destinations')
  await addDestination(DESTINATION)
})
afterAll(() => database.drop())

async function addDestination(id: string, organizationId = ORGANIZATION): Promise<void> {
  await database.pool.query(
    `insert into destinations (id, organization_id, name, url, format, event_types, success_rule, timeout_ms,
       max_attempts, delays_seconds, jitter, max_concurrency, status, secret)
     values ($1, $2, 'd', 'https://example.com', 'burki', '{*}', '2xx', 1000, 1, '{}', false, 1, 'active', 's')`,
    [id, organizationId],
  )
}

/** Stored with one delivery that ended so, or is pending. */
async function store(state: DeliveryState, hours: number, destinationId = DESTINATION) {
  const entry = createEntry({ receivedAtMs: SINCE_MS + hours * HOUR_MS }, destinationId)
  await writeJournal(database.pool, [entry])
  if (state !== 'pending') {
    await writeDeliveryLog(database.pool, [createRecord(entry, { state })], () => undefined)
  }
  return { id: deliveryId(entry.event.id, destinationId), eventId: entry.event.id, destinationId }
}

const rangeOf = (facts: Partial<ReplayRange> = {}): ReplayRange => ({
  ...{ organizationId: ORGANIZATION, destinationId: DESTINATION, states: NOT_DELIVERED },
  ...{ sinceMs: SINCE_MS, untilMs: Date.now(), ...facts },
})

const count = (facts: Partial<ReplayRange> = {}) =>
  database.db.transaction().execute((tx) => countReplayed(tx, rangeOf(facts)))

async function start(facts: Partial<ReplayRange> = {}, ratePerSecond = 1_000): Promise<string> {
  const range = rangeOf(facts)
  const replay = await database.db.transaction().execute(async (tx) => {
    const total = await countReplayed(tx, range)
    const how = { ratePerSecond, total, requestedBy: 'key', nowMs: Date.now() }
    return await insertReplayJob(tx, range, how)
  })
  return replay.id
}

/** A step after a second in which nothing was made. */
async function step(id: string) {
  await database.pool.query(
    `update replays set paced_at = now() - interval '1 second' where id = $1`,
    [id],
  )
  return await advanceReplay(database, id)
}

async function replayed(): Promise<[string | null, string][]> {
  const { rows } = await database.pool.query(
    `select replay_of, state from deliveries where replay_of is not null order by event_received_at, id`,
  )
  return rows.map(({ replay_of, state }) => [replay_of, state])
}

describe('what a replay makes again', () => {
  it('is of one destination, a range of time and some states', async () => {
    await addDestination('dst_other')
    await store('given_up', 1)
    await store('emailed', 2)
    await store('expired', 3)
    await store('cancelled', 4)
    await store('delivered', 5)
    await store('pending', 6)
    await store('given_up', 7, 'dst_other')
    expect(await count()).toBe(4)
    expect(await count({ states: ['delivered'] })).toBe(1)
    expect(await count({ destinationId: 'dst_other' })).toBe(1)
    expect(await count({ organizationId: 'org_other' })).toBe(0)
    const from = SINCE_MS + 2 * HOUR_MS
    expect(await count({ sinceMs: from, untilMs: from + HOUR_MS })).toBe(1)
    expect(await count({ sinceMs: from + 1 })).toBe(2)
  })

  it.each([
    ['is on its way', 'pending', 0],
    ['was delivered', 'delivered', 0],
    ['failed as well, once only', 'given_up', 1],
  ] as const)('leaves out a delivery of which a later replay %s', async (_, state, expected) => {
    const original = await store('given_up', 1)
    const event = await findEvent(database.db, ORGANIZATION, original.eventId)
    if (event === undefined) throw new Error('no event')
    const nowMs = Date.now() - HOUR_MS
    await inReplayTransaction(database, nowMs, (tx) => insertReplay(tx, event, original, nowMs))
    const sql = `update deliveries set state = $1 where replay_of = $2`
    await database.pool.query(sql, [state, original.id])
    expect(await count()).toBe(expected)
    // That later one is out of this range, and failed: the first one stands for the event.
    expect(await count({ untilMs: nowMs })).toBe(expected)
  })
})

describe('a replay', () => {
  it('makes new deliveries of the same events, oldest first, and then is finished', async () => {
    const originals = []
    for (const hours of [20, 3, 11]) originals.push(await store('given_up', hours))
    const id = await start()
    const first = await step(id)
    expect(first.kind).toBe('ended')
    if (first.kind !== 'ended') return
    const oldestFirst = [originals[1], originals[2], originals[0]]
    expect(first.owed.map(({ eventId }) => eventId)).toEqual(oldestFirst.map((o) => o?.eventId))
    expect(await replayed()).toEqual(oldestFirst.map((o) => [o?.id, 'pending']))
    expect(await findReplay(database.db, ORGANIZATION, id)).toMatchObject({
      ...{ state: 'finished', total: 3, done: 3, skipped: 0, finishedAtMs: expect.any(Number) },
    })
    expect(await step(id)).toEqual({ kind: 'stopped' })
  })

  it('goes on where the step before ended, whoever takes it', async () => {
    for (let hours = 1; hours <= 7; hours += 1) await store('given_up', hours)
    const id = await start({}, 3)
    const kinds = []
    for (let steps = 0; steps < 3; steps += 1) kinds.push((await step(id)).kind)
    expect(kinds).toEqual(['advanced', 'advanced', 'ended'])
    expect(new Set((await replayed()).map(([original]) => original)).size).toBe(7)
    expect((await findReplay(database.db, ORGANIZATION, id))?.done).toBe(7)
  })

  it('that two processes advance at once makes each delivery once', async () => {
    for (let hours = 1; hours <= 10; hours += 1) await store('given_up', hours)
    const id = await start({}, 4)
    await Promise.all(Array.from({ length: 6 }, () => step(id)))
    while ((await step(id)).kind === 'advanced');
    expect(await replayed()).toHaveLength(10)
    expect(new Set((await replayed()).map(([original]) => original)).size).toBe(10)
  })

  it('whose step is done again from the beginning makes nothing twice', async () => {
    for (let hours = 1; hours <= 4; hours += 1) await store('given_up', hours)
    const id = await start({}, 2)
    await step(id)
    await database.pool.query('update replays set position_at = null, position_id = null')
    while ((await step(id)).kind === 'advanced');
    expect(new Set((await replayed()).map(([original]) => original)).size).toBe(4)
    expect(await replayed()).toHaveLength(4)
  })

  it('leaves nothing half done when its transaction fails', async () => {
    await store('given_up', 1)
    const id = await start()
    const fail = `create function refuse() returns trigger language plpgsql as 'begin raise exception ''no''; end'`
    await database.pool.query(fail)
    await database.pool.query(
      'create trigger refuse before update of done on replays execute function refuse()',
    )
    await expect(step(id)).rejects.toThrow('no')
    expect(await replayed()).toEqual([])
    await database.pool.query('drop trigger refuse on replays')
    expect((await step(id)).kind).toBe('ended')
    expect(await replayed()).toHaveLength(1)
  })

  it('keeps its rate: nothing more is made until there is room', async () => {
    for (let hours = 1; hours <= 5; hours += 1) await store('given_up', hours)
    const id = await start({}, 2)
    const startedAtMs = await findClockMs(database.db)
    expect((await step(id)).kind).toBe('advanced')
    expect(await replayed()).toHaveLength(2)
    const { kind } = await advanceReplay(database, id)
    // None, but on a machine that stood still for half a second.
    const room = Math.floor(((await findClockMs(database.db)) - startedAtMs) / 500)
    const made = (await replayed()).length - 2
    expect(made).toBeLessThanOrEqual(room)
    expect(kind).toBe(made === 0 ? 'waiting' : 'advanced')
  })

  it('leaves out events whose payload is gone, and says how many', async () => {
    await store('given_up', 1)
    const gone = await store('given_up', 2)
    const erased = await store('given_up', 3)
    const id = await start()
    await database.pool.query('delete from events where id = $1', [gone.eventId])
    await database.pool.query(`update events set payload = '', erased_at = now() where id = $1`, [
      erased.eventId,
    ])
    await step(id)
    expect(await findReplay(database.db, ORGANIZATION, id)).toMatchObject({
      ...{ state: 'finished', total: 3, done: 1, skipped: 2 },
    })
  })

  it('waits while its destination is paused, and goes on when it is not', async () => {
    await store('given_up', 1)
    const id = await start()
    await database.pool.query(`update destinations set status = 'paused'`)
    expect((await step(id)).kind).toBe('waiting')
    expect(await replayed()).toEqual([])
    await database.pool.query(`update destinations set status = 'active'`)
    expect((await step(id)).kind).toBe('ended')
    expect(await replayed()).toHaveLength(1)
  })

  it.each([
    [`status = 'disabled'`, 'The destination is disabled.'],
    ['deleted_at = now()', 'The destination was deleted.'],
  ])('is cancelled when its destination has %s', async (change, reason) => {
    await store('given_up', 1)
    const id = await start()
    await database.pool.query(`update destinations set ${change}`)
    const ended = await step(id)
    expect(ended).toMatchObject({ kind: 'ended', replay: { state: 'cancelled', reason }, owed: [] })
    expect(await replayed()).toEqual([])
  })

  it('that was cancelled makes nothing more', async () => {
    for (let hours = 1; hours <= 3; hours += 1) await store('given_up', hours)
    const id = await start({}, 2)
    await step(id)
    expect((await endReplay(database.db, id, 'cancelled', 'Why'))?.done).toBe(2)
    expect(await endReplay(database.db, id, 'cancelled', 'Why')).toBeUndefined()
    expect(await step(id)).toEqual({ kind: 'stopped' })
    expect(await replayed()).toHaveLength(2)
  })

  it('is the only one of its destination while it runs', async () => {
    await addDestination('dst_other')
    const id = await start()
    await expect(start()).rejects.toSatisfy(isUniqueViolation)
    const other = await start({ destinationId: 'dst_other' })
    expect(await findRunningReplays(database.db, 10)).toEqual([id, other])
    await endReplay(database.db, id, 'cancelled', 'Why')
    expect(await start()).toMatch(/^rpl_/)
  })

  it.each(['active', 'paused'])('of nothing ends at once, slow and %s as it is', async (status) => {
    const id = await start({}, 0.1)
    await database.pool.query('update destinations set status = $1', [status])
    const ended = { kind: 'ended', owed: [], replay: { state: 'finished', total: 0 } }
    expect(await advanceReplay(database, id)).toMatchObject(ended)
  })

  it('has its turn however many another organization runs', async () => {
    for (let n = 100; n < 125; n += 1) await addDestination(`dst_${n}`, 'org_busy')
    await database.pool.query(
      `insert into replays (id, organization_id, destination_id, since, until, states, rate_per_second, state, total,
         paced_at, requested_by, created_at)
       select 'rpl_' || n, 'org_busy', 'dst_' || n, now(), now(), '{expired}', 1, 'running', 0, now(), 'key',
              now() - interval '2 hours' + n * interval '1 second'
         from generate_series(100, 124) n`,
    )
    const id = await start()
    const ten = Array.from({ length: 10 }, (_, index) => `rpl_${100 + index}`)
    expect(await findRunningReplays(database.db, 1_000)).toEqual([ten[0], id, ...ten.slice(1)])
    expect(await findRunningReplays(database.db, 2)).toEqual([ten[0], id])
  })

  it('asked for again after it is finished finds nothing to send twice', async () => {
    const original = await store('given_up', 1)
    await step(await start())
    const [made] = await listDeliveries(
      database.db,
      ORGANIZATION,
      { state: 'pending' },
      { limit: 9 },
    )
    expect(made).toMatchObject({ replayOf: original.id, eventId: original.eventId, attempts: 0 })
    expect(await count({ untilMs: Date.now() + 1_000 })).toBe(0)
  })
})
