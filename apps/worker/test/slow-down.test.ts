import { silentLogger } from '@switchhook/core/log'
import { closeRedis, openRedis, type RedisConnection } from '@switchhook/core/redis'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { createSlots } from '../src/slots.ts'
import { shareSlowDowns } from '../src/slow-down.ts'

const PATIENCE = { timeoutMs: 20_000, everyMs: 10 }
/** It stands still: what is asked for is as long a moment later. */
const nowMs = () => 1_795_222_923_000

let redis: OwnRedis

beforeAll(async () => {
  redis = await startOwnRedis({ settings: { appendonly: 'no' } })
})
afterAll(() => redis.stop())

function open(kind: 'answering' | 'working'): RedisConnection {
  const profile = kind === 'working' ? { kind } : { kind, commandTimeoutMs: 20_000 }
  const connection = openRedis({ url: redis.url, clusterNodes: [] }, profile, silentLogger)
  onTestFinished(() => closeRedis(connection))
  return connection
}

/** A worker's slots, and what it heard from the others. */
function startWorker() {
  const chance = { nowMs, random: () => 0.5 }
  const slots = createSlots({ ...chance, concurrency: 100, shareOf: () => 50 })
  const heard: [string, number][] = []
  const connection = open('answering')
  const shared = shareSlowDowns({
    ...{ connection, subscriber: open('working'), nowMs },
    slots: {
      slowDown(id, forMs) {
        heard.push([id, forMs])
        slots.slowDown(id, forMs)
      },
    },
  })
  const take = (id: string) =>
    slots.take({ id, organizationId: 'org_a', maxConcurrency: 50 }, 'messages', 0)
  return { take, heard, connection, slowDown: shared.slowDown }
}

async function startWorkers() {
  const workers = [startWorker(), startWorker()] as const
  const connection = open('answering')
  for (const one of [connection, ...workers.map((worker) => worker.connection)]) {
    await waitFor(() => one.ping(), { ...PATIENCE, what: 'Redis' })
  }
  const countSubscribers = async () =>
    Number((await connection.pubsub('NUMSUB', 'switchhook:slow-down'))[1])
  await waitFor(async () => (await countSubscribers()) === 2, { ...PATIENCE, what: 'both to hear' })
  return { workers, connection }
}

it('what a destination asks of one worker with a 429 is heeded by the others, and concerns no other destination', async () => {
  const { workers } = await startWorkers()
  const [one, other] = workers
  expect(other.take('dst_a')).toMatchObject({ kind: 'go' })
  one.slowDown('dst_a', 30_000)
  await waitFor(() => other.take('dst_a').kind === 'wait', { ...PATIENCE, what: 'it to be known' })
  const answer = other.take('dst_a')
  expect(answer.kind === 'wait' && answer.delayMs).toBeGreaterThan(29_000)
  expect(other.take('dst_b')).toMatchObject({ kind: 'go' })
})

it('a hundred such answers at once are told once, and a longer one again', async () => {
  const { workers, connection } = await startWorkers()
  const [one, other] = workers
  for (let count = 0; count < 100; count += 1) one.slowDown('dst_a', 5_000)
  one.slowDown('dst_a', 60_000)
  await waitFor(() => other.heard.length >= 2, { ...PATIENCE, what: 'both messages' })
  expect(other.heard).toEqual([
    ['dst_a', 5_000],
    ['dst_a', 60_000],
  ])
  // Its own are not told to itself, and no nonsense is believed.
  await connection.publish('switchhook:slow-down', '{"id":1}')
  await connection.publish('switchhook:slow-down', 'x')
  await connection.publish('switchhook:slow-down', '{"from":"x","id":"dst_c","forMs":9e9}')
  await waitFor(() => one.heard.length === 102, { ...PATIENCE, what: 'the last' })
  expect(one.heard.at(-1)).toEqual(['dst_c', 60_000])
})
