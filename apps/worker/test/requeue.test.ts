import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { decodeEvent } from '@switchhook/core/delivery/delivery-job'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics, type Metrics } from '@switchhook/core/metrics'
import {
  type FallbackJob,
  type JobRun,
  openQueues,
  type Queues,
  startDeliveryConsumer,
  startFallbackConsumer,
} from '@switchhook/core/queue'
import { createSpool } from '@switchhook/core/spool'
import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { type JournalEntry, writeJournal } from '@switchhook/core/store/journal'
import {
  cancelErasedDeliveries,
  findOverdueDeliveries,
  type OverdueCursor,
} from '@switchhook/core/store/owed-deliveries'
import { waitFor } from '@switchhook/testing/wait-for'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type RequeueDeps, requeue } from '../src/requeue.ts'
import { parseFallbackJob } from '../src/send-fallback.ts'
import { sampleDestination, sampleJob } from './sample-delivery.ts'
import {
  ACCEPTED_AT_MS,
  entryOf,
  openTestStores,
  recordOf,
  type TestStores,
} from './test-stores.ts'

vi.setConfig({ testTimeout: 90_000 })

let stores: TestStores
let queues: Queues
let registry: Registry
let metrics: Metrics

beforeAll(async () => {
  stores = await openTestStores()
  queues = openQueues(stores.connection, 2, silentLogger)
})
beforeEach(async () => {
  await stores.clear()
  registry = new Registry()
  metrics = createMetrics(registry)
})
afterAll(async () => {
  await queues.close()
  await stores.close()
})

/** One pass over all that was due a second ago. */
function pass(from?: OverdueCursor, overrides: Partial<RequeueDeps> = {}, nowMs = Date.now()) {
  const deps: RequeueDeps = {
    ...{ pool: stores.pool, queues, metrics, log: silentLogger },
    spool: createSpool(stores.connection, 100),
    findDestination: async () => sampleDestination(),
    ...overrides,
  }
  return requeue(deps, nowMs - 1_000, from)
}

async function journal(...entries: readonly JournalEntry[]): Promise<void> {
  await writeJournal(stores.pool, entries)
}

/** All jobs that are in Redis now. */
async function takeAll() {
  const deliveries: JobRun<DeliveryJob>[] = []
  const fallbacks: FallbackJob[] = []
  const options = { connection: stores.consuming, concurrency: 50, lockMs: 30_000 }
  const shared = { ...options, log: silentLogger }
  const consumers = [
    startDeliveryConsumer({ ...shared, shards: 2 }, async (run) => {
      deliveries.push(run)
      return { kind: 'done' }
    }),
    startFallbackConsumer(shared, parseFallbackJob, async ({ data }) => {
      fallbacks.push(data)
      return { kind: 'done' }
    }),
  ]
  await waitFor(
    async () => {
      const counts = [...(await queues.counts()).values()]
      return counts.every(({ waiting, active }) => waiting + active === 0)
    },
    { timeoutMs: 60_000, what: 'the queues to be empty' },
  )
  await Promise.all(consumers.map((one) => one.stop(20_000)))
  return { deliveries, fallbacks }
}

const idsOf = (runs: readonly JobRun<DeliveryJob>[]) =>
  runs.map(({ data }) => data.deliveryId).sort()

describe('a delivery that Postgres owes', () => {
  it('and Redis has lost gets a job that looks first and goes on counting', async () => {
    const [fresh, tried] = [entryOf(1), entryOf(2)]
    await journal(fresh, tried)
    await writeDeliveryLog(stores.pool, [recordOf(tried, { attempts: 2 })], () => undefined)
    expect(await pass()).toBeUndefined()
    const { deliveries, fallbacks } = await takeAll()
    expect(idsOf(deliveries)).toEqual(['dlv_1', 'dlv_2'])
    const jobs = deliveries.map(({ data }) => data)
    expect(
      jobs.every(({ requeued, createdAtMs }) => requeued && createdAtMs === ACCEPTED_AT_MS),
    ).toBe(true)
    const job = jobs.find(({ deliveryId }) => deliveryId === 'dlv_2')
    expect(job?.priorAttempts).toBe(2)
    expect(job && decodeEvent(job.event)).toEqual(tried.event)
    expect(fallbacks).toEqual([])
    expect(await registry.metrics()).toContain(
      'switchhook_requeued_total{reason="delivery_lost"} 2',
    )
  })

  it('and Redis has, waiting or delayed or being mailed, is left alone', async () => {
    const entries = [entryOf(1), entryOf(2)]
    await journal(...entries)
    const [waiting, mailed] = entries.map(({ event, deliveries }) =>
      sampleJob({ ...deliveries[0], createdAtMs: event.receivedAtMs }, event),
    )
    if (waiting === undefined || mailed === undefined) throw new Error('two entries make two jobs')
    await queues.addDelivery(waiting)
    const facts = { deliveryId: mailed.deliveryId, to: 'a@b.example', reason: '', attempts: 3 }
    await queues.addFallback({ ...facts, delivery: mailed })
    expect(await pass()).toBeUndefined()
    const { deliveries, fallbacks } = await takeAll()
    expect(deliveries.map(({ data }) => [data.deliveryId, data.requeued])).toEqual([
      ['dlv_1', false],
    ])
    expect(fallbacks).toHaveLength(1)
    expect(await registry.metrics()).not.toContain('switchhook_requeued_total{')
  })

  it('and whose event was erased is cancelled; one whose event is not there yet is left alone', async () => {
    await journal(entryOf(1), entryOf(2), entryOf(3))
    await stores.pool.query(`update events set payload = '', erased_at = now() where id = 'evt_1'`)
    await stores.pool.query(`delete from events where id = 'evt_2'`)
    await pass()
    expect(idsOf((await takeAll()).deliveries)).toEqual(['dlv_3'])
    const { rows } = await stores.pool.query('select id, state, reason from deliveries order by id')
    expect(rows).toEqual([
      { id: 'dlv_1', state: 'cancelled', reason: 'The event was erased.' },
      { id: 'dlv_2', state: 'pending', reason: null },
      { id: 'dlv_3', state: 'pending', reason: null },
    ])
    // Nor is one whose event came a moment after it was looked for.
    const overdue = await findOverdueDeliveries(stores.pool, Date.now(), undefined, 9)
    expect(overdue.map(({ deliveryId }) => deliveryId)).toEqual(['dlv_2', 'dlv_3'])
    expect(await cancelErasedDeliveries(stores.pool, overdue, 'Why')).toBe(0)
  })

  it('is not missed before it is due for a while', async () => {
    const nowMs = Date.now()
    await journal(entryOf(1, { receivedAtMs: nowMs }), entryOf(2))
    const record = recordOf(entryOf(2), { dueAtMs: nowMs + 60_000 })
    await writeDeliveryLog(stores.pool, [record], () => undefined)
    await pass(undefined, {}, nowMs)
    expect((await takeAll()).deliveries).toEqual([])
  })

  it('no more, in whatever way it ended, is left alone', async () => {
    const states = ['delivered', 'emailed', 'given_up', 'expired', 'cancelled'] as const
    await journal(...states.map((state) => entryOf(state)))
    const records = states.map((state) => recordOf(entryOf(state), { state }))
    await writeDeliveryLog(stores.pool, records, () => undefined)
    await pass()
    expect((await takeAll()).deliveries).toEqual([])
  })

  it('with a payload too large for a job leaves it in Postgres', async () => {
    await journal(entryOf(1, { payload: Buffer.alloc(20_000, 'x') }))
    await pass()
    const { deliveries } = await takeAll()
    expect(deliveries[0]?.data.event.payload).toBeNull()
  })

  it('twice lost is enqueued once a pass, and once only while the job is there', async () => {
    await journal(entryOf(1))
    await pass()
    await pass()
    expect((await takeAll()).deliveries).toHaveLength(1)
    await pass()
    expect((await takeAll()).deliveries).toHaveLength(1)
  })
})

describe('a mail that Postgres owes', () => {
  const exhausted = recordOf(entryOf(1), {
    ...{ attempts: 3, fallbackAtMs: ACCEPTED_AT_MS, reason: 'The destination answered 500.' },
  })

  it('and Redis has lost is enqueued again, not another attempt', async () => {
    await journal(entryOf(1))
    await writeDeliveryLog(stores.pool, [exhausted], () => undefined)
    await pass()
    const { deliveries, fallbacks } = await takeAll()
    expect(deliveries).toEqual([])
    expect(fallbacks).toMatchObject([
      {
        deliveryId: 'dlv_1',
        to: 'owner@customer.example',
        attempts: 3,
        reason: 'The destination answered 500.',
        delivery: { deliveryId: 'dlv_1', requeued: true, priorAttempts: 3 },
      },
    ])
    expect(await registry.metrics()).toContain(
      'switchhook_requeued_total{reason="fallback_lost"} 1',
    )
  })

  it('to an address that is gone goes back to the deliveries, which give it up', async () => {
    await journal(entryOf(1))
    await writeDeliveryLog(stores.pool, [exhausted], () => undefined)
    await pass(undefined, { findDestination: async () => undefined })
    const { deliveries, fallbacks } = await takeAll()
    expect(deliveries.map(({ data }) => data.priorAttempts)).toEqual([3])
    expect(fallbacks).toEqual([])
  })
})

describe('a pass', () => {
  it('does nothing while the spool holds what Postgres was not told yet', async () => {
    await journal(entryOf(1))
    const spool = createSpool(stores.connection, 100)
    await spool.addRecord(recordOf(entryOf(1), { state: 'delivered' }))
    await pass()
    expect((await takeAll()).deliveries).toEqual([])
    await spool.drop(1)
    await pass()
    expect((await takeAll()).deliveries).toHaveLength(1)
  })

  it('finds all that were lost, however many pages they fill', async () => {
    const entries = Array.from({ length: 1_250 }, (_, index) => entryOf(index))
    await journal(...entries)
    expect(await pass()).toBeUndefined()
    expect(new Set(idsOf((await takeAll()).deliveries)).size).toBe(1_250)
  })

  it('walks a long healthy backlog a part at a time, and goes on where it stopped', async () => {
    // Due one after the other, so that the lost one is the last.
    const entries = Array.from({ length: 2_100 }, (_, index) =>
      entryOf(index, { receivedAtMs: ACCEPTED_AT_MS + index }),
    )
    await journal(...entries)
    const jobs = entries
      .slice(0, -1)
      .map(({ event, deliveries }) =>
        sampleJob({ ...deliveries[0], createdAtMs: event.receivedAtMs }, event),
      )
    await Promise.all(jobs.map((job) => queues.addDelivery(job)))
    const cursor = await pass()
    expect(cursor).toEqual({ dueAtMs: ACCEPTED_AT_MS + 1_999, deliveryId: 'dlv_1999' })
    expect(await pass(cursor)).toBeUndefined()
    const { deliveries } = await takeAll()
    expect(deliveries).toHaveLength(2_100)
    expect(
      deliveries.filter(({ data }) => data.requeued).map(({ data }) => data.deliveryId),
    ).toEqual(['dlv_2099'])
  })
})
