import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { Queue } from 'bullmq'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDeliveryJob, type DeliveryJob } from '../src/delivery/delivery-job.ts'
import { type Logger, silentLogger } from '../src/log.ts'
import {
  type Consumer,
  type DeliveryRun,
  type JobStep,
  openQueues,
  type Queues,
  startDeliveryConsumer,
} from '../src/queue.ts'
import { closeRedis, openRedis, type RedisConnection } from '../src/redis.ts'
import { sampleEvent } from './sample-event.ts'

/** A machine that stands still takes no worker for dead. */
const LOCK_MS = 30_000
/** Where a test waits for its end: still longer than a standstill. */
const SHORT_LOCK_MS = 2_500
/** As queue.ts names them. */
const SHARD_0 = { name: 'deliver', prefix: '{switchhook:0}' }
const DONE: JobStep = { kind: 'done' }

let redis: OwnRedis
let connection: RedisConnection
let consuming: RedisConnection
let queues: Queues
let lockMs = LOCK_MS
const consumers: Consumer[] = []
const releases: (() => void)[] = []

beforeAll(async () => {
  // Nothing here outlives a crash of the machine, and some disks take 300 ms for a sync.
  redis = await startOwnRedis({ settings: { appendfsync: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 5_000 }, silentLogger)
  consuming = openRedis(target, { kind: 'working' }, silentLogger)
  queues = openQueues(connection, 1, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
})
beforeEach(() => redis.flushAll())
afterEach(async () => {
  for (const release of releases.splice(0)) release()
  await Promise.all(consumers.splice(0).map((one) => one.stop(5_000)))
})
afterAll(async () => {
  await queues.close()
  await Promise.all([closeRedis(connection), closeRedis(consuming)])
  await redis.stop()
})

function jobOf(deliveryId: string, destinationId = 'dst_1'): DeliveryJob {
  const ref = { deliveryId, destinationId, createdAtMs: 1, priorAttempts: 0, requeued: false }
  return createDeliveryJob(ref, sampleEvent(), 'small')
}

/** Consumes with the answers given, one per run; the runs after them end the job. */
function consume(...answers: (JobStep | (() => Promise<JobStep>))[]) {
  const runs: (DeliveryRun & { atMs: number })[] = []
  const logged: string[] = []
  const note: Logger['error'] = (_fields, message) => void logged.push(message)
  const options = { connection: consuming, concurrency: 10, lockMs, shards: 1 }
  const consumer = startDeliveryConsumer(
    { ...options, log: { ...silentLogger, error: note } },
    async (run) => {
      runs.push({ ...run, atMs: Date.now() })
      const answer = answers[runs.length - 1] ?? DONE
      return typeof answer === 'function' ? answer() : answer
    },
  )
  consumers.push(consumer)
  return { runs, logged, consumer }
}

/** A job's work that does not end before the test. */
function hang(): Promise<JobStep> {
  const { promise, resolve } = Promise.withResolvers<JobStep>()
  releases.push(() => resolve(DONE))
  return promise
}

const until = (condition: () => unknown, what: string) =>
  waitFor(async () => Boolean(await condition()), { timeoutMs: 20_000, what })

async function totalOf(state: 'waiting' | 'active' | 'delayed'): Promise<number> {
  return [...(await queues.counts()).values()].reduce((sum, counts) => sum + counts[state], 0)
}

const isEmpty = async () =>
  (await totalOf('waiting')) + (await totalOf('active')) + (await totalOf('delayed')) === 0

describe('a run', () => {
  it('that ends in retry is counted, and followed by the next after its delay', async () => {
    const { runs } = consume({ kind: 'retry', delayMs: 300 }, { kind: 'retry', delayMs: 1 })
    await queues.addDelivery(jobOf('dlv_1'))
    await until(() => runs.length === 3, 'three runs')
    expect(runs.map(({ run }) => run)).toEqual([1, 2, 3])
    expect(runs.map(({ interrupted }) => interrupted)).toEqual([false, false, false])
    for (const { data } of runs) expect(data).toEqual(jobOf('dlv_1'))
    expect((runs[1]?.atMs ?? 0) - (runs[0]?.atMs ?? 0)).toBeGreaterThanOrEqual(300)
    await until(isEmpty, 'the job to be gone')
  })

  it('that ends in defer is not counted, however often', async () => {
    const defer: JobStep = { kind: 'defer', delayMs: 5 }
    const { runs } = consume(defer, defer, { kind: 'retry', delayMs: 1 }, defer, defer)
    await queues.addDelivery(jobOf('dlv_1'))
    await until(() => runs.length === 6, 'six runs')
    expect(runs.map(({ run }) => run)).toEqual([1, 1, 1, 2, 2, 2])
    expect(runs.some(({ interrupted }) => interrupted)).toBe(false)
  })

  it('never comes in a hot loop, whatever the delay', async () => {
    const odd = [Number.NaN, Number.NEGATIVE_INFINITY, -5, 0]
    for (const delayMs of odd) {
      const { runs, consumer } = consume({ kind: 'retry', delayMs })
      await queues.addDelivery(jobOf(`dlv_${delayMs}`))
      await until(() => runs.length > 0, 'a run')
      await until(async () => (await isEmpty()) || (await totalOf('delayed')) === 1, 'a wait')
      expect(runs.length).toBeLessThanOrEqual(2)
      await consumer.stop(5_000)
      await redis.flushAll()
    }
  })

  it('that could not record what it did tells the next one to look first', async () => {
    const { runs } = consume(
      { kind: 'retry', delayMs: 1, uncertain: true },
      { kind: 'defer', delayMs: 1 },
      { kind: 'retry', delayMs: 1 },
    )
    await queues.addDelivery(jobOf('dlv_1'))
    await until(() => runs.length === 4, 'four runs')
    expect(runs.map(({ run, interrupted, lostRuns }) => [run, interrupted, lostRuns])).toEqual([
      [1, false, 0],
      [2, true, 1],
      [2, true, 1],
      [3, false, 0],
    ])
  })

  it('that throws is not counted and tried again later, and the others go on', async () => {
    const { runs, logged } = consume(() => Promise.reject(new Error('Postgres is away')))
    await queues.addDelivery(jobOf('dlv_1'))
    await until(async () => (await totalOf('delayed')) === 1, 'the job to wait')
    await queues.addDelivery(jobOf('dlv_2'))
    await until(() => runs.length === 2, 'the other job')
    expect(logged).toEqual(['job.failed'])
    const queue = new Queue(SHARD_0.name, { connection, prefix: SHARD_0.prefix })
    await (await queue.getJob('dlv_1'))?.promote()
    await until(() => runs.length === 3, 'the job to come again')
    expect(runs[2]).toMatchObject({ run: 1, interrupted: false })
    expect(runs[2]?.data.deliveryId).toBe('dlv_1')
    await queue.close()
  })
})

describe('a job whose worker dies', { timeout: 90_000 }, () => {
  beforeAll(() => {
    lockMs = SHORT_LOCK_MS
  })
  afterAll(() => {
    lockMs = LOCK_MS
  })

  it('twice and more still comes to the handler, each death counted and told', async () => {
    const { runs } = consume(hang, hang, hang)
    await queues.addDelivery(jobOf('dlv_1'))
    for (let deaths = 1; deaths <= 3; deaths += 1) {
      await until(() => runs.length >= deaths, `run ${deaths}`)
      // What a death leaves behind: an active job that nobody holds the lock of.
      await connection.del(`${SHARD_0.prefix}:${SHARD_0.name}:dlv_1:lock`)
    }
    await until(() => runs.length === 4, 'the run that ends it')
    expect(runs.map(({ run }) => run)).toEqual([1, 2, 3, 4])
    expect(runs.map(({ interrupted }) => interrupted)).toEqual([false, true, true, true])
    expect(runs.map(({ lostRuns }) => lostRuns)).toEqual([0, 1, 2, 3])
    await until(isEmpty, 'the job to be gone')
  })

  it('keeps its count when it is retried afterwards', async () => {
    const { runs } = consume(hang, { kind: 'retry', delayMs: 1 }, { kind: 'defer', delayMs: 1 })
    await queues.addDelivery(jobOf('dlv_1'))
    await until(() => runs.length === 1, 'the first run')
    await connection.del(`${SHARD_0.prefix}:${SHARD_0.name}:dlv_1:lock`)
    await until(() => runs.length === 4, 'the last run')
    expect(runs.map(({ run }) => run)).toEqual([1, 2, 3, 3])
    // The retry ended in a known way: what was lost before it is lost no more.
    expect(runs.map(({ lostRuns }) => lostRuns)).toEqual([0, 1, 0, 0])
  })

  it('is not taken from a worker that lives, however long it works', async () => {
    const { runs } = consume(hang)
    await queues.addDelivery(jobOf('dlv_1'))
    await until(() => runs.length === 1, 'the run')
    // Twice the lock, told by another job's delay.
    await queues.addDelivery(jobOf('dlv_2'))
    await until(() => runs.length === 2, 'the second job')
    const startedAtMs = Date.now()
    await until(() => Date.now() - startedAtMs > 3 * lockMs, 'three times the lock')
    expect(runs).toHaveLength(2)
  })
})

describe('an id', () => {
  it('added twice is one job, while it waits, works or is delayed', async () => {
    await Promise.all([1, 2, 3].map(() => queues.addDelivery(jobOf('dlv_1'))))
    expect(await totalOf('waiting')).toBe(1)
    const { runs } = consume(hang)
    await until(() => runs.length === 1, 'the run')
    await queues.addDelivery(jobOf('dlv_1'))
    expect(await totalOf('waiting')).toBe(0)
    for (const release of releases.splice(0)) release()
    await until(isEmpty, 'the job to be gone')
    expect(runs).toHaveLength(1)
  })

  it('is free again once its job ended', async () => {
    const { runs } = consume()
    await queues.addDelivery(jobOf('dlv_1'))
    await until(async () => runs.length === 1 && (await isEmpty()), 'the job to be gone')
    await queues.addDelivery(jobOf('dlv_1'))
    await until(() => runs.length === 2, 'a second run')
  })
})

describe('a job that cannot be read', () => {
  it('is dropped and told, and stops nobody', async () => {
    const queue = new Queue(SHARD_0.name, { connection, prefix: SHARD_0.prefix })
    const good = JSON.parse(JSON.stringify(jobOf('dlv_good')))
    const odd = [null, 'text', [], {}, { ...good, v: 99 }, { ...good, event: null }]
    for (const [index, data] of odd.entries()) await queue.add('d', data, { jobId: `odd-${index}` })
    await queues.addDelivery(jobOf('dlv_good'))
    await queue.close()
    const { runs, logged } = consume()
    await until(async () => runs.length === 1 && (await isEmpty()), 'the good job to end')
    expect(runs[0]?.data.deliveryId).toBe('dlv_good')
    expect(logged).toEqual(odd.map(() => 'job.unreadable'))
  })
})
