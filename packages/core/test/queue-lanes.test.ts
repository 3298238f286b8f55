import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createDeliveryJob, type DeliveryJob } from '../src/delivery/delivery-job.ts'
import type { EventType } from '../src/event.ts'
import { silentLogger } from '../src/log.ts'
import { createParkedDeliveries } from '../src/parked-deliveries.ts'
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

const SHARDS = 2
const DONE: JobStep = { kind: 'done' }
const PATIENCE = { timeoutMs: 20_000, what: 'the runs' }

let redis: OwnRedis
let connection: RedisConnection
let consuming: RedisConnection
let queues: Queues
let consumer: Consumer | undefined
let release = Promise.withResolvers<void>()

beforeAll(async () => {
  // Nothing here outlives a crash of the machine, and some disks take 300 ms for a sync.
  redis = await startOwnRedis({ settings: { appendfsync: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 5_000 }, silentLogger)
  consuming = openRedis(target, { kind: 'working' }, silentLogger)
  queues = openQueues(connection, SHARDS, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
})
beforeEach(async () => {
  release = Promise.withResolvers<void>()
  await redis.flushAll()
})
afterEach(async () => {
  release.resolve()
  await consumer?.stop(5_000)
  consumer = undefined
})
afterAll(async () => {
  await queues.close()
  await Promise.all([closeRedis(connection), closeRedis(consuming)])
  await redis.stop()
})

function jobOf(deliveryId: string, type: EventType = 'sms_received'): DeliveryJob {
  const ids = { deliveryId, destinationId: 'dst_1' }
  const ref = { ...ids, createdAtMs: 1, priorAttempts: 0, requeued: false }
  return createDeliveryJob(ref, sampleEvent({ type }), 'small')
}

function consume(handle: (run: DeliveryRun) => Promise<JobStep>): DeliveryRun[] {
  const runs: DeliveryRun[] = []
  const options = { connection: consuming, concurrency: 8, lockMs: 30_000, shards: SHARDS }
  consumer = startDeliveryConsumer({ ...options, log: silentLogger }, (run) => {
    runs.push(run)
    return handle(run)
  })
  return runs
}

async function totalOf(state: 'waiting' | 'active' | 'delayed'): Promise<number> {
  return [...(await queues.counts()).values()].reduce((sum, counts) => sum + counts[state], 0)
}

describe('the lanes of a shard', () => {
  it('take each delivery by its type, or where it is told to go', async () => {
    await queues.addDelivery(jobOf('dlv_call', 'call_started'))
    await queues.addDelivery(jobOf('dlv_sms'))
    await queues.addDelivery(jobOf('dlv_status', 'sms_status'))
    await queues.addDelivery(jobOf('dlv_slow', 'call_ended'), 'slow')
    const runs = consume(async () => DONE)
    await waitFor(() => runs.length === 4, PATIENCE)
    const lanes = Object.fromEntries(runs.map(({ data, lane }) => [data.deliveryId, lane]))
    expect(lanes).toEqual({
      dlv_call: 'calls',
      dlv_sms: 'messages',
      dlv_status: 'records',
      dlv_slow: 'slow',
    })
  })

  it('do not wait for each other: records and slow ones that hang take no slot of a call', async () => {
    for (let index = 0; index < 30; index += 1) {
      await queues.addDelivery(jobOf(`dlv_record${index}`, 'transcript'))
      await queues.addDelivery(jobOf(`dlv_slow${index}`), 'slow')
    }
    const runs = consume(async ({ lane }) => {
      if (lane === 'records' || lane === 'slow') await release.promise
      return DONE
    })
    await waitFor(() => runs.length >= 2, PATIENCE)
    for (let index = 0; index < 20; index += 1) {
      await queues.addDelivery(jobOf(`dlv_call${index}`, 'call_started'))
    }
    const calls = () => runs.filter(({ lane }) => lane === 'calls').length
    await waitFor(() => calls() === 20, PATIENCE)
    expect(runs.length - calls()).toBeLessThan(10)
  })

  it('are all looked into for a delivery, and it is removed from whichever it is in', async () => {
    const jobs = [jobOf('dlv_1', 'call_started'), jobOf('dlv_2'), jobOf('dlv_3', 'transcript')]
    for (const job of jobs) await queues.addDelivery(job)
    await queues.addDelivery(jobOf('dlv_4'), 'slow')
    const asked = [...jobs, jobOf('dlv_4'), jobOf('dlv_5')]
    expect(await queues.findMissing(asked)).toEqual(new Set(['dlv_5']))
    for (const { deliveryId } of asked) await queues.removeDelivery(deliveryId, 'dst_1')
    expect((await queues.findMissing(asked)).size).toBe(5)
    expect(await totalOf('waiting')).toBe(0)
  })
})

describe('a run', () => {
  it('knows how often the delivery was put off, which attempts and deferrals of others do not change', async () => {
    const steps: JobStep[] = [
      { kind: 'defer', delayMs: 1 },
      { kind: 'defer', delayMs: 1 },
      { kind: 'retry', delayMs: 1 },
      { kind: 'defer', delayMs: 1 },
    ]
    const runs = consume(async () => steps[runs.length - 1] ?? DONE)
    await queues.addDelivery(jobOf('dlv_1'))
    await waitFor(() => runs.length === 5, PATIENCE)
    expect(runs.map(({ run, waits }) => [run, waits])).toEqual([
      [1, 0],
      [1, 1],
      [1, 2],
      [2, 2],
      [2, 3],
    ])
  })
})

describe('parked deliveries', () => {
  it('are woken up together, the oldest first, and each once', { timeout: 120_000 }, async () => {
    const parked = createParkedDeliveries(connection, queues)
    let handle = async ({ data, lane }: DeliveryRun): Promise<JobStep> => {
      const { deliveryId, destinationId } = data
      const createdAtMs = Number(deliveryId.slice(4))
      await parked.note(destinationId, { deliveryId, lane, createdAtMs })
      return { kind: 'defer', delayMs: 300_000 }
    }
    const runs = consume((run) => handle(run))
    const ids = Array.from({ length: 450 }, (_, index) => `dlv_${index}`)
    for (const id of ids.toReversed()) await queues.addDelivery(jobOf(id))
    await queues.addDelivery(jobOf('dlv_9999', 'call_started'))
    await waitFor(async () => (await totalOf('delayed')) === 451, PATIENCE)
    expect(await parked.findDestinations()).toEqual(['dst_1'])

    handle = async () => DONE
    const before = runs.length
    expect(await parked.wake('dst_1')).toBe(451)
    await waitFor(
      async () => (await totalOf('delayed')) + (await totalOf('active')) === 0,
      PATIENCE,
    )
    await waitFor(() => runs.length === before + 451, PATIENCE)
    const order = runs.slice(before).filter(({ lane }) => lane === 'messages')
    expect(order.map(({ data }) => data.deliveryId)).toEqual(ids)
    expect(await parked.findDestinations()).toEqual([])
    expect(await parked.wake('dst_1')).toBe(0)
  })

  it('that are gone meanwhile are no obstacle to the others', async () => {
    const parked = createParkedDeliveries(connection, queues)
    for (const [index, deliveryId] of ['dlv_gone', 'dlv_here'].entries()) {
      await parked.note('dst_1', { deliveryId, lane: 'slow', createdAtMs: index })
    }
    const steps: JobStep[] = [{ kind: 'defer', delayMs: 300_000 }]
    const runs = consume(async () => steps[runs.length - 1] ?? DONE)
    await queues.addDelivery(jobOf('dlv_here'), 'slow')
    await waitFor(async () => (await totalOf('delayed')) === 1, PATIENCE)
    expect(await parked.wake('dst_1')).toBe(2)
    await waitFor(() => runs.length === 2, PATIENCE)
  })
})
