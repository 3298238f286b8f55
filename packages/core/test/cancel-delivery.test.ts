import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDeliveryJob, type DeliveryJob } from '../src/delivery/delivery-job.ts'
import { silentLogger } from '../src/log.ts'
import { type JobRun, openQueues, type Queues, startDeliveryConsumer } from '../src/queue.ts'
import { closeRedis, openRedis, type RedisConnection } from '../src/redis.ts'
import { sampleEvent } from './sample-event.ts'

let redis: OwnRedis
let connection: RedisConnection
let consuming: RedisConnection
let queues: Queues

beforeAll(async () => {
  redis = await startOwnRedis()
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 2_000 }, silentLogger)
  consuming = openRedis(target, { kind: 'working' }, silentLogger)
  queues = openQueues(connection, 3, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 5_000, what: 'Redis' })
})
beforeEach(() => redis.flushAll())
afterAll(async () => {
  await queues.close()
  await Promise.all([closeRedis(connection), closeRedis(consuming)])
  await redis.stop()
})

function jobOf(deliveryId: string, destinationId = 'dst_1'): DeliveryJob {
  const ref = { deliveryId, destinationId, createdAtMs: 1, priorAttempts: 0, requeued: false }
  return createDeliveryJob(ref, sampleEvent(), 'small')
}

const missing = async (deliveryId: string, destinationId = 'dst_1') =>
  (await queues.findMissing([{ deliveryId, destinationId }])).has(deliveryId)

describe('a delivery that is taken away from the workers', () => {
  it('is in no queue any more, on whichever shard it was; the others stay', async () => {
    for (const destinationId of ['dst_1', 'dst_2', 'dst_3', 'dst_4']) {
      await queues.addDelivery(jobOf(`dlv_${destinationId}`, destinationId))
    }
    await queues.removeDelivery('dlv_dst_2', 'dst_2')
    expect(await missing('dlv_dst_2', 'dst_2')).toBe(true)
    for (const destinationId of ['dst_1', 'dst_3', 'dst_4']) {
      expect(await missing(`dlv_${destinationId}`, destinationId)).toBe(false)
    }
  })

  it('has no mail to be sent either', async () => {
    const mail = { to: 'a@example.com', reason: '', attempts: 10 }
    await queues.addFallback({ deliveryId: 'dlv_1', ...mail, delivery: jobOf('dlv_1') })
    await queues.removeDelivery('dlv_1', 'dst_1')
    expect(await missing('dlv_1')).toBe(true)
  })

  it('that no queue has is nothing to do', async () => {
    await queues.removeDelivery('dlv_none', 'dst_1')
    expect(await missing('dlv_none')).toBe(true)
  })

  it('while a worker is at it: the next run is told to look first', async () => {
    const runs: JobRun<DeliveryJob>[] = []
    const { promise: isRemoved, resolve } = Promise.withResolvers<void>()
    const options = { connection: consuming, concurrency: 3, lockMs: 2_000, shards: 3 }
    const consumer = startDeliveryConsumer({ ...options, log: silentLogger }, async (run) => {
      runs.push(run)
      if (runs.length > 1) return { kind: 'done' }
      await isRemoved
      return { kind: 'retry', delayMs: 1 }
    })
    try {
      await queues.addDelivery(jobOf('dlv_1'))
      await waitFor(async () => runs.length === 1, { timeoutMs: 5_000, what: 'a run' })
      await queues.removeDelivery('dlv_1', 'dst_1')
      expect(await missing('dlv_1')).toBe(false)
      resolve()
      await waitFor(async () => runs.length === 2, { timeoutMs: 5_000, what: 'the next run' })
      expect(runs.map(({ data }) => data.requeued)).toEqual([false, true])
      expect(runs[1]?.data).toEqual({ ...jobOf('dlv_1'), requeued: true, removed: true })
    } finally {
      resolve()
      await consumer.stop(2_000)
    }
  })
})
