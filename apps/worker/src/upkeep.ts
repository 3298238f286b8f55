import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import { LOCKS, runAsLeader } from '@switchhook/core/store/leader'
import {
  findOldestPendingAgeSeconds,
  type OverdueCursor,
} from '@switchhook/core/store/owed-deliveries'
import {
  dropOldPartitions,
  ensurePartitions,
  findDatabaseTimeMs,
} from '@switchhook/core/store/partitions'
import { dropOldRows } from '@switchhook/core/store/retention'
import { type DrainDeps, drainSpool } from './drain-spool.ts'
import { type RequeueDeps, requeue } from './requeue.ts'

const DAY_MS = 86_400_000

export type UpkeepDeps = RequeueDeps &
  DrainDeps & {
    readonly nowMs: () => number
    readonly everyMs: number
    /** How long a due delivery may be without a job before it counts as lost. */
    readonly requeueAfterMs: number
    readonly retentionDays: number
    readonly metrics: Pick<Metrics, 'oldestPendingAge' | 'spoolItems'>
    readonly log: Logger
  }

const RETENTION_EVERY_MS = 3_600_000
/** After a failure: a lock that somebody holds for long must not be asked for all the time. */
const RETENTION_RETRY_MS = 60_000
const AGE_EVERY_MS = 10_000
const MAIL_TABLES = [
  'mail_windows',
  'mail_digests',
  'fallback_mails',
  'used_replay_links',
  'operator_notices',
] as const
const LONG_WORK_TABLES = ['replays', 'erasures'] as const

/**
 * What one worker at a time does for all: drain the spool, then requeue what was lost; once an hour, make the
 * partitions to come and drop those that are too old. Returns a function that stops it.
 */
export function startUpkeep(deps: UpkeepDeps): () => Promise<void> {
  const stopping = new AbortController()
  let cursor: OverdueCursor | undefined
  let isFailing = false
  let ageAtMs = 0
  let retentionAtMs = 0

  async function pass(): Promise<void> {
    deps.metrics.spoolItems.set(await deps.spool.length())
    const drained = await drainSpool(deps)
    if (drained > 0) deps.log.info({ count: drained }, 'spool.drained')
    cursor = await requeue(deps, deps.nowMs() - deps.requeueAfterMs, cursor)
    if (deps.nowMs() - ageAtMs > AGE_EVERY_MS) {
      ageAtMs = deps.nowMs()
      deps.metrics.oldestPendingAge.set(await findOldestPendingAgeSeconds(deps.pool))
    }
  }

  async function applyRetention(): Promise<void> {
    if (deps.nowMs() - retentionAtMs < RETENTION_EVERY_MS) return
    retentionAtMs = deps.nowMs() - RETENTION_EVERY_MS + RETENTION_RETRY_MS
    // Postgres's clock, not this worker's: one that runs a month ahead must not drop a month.
    const nowMs = await findDatabaseTimeMs(deps.pool)
    const { pool, retentionDays } = deps
    await runAsLeader(pool, LOCKS.retention, async () => {
      const made = await ensurePartitions(pool, nowMs)
      const dropped = await dropOldPartitions(pool, nowMs, retentionDays)
      const beforeMs = nowMs - retentionDays * DAY_MS
      const forgotten = await dropOldRows(pool, 'dedupe_keys', beforeMs)
      await dropOldRows(pool, 'status_ranks', beforeMs)
      await dropOldRows(pool, 'quarantine', nowMs)
      await dropOldRows(pool, 'circuit_changes', beforeMs)
      await dropOldRows(pool, 'destination_failures', beforeMs)
      await dropOldRows(pool, 'destination_notices', beforeMs)
      for (const table of [...MAIL_TABLES, ...LONG_WORK_TABLES]) {
        await dropOldRows(pool, table, beforeMs)
      }
      if (made.length + dropped.length + forgotten > 0) {
        deps.log.info({ made, dropped, dedupe_keys_dropped: forgotten }, 'retention.applied')
      }
    })
    retentionAtMs = deps.nowMs()
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await runAsLeader(deps.pool, LOCKS.upkeep, pass)
        await applyRetention()
        isFailing = false
      } catch (error) {
        // A store is away: that is told by whoever needs it for a webhook; here once is enough.
        if (!isFailing) deps.log.warn({ error }, 'upkeep.failed')
        isFailing = true
      }
      await sleep(deps.everyMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  const running = run()
  return async () => {
    stopping.abort()
    await running
  }
}
