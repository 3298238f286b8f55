import { decodeEvent } from '@switchhook/core/delivery/delivery-job'
import { silentLogger } from '@switchhook/core/log'
import { openQueues, type Queues, startDeliveryConsumer } from '@switchhook/core/queue'
import { createSpool } from '@switchhook/core/spool'
import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { writeJournal } from '@switchhook/core/store/journal'
import { findReplay, insertReplayJob } from '@switchhook/core/store/replay-jobs'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { startLongWork } from '../src/long-work.ts'
import { type RunReplaysDeps, runReplays } from '../src/run-replays.ts'
import {
  ACCEPTED_AT_MS,
  entryOf,
  openTestStores,
  recordOf,
  type TestStores,
} from './test-stores.ts'

const ORGANIZATION = 'org_a'
const DESTINATION = 'dst_sample'

vi.setConfig({ testTimeout: 90_000 })

let stores: TestStores
let queues: Queues
let deps: RunReplaysDeps

beforeAll(async () => {
  stores = await openTestStores()
  queues = openQueues(stores.connection, 2, silentLogger)
  const spool = createSpool(stores.connection, 100)
  deps = { database: stores.database, queues, spool, log: silentLogger }
  const { pool } = stores
  await pool.query('insert into organizations (id, name) values ($1, $1)', [ORGANIZATION])
  await pool.query(
    `insert into destinations (id, organization_id, name, url, format, event_types, success_rule, timeout_ms,
       max_attempts, delays_seconds, jitter, max_concurrency, status, secret)
     values ($1, $2, 'd', 'https://example.com', 'burki', '{*}', '2xx', 1000, 1, '{}', false, 1, 'active', 's')`,
    [DESTINATION, ORGANIZATION],
  )
})
beforeEach(async () => {
  await stores.clear()
  await stores.pool.query('truncate replays')
})
afterAll(async () => {
  await queues.close()
  await stores.close()
})

/** Given up, one a millisecond. */
async function storeGivenUp(howMany: number, payload?: Buffer): Promise<void> {
  const entries = Array.from({ length: howMany }, (_, index) =>
    entryOf(index, {
      receivedAtMs: ACCEPTED_AT_MS + index,
      ...(payload === undefined ? {} : { payload }),
    }),
  )
  await writeJournal(stores.pool, entries)
  const records = entries.map((entry) => recordOf(entry, { state: 'given_up' }))
  await writeDeliveryLog(stores.pool, records, () => undefined)
}

async function start(ratePerSecond: number): Promise<string> {
  const nowMs = Date.now()
  const range = {
    ...{ organizationId: ORGANIZATION, destinationId: DESTINATION, states: ['given_up'] as const },
    ...{ sinceMs: ACCEPTED_AT_MS, untilMs: nowMs },
  }
  const replay = await stores.database.db
    .transaction()
    .execute((tx) =>
      insertReplayJob(tx, range, { ratePerSecond, total: 0, requestedBy: 'key', nowMs }),
    )
  return replay.id
}

/** As if a second had passed in which nothing was made. */
const pass = async (overrides: Partial<RunReplaysDeps> = {}) => {
  await stores.pool.query(`update replays set paced_at = now() - interval '1 second'`)
  return await runReplays({ ...deps, ...overrides })
}

const find = (id: string) => findReplay(stores.database.db, ORGANIZATION, id)

async function madeIds(): Promise<string[]> {
  const { rows } = await stores.pool.query(
    'select id from deliveries where replay_of is not null order by id',
  )
  return rows.map(({ id }) => id)
}

async function takeAll() {
  const taken: Parameters<Parameters<typeof startDeliveryConsumer>[1]>[0]['data'][] = []
  const consumer = startDeliveryConsumer(
    {
      ...{ connection: stores.consuming, concurrency: 50, lockMs: 30_000, shards: 2 },
      log: silentLogger,
    },
    async ({ data }) => {
      taken.push(data)
      return { kind: 'done' }
    },
  )
  await waitFor(
    async () =>
      [...(await queues.counts()).values()].every(({ waiting, active }) => waiting + active === 0),
    { timeoutMs: 60_000, what: 'the queues to be empty' },
  )
  await consumer.stop(20_000)
  return taken
}

describe('running replays', () => {
  it('hands each delivery to the workers with the event that it repeats', async () => {
    await storeGivenUp(3)
    const id = await start(100)
    expect(await pass()).toBe(1)
    expect(await find(id)).toMatchObject({ state: 'finished', done: 3, total: 3 })
    expect(await pass()).toBe(0)
    const jobs = await takeAll()
    expect(jobs.map(({ deliveryId }) => deliveryId).sort()).toEqual(await madeIds())
    expect(jobs.map(({ event }) => event.id).sort()).toEqual(['evt_0', 'evt_1', 'evt_2'])
    const [job] = jobs
    expect(job).toMatchObject({ destinationId: DESTINATION, priorAttempts: 0, requeued: true })
    expect(job && decodeEvent(job.event)?.payload).toEqual(entryOf(0).event.payload)
    // A new delivery, so that its schedule and its freshness begin now.
    expect(job?.createdAtMs).toBeGreaterThan(ACCEPTED_AT_MS + 30_000)
  })

  it('leaves large payloads in Postgres', async () => {
    await storeGivenUp(25, Buffer.alloc(20_000, 'x'))
    await start(100)
    await pass()
    const jobs = await takeAll()
    expect(jobs).toHaveLength(25)
    expect(jobs.every(({ event }) => event.payload === null)).toBe(true)
  })

  it('makes nothing while Redis is away, and everything once it is back', async () => {
    await storeGivenUp(3)
    const id = await start(100)
    const spool = { length: () => Promise.reject(new Error('Redis is away')) }
    await expect(pass({ spool })).rejects.toThrow('Redis is away')
    expect(await madeIds()).toEqual([])
    await pass()
    expect((await find(id))?.done).toBe(3)
  })

  it('of a worker that dies between commit and queue loses nothing: Postgres owes them', async () => {
    await storeGivenUp(4)
    const id = await start(2)
    const dying = { addDelivery: () => Promise.reject(new Error('killed')) }
    await expect(pass({ queues: dying })).rejects.toThrow('killed')
    expect(await madeIds()).toHaveLength(2)
    while ((await find(id))?.state === 'running') await pass()
    expect(await madeIds()).toHaveLength(4)
    const queued = (await takeAll()).map(({ deliveryId }) => deliveryId)
    const { rows } = await stores.pool.query(
      `select id from deliveries where state = 'pending' and replay_of is not null`,
    )
    // The requeuer finds these two by their due_at.
    expect(rows.filter(({ id: made }) => !queued.includes(made))).toHaveLength(2)
  })

  it('that Postgres refuses to go on with ends as failed, and does not stop the others', async () => {
    await storeGivenUp(1)
    const id = await start(100)
    await stores.pool.query('alter table replays add constraint at_most check (done < 1) not valid')
    try {
      await pass()
    } finally {
      await stores.pool.query('alter table replays drop constraint at_most')
    }
    expect(await find(id)).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/again/),
    })
    expect(await madeIds()).toEqual([])
  })
})

describe('the loop', () => {
  it('of several workers keeps the rate, and makes each delivery once', async () => {
    await storeGivenUp(60)
    const long = { ...deps, ...longDeps() }
    const startedAtMs = performance.now()
    const id = await start(20)
    const stops = [1, 2, 3].map(() => startLongWork(long))
    try {
      await waitFor(async () => (await find(id))?.state === 'finished', {
        ...{ timeoutMs: 60_000, everyMs: 50, what: 'the replay to be finished' },
      })
    } finally {
      await Promise.all(stops.map((stop) => stop()))
    }
    const seconds = (performance.now() - startedAtMs) / 1_000
    expect(seconds).toBeGreaterThan(2.5)
    expect(await madeIds()).toHaveLength(60)
    const { rows } = await stores.pool.query(
      'select count(distinct replay_of) from deliveries where replay_of is not null',
    )
    expect(rows).toEqual([{ count: 60 }])
  })
})

function longDeps() {
  return { queues, spool: createSpool(stores.connection, 100), everyMs: 50, settleMs: 0 }
}
