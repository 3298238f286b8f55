import { setTimeout as sleep } from 'node:timers/promises'
import { readCircuits } from '@switchhook/core/circuits'
import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { createGroupCommit } from '@switchhook/core/group-commit'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import { openQueues } from '@switchhook/core/queue'
import { closeRedis, openRedis } from '@switchhook/core/redis'
import { createSnapshot } from '@switchhook/core/routing/snapshot'
import { announceConfigChange, startSnapshotRefresh } from '@switchhook/core/snapshot-refresh'
import { createSpool } from '@switchhook/core/spool'
import { findConfigChanges } from '@switchhook/core/store/config-changes'
import { isDataError, openDatabase } from '@switchhook/core/store/database'
import { type JournalEntry, type JournalResult, writeJournal } from '@switchhook/core/store/journal'
import { createStoreHealth } from '@switchhook/core/store-health'
import { type AcceptDeps, TAKE_TIMEOUT_MS } from './accept-event.ts'
import type { IngressConfig } from './config.ts'

const API_QUERY_TIMEOUT_MS = 3_000
const REDIS_COMMAND_TIMEOUT_MS = 350
const MAX_JOURNAL_BATCH = 200
const MAX_WAITING_EVENTS = 10_000
const PROBE = { probeTimeoutMs: 400, probeEveryMs: 250 }
const SPOOL_POLL_EVERY_MS = 500

export type Stores = ReturnType<typeof openStores>

/** Opens everything the ingress keeps between requests. Nothing here waits for a store to be up. */
export function openStores(config: IngressConfig, metrics: Metrics, log: Logger) {
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
  // The journal has its own connections: a slow list of the API must not stand before a webhook.
  const journalDatabase = openPool('journal', 2, TAKE_TIMEOUT_MS)
  const apiDatabase = openPool('api', 8, API_QUERY_TIMEOUT_MS)
  const target = { url: config.REDIS_URL, clusterNodes: config.REDIS_CLUSTER_NODES }
  const openAnswering = (commandTimeoutMs: number) =>
    openRedis(target, { kind: 'answering', commandTimeoutMs }, log)
  const connection = openAnswering(REDIS_COMMAND_TIMEOUT_MS)
  const spooling = openAnswering(TAKE_TIMEOUT_MS)
  const subscriber = openRedis(target, { kind: 'working' }, log)
  const queues = openQueues(connection, config.QUEUE_SHARDS, log)
  const spool = createSpool(spooling, config.SPOOL_MAX_ITEMS)
  const snapshot = createSnapshot()
  const refresh = startSnapshotRefresh({
    snapshot,
    subscriber,
    log,
    findChanges: (version) =>
      findConfigChanges(apiDatabase.db, version, config.ENCRYPTION_KEYS, log),
  })

  const probePostgres = () => journalDatabase.pool.query('select 1')
  const probeRedis = () => connection.ping()
  const postgres = createStoreHealth({
    ...PROBE,
    store: 'postgres',
    probe: probePostgres,
    onChange: (isUp) => metrics.storeDegraded.set({ store: 'postgres' }, isUp ? 0 : 1),
    log,
  })
  const redis = createStoreHealth({
    ...PROBE,
    store: 'redis',
    probe: probeRedis,
    onChange: (isUp) => metrics.storeDegraded.set({ store: 'redis' }, isUp ? 0 : 1),
    log,
  })
  metrics.storeDegraded.set({ store: 'postgres' }, 0)
  metrics.storeDegraded.set({ store: 'redis' }, 0)

  const journal = createGroupCommit<JournalEntry, JournalResult>({
    write: (entries) => writeJournal(journalDatabase.pool, entries),
    maxBatchItems: MAX_JOURNAL_BATCH,
    maxWaitingItems: MAX_WAITING_EVENTS,
    onBatch: (rows) => metrics.journalBatchRows.observe(rows),
    failsAll: (error) => !isDataError(error),
  })

  const stopping = new AbortController()
  let spooledItems = 0
  async function watchSpool(): Promise<void> {
    while (!stopping.signal.aborted) {
      spooledItems = await spool.length().catch(() => spooledItems)
      metrics.spoolItems.set(spooledItems)
      await sleep(SPOOL_POLL_EVERY_MS, undefined, { signal: stopping.signal }).catch(
        () => undefined,
      )
    }
  }
  const watching = watchSpool()

  const accept: AcceptDeps = {
    ...{ snapshot, journal, queues, postgres, redis },
    spool: {
      hasSeen: spool.hasSeen,
      async takeEvent(entry) {
        spooledItems += 1 // Known here at once; the poll tells the others.
        return spool.takeEvent(entry)
      },
    },
    spoolHoldsItems: () => spooledItems > 0,
  }

  return {
    accept,
    spool,
    /** Best effort: what stays out of Redis, the requeuer finds. */
    async enqueueDelivery(job: DeliveryJob) {
      await queues.addDelivery(job).catch((error: unknown) => redis.reportFailure(error))
    },
    readCircuits: (ids: readonly string[]) => readCircuits(connection, ids),
    dropDelivery: (id: string, destinationId: string) => queues.removeDelivery(id, destinationId),
    snapshot,
    refresh,
    apiDatabase,
    readiness: {
      postgres: probePostgres,
      redis: probeRedis,
      snapshot: async () => {
        if (!refresh.isLoaded()) throw new Error('not loaded')
      },
    },
    async configChanged() {
      await refresh.refresh()
      await announceConfigChange(connection)
    },
    async close() {
      stopping.abort()
      await Promise.all([watching, refresh.stop(), journal.idle()])
      postgres.stop()
      redis.stop()
      await queues.close()
      await Promise.all([connection, spooling, subscriber].map(closeRedis))
      await Promise.all([journalDatabase.close(), apiDatabase.close()])
    },
  }
}
