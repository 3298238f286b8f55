import { setTimeout as sleep } from 'node:timers/promises'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDeliveryJob, type DeliveryJob } from '../src/delivery/delivery-job.ts'
import { silentLogger } from '../src/log.ts'
import {
  type FallbackJob,
  type JobRun,
  openQueues,
  type Queues,
  startDeliveryConsumer,
  startFallbackConsumer,
} from '../src/queue.ts'
import { closeRedis, openRedis, type RedisConnection } from '../src/redis.ts'
import { sampleEvent } from './sample-event.ts'

let redis: OwnRedis
let connection: RedisConnection
let consuming: RedisConnection
let queues: Queues

beforeAll(async () => {
  // Nothing here outlives a crash of the machine, and some disks take 300 ms for a sync.
  redis = await startOwnRedis({ settings: { appendfsync: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 5_000 }, silentLogger)
  consuming = openRedis(target, { kind: 'working' }, silentLogger)
  queues = openQueues(connection, 3, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
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
    const options = { connection: consuming, concurrency: 3, lockMs: 30_000, shards: 3 }
    const consumer = startDeliveryConsumer({ ...options, log: silentLogger }, async (run) => {
      runs.push(run)
      if (runs.length > 1) return { kind: 'done' }
      await isRemoved
      return { kind: 'retry', delayMs: 1 }
    })
    try {
      await queues.addDelivery(jobOf('dlv_1'))
      await waitFor(async () => runs.length === 1, { timeoutMs: 15_000, what: 'a run' })
      await queues.removeDelivery('dlv_1', 'dst_1')
      expect(await missing('dlv_1')).toBe(false)
      resolve()
      await waitFor(async () => runs.length === 2, { timeoutMs: 15_000, what: 'the next run' })
      expect(runs.map(({ data }) => data.requeued)).toEqual([false, true])
      expect(runs[1]?.data).toEqual({ ...jobOf('dlv_1'), requeued: true, removed: true })
    } finally {
      resolve()
      await consumer.stop(5_000)
    }
  })

  it('while its mail is on its way: the next run of that is told, too', async () => {
    const mail = { deliveryId: 'dlv_1', to: 'a@example.com', reason: '', attempts: 10 }
    const runs: FallbackJob[] = []
    const { promise: isRemoved, resolve } = Promise.withResolvers<void>()
    const consumer = startFallbackConsumer(
      { connection: consuming, concurrency: 1, lockMs: 30_000, log: silentLogger },
      (data) => data as FallbackJob,
      async (run) => {
        runs.push(run.data)
        if (runs.length > 1) return { kind: 'done' }
        await isRemoved
        return { kind: 'retry', delayMs: 1 }
      },
    )
    try {
      await queues.addFallback({ ...mail, delivery: jobOf('dlv_1') })
      await waitFor(async () => runs.length === 1, { timeoutMs: 15_000, what: 'a run' })
      await queues.removeDelivery('dlv_1', 'dst_1')
      resolve()
      await waitFor(async () => runs.length === 2, { timeoutMs: 15_000, what: 'the next run' })
      const delivery = { ...jobOf('dlv_1'), requeued: true, removed: true }
      expect(runs[1]).toEqual({ ...mail, delivery })
    } finally {
      resolve()
      await consumer.stop(5_000)
    }
  })

  it('at the moment when it ends is as gone as was asked for', { timeout: 120_000 }, async () => {
    const options = { connection: consuming, concurrency: 50, lockMs: 30_000, shards: 3 }
    const consumer = startDeliveryConsumer({ ...options, log: silentLogger }, async () => {
      await sleep(1 + Math.random() * 5)
      return { kind: 'done' }
    })
    try {
      for (let at = 0; at < 400; at += 1) {
        await queues.addDelivery(jobOf(`dlv_${at}`))
        await sleep(Math.random() * 8)
        await queues.removeDelivery(`dlv_${at}`, 'dst_1')
      }
    } finally {
      await consumer.stop(5_000)
    }
  })
})
