import { silentLogger } from '@switchhook/core/log'
import { closeRedis, openRedis, type RedisConnection } from '@switchhook/core/redis'
import { type DatabaseHandle, openDatabase } from '@switchhook/core/store/database'
import type { DeliveryRecord } from '@switchhook/core/store/delivery-log'
import type { JournalEntry } from '@switchhook/core/store/journal'
import { migrate } from '@switchhook/core/store/migrate'
import { createIsolatedDatabase, type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import { waitFor } from '@switchhook/testing/wait-for'
import { toDeliveryRecord } from '../src/prepare-request.ts'
import { sampleEvent, sampleJob } from './sample-delivery.ts'

export type TestStores = {
  readonly database: DatabaseHandle
  readonly pool: DatabaseHandle['pool']
  readonly redis: OwnRedis
  readonly connection: RedisConnection
  readonly consuming: RedisConnection
  /** Forgets everything in both. */
  clear(): Promise<void>
  close(): Promise<void>
}

/** A migrated database and a Redis of its own, for one test file. */
export async function openTestStores(): Promise<TestStores> {
  const isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const database = openDatabase(
    { url: isolated.url, applicationName: 'test', maxConnections: 4, queryTimeoutMs: 30_000 },
    silentLogger,
  )
  await migrate(database)
  // Nothing here is about what survives it, and a busy disk takes 0.3 s for each write.
  const redis = await startOwnRedis({ settings: { appendonly: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  const connection = openRedis(
    target,
    { kind: 'answering', commandTimeoutMs: 20_000 },
    silentLogger,
  )
  const consuming = openRedis(target, { kind: 'working' }, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
  return {
    ...{ database, pool: database.pool, redis, connection, consuming },
    async clear() {
      await redis.flushAll()
      await database.pool.query('truncate dedupe_keys, events, deliveries, webhook_logs, calls')
    },
    async close() {
      await Promise.all([closeRedis(connection), closeRedis(consuming), database.close()])
      await Promise.all([redis.stop(), isolated.drop()])
    },
  }
}

/** A minute ago, in a day that has its partitions. */
export const ACCEPTED_AT_MS = Date.now() - 60_000

export function entryOf(
  id: string | number,
  event: Partial<Parameters<typeof sampleEvent>[0]> = {},
): JournalEntry {
  return {
    event: sampleEvent({ id: `evt_${id}`, receivedAtMs: ACCEPTED_AT_MS, ...event }),
    deliveries: [{ deliveryId: `dlv_${id}`, destinationId: 'dst_sample' }],
  }
}

/** A failed attempt of that entry's delivery, but for `facts`. */
export function recordOf(entry: JournalEntry, facts: Partial<DeliveryRecord> = {}): DeliveryRecord {
  const { event } = entry
  const deliveryId = entry.deliveries[0]?.deliveryId ?? ''
  const job = sampleJob({ deliveryId, createdAtMs: event.receivedAtMs }, event)
  const { attempts = 1, state = 'pending' } = facts
  return {
    ...toDeliveryRecord(job, {
      ...{ state, attempts, dueAtMs: ACCEPTED_AT_MS + 1, fallbackAtMs: null, reason: 'no' },
      attempt: {
        ...{ attempt: attempts, attemptedAtMs: ACCEPTED_AT_MS, url: 'https://customer.example/' },
        ...{ webhookType: 'sms_received', requestContentType: 'application/json' },
        ...{ requestBodyBase64: 'e30=', statusCode: 500, responseBody: 'oops', responseTimeMs: 1 },
        ...{ outcome: 'refused', error: 'no' },
      },
    }),
    ...facts,
  }
}
