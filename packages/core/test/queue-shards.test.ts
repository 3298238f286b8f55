import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createDeliveryJob, type DeliveryJob } from '../src/delivery/delivery-job.ts'
import { silentLogger } from '../src/log.ts'
import {
  type FallbackJob,
  openQueues,
  startDeliveryConsumer,
  startFallbackConsumer,
} from '../src/queue.ts'
import { closeRedis, openRedis, type RedisConnection } from '../src/redis.ts'
import { sampleEvent } from './sample-event.ts'

const SHARDS = 4

let redis: OwnRedis
let connection: RedisConnection
let consuming: RedisConnection

beforeAll(async () => {
  // Nothing here outlives a crash of the machine, and some disks take 300 ms for a sync.
  redis = await startOwnRedis({ settings: { appendfsync: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 2_000 }, silentLogger)
  consuming = openRedis(target, { kind: 'working' }, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
})
afterAll(async () => {
  await Promise.all([closeRedis(connection), closeRedis(consuming)])
  await redis.stop()
})

function jobOf(index: number): DeliveryJob {
  const ids = { deliveryId: `dlv_${index}`, destinationId: `dst_${index}` }
  const ref = { ...ids, createdAtMs: 1, priorAttempts: 0, requeued: false }
  return createDeliveryJob(ref, sampleEvent(), 'small')
}

function fallbackOf(index: number): FallbackJob {
  const delivery = jobOf(index)
  const facts = { to: 'a@b.example', reason: 'no', attempts: 3, delivery }
  return { deliveryId: delivery.deliveryId, ...facts }
}

const options = () => ({
  connection: consuming,
  concurrency: 20,
  lockMs: 30_000,
  log: silentLogger,
})

describe('deliveries spread over shards', () => {
  it('are all found by their ids, those of the mail queue too', async () => {
    const queues = openQueues(connection, SHARDS, silentLogger)
    for (const index of [0, 1, 2, 3, 4]) await queues.addDelivery(jobOf(index))
    await queues.addFallback(fallbackOf(5))
    const asked = [0, 1, 2, 3, 4, 5, 6, 7].map(jobOf)
    expect(await queues.findMissing(asked)).toEqual(new Set(['dlv_6', 'dlv_7']))
    expect(await queues.findMissing([])).toEqual(new Set())
    // The same id for another destination is another job.
    const elsewhere = { deliveryId: 'dlv_0', destinationId: 'dst_9' }
    expect((await queues.findMissing([elsewhere])).size).toBeLessThanOrEqual(1)
    await queues.close()
    await redis.flushAll()
  })

  it('come to every shard, and each to the handler once', async () => {
    const queues = openQueues(connection, SHARDS, silentLogger)
    const jobs = Array.from({ length: 200 }, (_, index) => jobOf(index))
    await Promise.all(jobs.map((job) => queues.addDelivery(job)))
    const counts = await queues.counts()
    const lanes = ['calls', 'deliver', 'records', 'slow']
    const names = [0, 1, 2, 3].flatMap((shard) => lanes.map((lane) => `${lane}-${shard}`))
    expect([...counts.keys()]).toEqual([...names, 'fallback'])
    for (let shard = 0; shard < SHARDS; shard += 1) {
      expect(counts.get(`deliver-${shard}`)?.waiting).toBeGreaterThan(20)
    }
    const seen: string[] = []
    const consumer = startDeliveryConsumer({ ...options(), shards: SHARDS }, async ({ data }) => {
      seen.push(data.deliveryId)
      return { kind: 'done' }
    })
    await waitFor(() => seen.length >= jobs.length, { timeoutMs: 20_000, what: 'all deliveries' })
    await consumer.stop(5_000)
    expect(seen.sort()).toEqual(jobs.map(({ deliveryId }) => deliveryId).sort())
    await queues.close()
  })
})

describe('the mail queue', () => {
  it('has its own jobs, each once, even of a delivery that is still in its queue', async () => {
    const queues = openQueues(connection, SHARDS, silentLogger)
    await queues.addDelivery(jobOf(1))
    await Promise.all([1, 2].map(() => queues.addFallback(fallbackOf(1))))
    const seen: FallbackJob[] = []
    const consumer = startFallbackConsumer(
      options(),
      (data) => data as FallbackJob,
      async ({ data }) => {
        seen.push(data)
        return { kind: 'done' }
      },
    )
    await waitFor(() => seen.length > 0, { timeoutMs: 20_000, what: 'the mail' })
    await consumer.stop(5_000)
    expect(JSON.stringify(seen)).toBe(JSON.stringify([fallbackOf(1)]))
    expect((await queues.counts()).get('fallback')).toEqual({ waiting: 0, active: 0, delayed: 0 })
    await queues.close()
    await redis.flushAll()
  })
})

describe('stopping a consumer', () => {
  it('waits for the job in hand, takes no other, and has a deadline', async () => {
    const queues = openQueues(connection, 1, silentLogger)
    const work = Promise.withResolvers<void>()
    const seen: string[] = []
    const start = () =>
      startDeliveryConsumer({ ...options(), concurrency: 1, shards: 1 }, async ({ data }) => {
        seen.push(data.deliveryId)
        await work.promise
        return { kind: 'done' }
      })
    const consumer = start()
    for (const index of [0, 1]) await queues.addDelivery(jobOf(index))
    await waitFor(() => seen.length === 1, { timeoutMs: 20_000, what: 'the first job' })
    const startedAtMs = Date.now()
    await consumer.stop(200)
    expect(Date.now() - startedAtMs).toBeLessThan(4_000)
    const stopped = consumer.stop(5_000)
    work.resolve()
    await stopped
    expect(seen).toEqual(['dlv_0'])
    await waitFor(async () => (await queues.counts()).get('deliver-0')?.active === 0, {
      timeoutMs: 20_000,
      what: 'the first job to end',
    })
    expect((await queues.counts()).get('deliver-0')).toMatchObject({ waiting: 1, active: 0 })
    await queues.close()
    await redis.flushAll()
  })
})

describe('an outage of Redis', { timeout: 90_000 }, () => {
  it('fails an add within its deadline, and both sides work again after it by themselves', async () => {
    const seen: string[] = []
    const consumer = startDeliveryConsumer({ ...options(), shards: 1 }, async ({ data }) => {
      seen.push(data.deliveryId)
      return { kind: 'done' }
    })
    await redis.kill()
    // Opened while Redis is away.
    const queues = openQueues(connection, 1, silentLogger)
    const startedAtMs = Date.now()
    await expect(queues.addDelivery(jobOf(1))).rejects.toThrow()
    expect(Date.now() - startedAtMs).toBeLessThan(8_000)
    await redis.restart()
    await waitFor(
      async () => {
        await queues.addDelivery(jobOf(2))
        return true
      },
      { timeoutMs: 30_000, what: 'Redis to take a job' },
    )
    await waitFor(() => seen.includes('dlv_2'), { timeoutMs: 30_000, what: 'the job' })
    await consumer.stop(5_000)
    await queues.close()
  })
})
