import { setTimeout as sleep } from 'node:timers/promises'
import { withDeadline } from '@switchhook/core/deadline'
import type { GroupCommit } from '@switchhook/core/group-commit'
import { OverfullError } from '@switchhook/core/group-commit'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { Spool } from '@switchhook/core/spool'
import { isDataError } from '@switchhook/core/store/database'
import type { DeliveryRecord } from '@switchhook/core/store/delivery-log'
import type { StoreHealth } from '@switchhook/core/store-health'

export type RecorderDeps = {
  readonly deliveryLog: GroupCommit<DeliveryRecord, void>
  readonly spool: Pick<Spool, 'addRecord'>
  readonly postgres: StoreHealth
  readonly metrics: Pick<Metrics, 'logRowsCut'>
  readonly log: Logger
}

const COMMIT_TIMEOUT_MS = 3_000
const SPOOL_TIMEOUT_MS = 1_000
const RETRY_EVERY_MS = 500
/** Shorter than a job's lock: after it the job is given up to another worker, which looks in Postgres first. */
const GIVE_UP_AFTER_MS = 20_000

/** Resolves when the record is durable. Rejects only when neither store took it for 20 s. */
export type RecordDelivery = (record: DeliveryRecord) => Promise<void>

export function createRecorder(deps: RecorderDeps): RecordDelivery {
  async function tryCommit(record: DeliveryRecord): Promise<boolean> {
    if (!deps.postgres.isUp()) return false
    try {
      await withDeadline(deps.deliveryLog.push(record), COMMIT_TIMEOUT_MS, 'delivery log')
      return true
    } catch (error) {
      if (!isDataError(error) && !(error instanceof OverfullError)) {
        deps.postgres.reportFailure(error)
      }
      return false
    }
  }

  async function trySpool(record: DeliveryRecord): Promise<boolean> {
    try {
      const added = deps.spool.addRecord(record)
      const { bodiesKept } = await withDeadline(added, SPOOL_TIMEOUT_MS, 'spool')
      if (!bodiesKept) deps.metrics.logRowsCut.inc()
      return true
    } catch (error) {
      deps.log.warn({ delivery_id: record.deliveryId, error }, 'record.delayed')
      return false
    }
  }

  return async function recordDelivery(record) {
    const giveUpAtMs = performance.now() + GIVE_UP_AFTER_MS
    // The attempt is made; to forget it would be to make it again.
    while (!(await tryCommit(record)) && !(await trySpool(record))) {
      if (performance.now() > giveUpAtMs) throw new Error('no store took the record')
      await sleep(RETRY_EVERY_MS)
    }
  }
}
