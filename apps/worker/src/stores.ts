import { withDeadline } from '@switchhook/core/deadline'
import { createGroupCommit } from '@switchhook/core/group-commit'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import { openQueues } from '@switchhook/core/queue'
import { closeRedis, openRedis } from '@switchhook/core/redis'
import { createSnapshot } from '@switchhook/core/routing/snapshot'
import { startSnapshotRefresh } from '@switchhook/core/snapshot-refresh'
import { createSpool } from '@switchhook/core/spool'
import { findConfigChanges } from '@switchhook/core/store/config-changes'
import { isDataError, openDatabase } from '@switchhook/core/store/database'
import { type DeliveryRecord, writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { createStoreHealth } from '@switchhook/core/store-health'
import type { WorkerConfig } from './config.ts'
import type { LaneRoom } from './lane-room.ts'
import { createRecorder } from './recorder.ts'

const LOG_QUERY_TIMEOUT_MS = 2_500
const UPKEEP_QUERY_TIMEOUT_MS = 60_000
const REDIS_COMMAND_TIMEOUT_MS = 2_000
const MAX_LOG_BATCH = 200
/**
 * What is delivered waits so long to be recorded while the lanes have room: at part load a commit for one or two rows
 * costs the machine more than the delivery itself.
 */
const LOG_LINGER_MS = 20
const PROBE = { probeTimeoutMs: 1_000, probeEveryMs: 250 }
const REFRESH_TIMEOUT_MS = 3_000

/** Opens everything the worker keeps between jobs. Nothing here waits for a store to be up. */
export function openStores(
  config: WorkerConfig,
  room: Pick<LaneRoom, 'isRoomy'>,
  metrics: Metrics,
  log: Logger,
) {
  const openPool = (name: string, maxConnections: number, queryTimeoutMs: number) =>
    openDatabase(
      {
        url: config.DATABASE_URL,
        applicationName: `switchhook-${name}`,
        maxConnections,
        queryTimeoutMs,
      },
      log,
    )
  const logDatabase = openPool('delivery-log', 4, LOG_QUERY_TIMEOUT_MS)
  // Each of the works that one worker does for all (LOCKS) holds one while it lasts, and needs another to get on.
  const upkeepDatabase = openPool('upkeep', 6, UPKEEP_QUERY_TIMEOUT_MS)
  const target = { url: config.REDIS_URL, clusterNodes: config.REDIS_CLUSTER_NODES }
  const connection = openRedis(
    target,
    { kind: 'answering', commandTimeoutMs: REDIS_COMMAND_TIMEOUT_MS },
    log,
  )
  const consuming = openRedis(target, { kind: 'working' }, log)
  const subscriber = openRedis(target, { kind: 'working' }, log)
  const circuitSubscriber = openRedis(target, { kind: 'working' }, log)
  const queues = openQueues(connection, config.QUEUE_SHARDS, log)
  const spool = createSpool(connection, config.SPOOL_MAX_ITEMS)
  const snapshot = createSnapshot()
  const refresh = startSnapshotRefresh({
    snapshot,
    subscriber,
    log,
    findChanges: (version) =>
      findConfigChanges(logDatabase.db, version, config.ENCRYPTION_KEYS, log),
  })

  const probePostgres = () => logDatabase.pool.query('select 1')
  const postgres = createStoreHealth({
    ...PROBE,
    store: 'postgres',
    probe: probePostgres,
    onChange: (isUp) => metrics.storeDegraded.set({ store: 'postgres' }, isUp ? 0 : 1),
    log,
  })
  metrics.storeDegraded.set({ store: 'postgres' }, 0)

  const deliveryLog = createGroupCommit<DeliveryRecord, void>({
    async write(records) {
      await writeDeliveryLog(logDatabase.pool, records, (record, error) => {
        log.error({ delivery_id: record.deliveryId, error }, 'record.poison')
        metrics.logRowsCut.inc()
      })
      return []
    },
    maxBatchItems: MAX_LOG_BATCH,
    lingerMs: () => (room.isRoomy() ? LOG_LINGER_MS : 0),
    maxWaitingItems: 10 * config.WORKER_CONCURRENCY,
    onBatch: (rows) => metrics.logBatchRows.observe(rows),
    failsAll: (error) => !isDataError(error),
  })

  return {
    ...{ snapshot, refresh, queues, spool, connection, consuming, postgres, circuitSubscriber },
    logPool: logDatabase.pool,
    upkeepPool: upkeepDatabase.pool,
    upkeepDatabase,
    record: createRecorder({ deliveryLog, spool, postgres, metrics, log }),
    /** Made a moment ago, it may not have reached the snapshot: looked up once more before it counts as deleted. */
    async findDestination(id: string) {
      const known = snapshot.findDestination(id)
      if (known !== undefined) return known
      await withDeadline(refresh.refresh(), REFRESH_TIMEOUT_MS, 'destination look-up')
      return snapshot.findDestination(id)
    },
    readiness: {
      postgres: probePostgres,
      redis: () => connection.ping(),
      snapshot: async () => {
        if (!refresh.isLoaded()) throw new Error('not loaded')
      },
    },
    async close() {
      await Promise.all([refresh.stop(), deliveryLog.idle()])
      postgres.stop()
      await queues.close()
      await Promise.all([connection, consuming, subscriber, circuitSubscriber].map(closeRedis))
      await Promise.all([logDatabase.close(), upkeepDatabase.close()])
    },
  }
}
