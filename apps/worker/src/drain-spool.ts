import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { Spool, SpoolItem } from '@switchhook/core/spool'
import { type DatabaseHandle, isDataError } from '@switchhook/core/store/database'
import { type DeliveryRecord, writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { type JournalEntry, writeJournal } from '@switchhook/core/store/journal'
import { insertQuarantined } from '@switchhook/core/store/quarantine'

export type DrainDeps = {
  readonly pool: DatabaseHandle['pool']
  readonly spool: Spool
  readonly metrics: Pick<Metrics, 'logRowsCut'>
  readonly log: Logger
}

const BATCH = 200
/** A process that keeps spooling must not keep the rest of the upkeep from its turn. */
const MAX_BATCHES = 100

async function writeEntries(deps: DrainDeps, entries: readonly JournalEntry[]): Promise<void> {
  if (entries.length === 0) return
  try {
    await writeJournal(deps.pool, entries)
  } catch (error) {
    if (!isDataError(error)) throw error
    const [only] = entries
    if (entries.length === 1 && only !== undefined) {
      deps.log.error({ event_id: only.event.id, error }, 'spool.poison_event')
      await deps.spool.setAside({ kind: 'event', entry: only })
      return
    }
    const middle = Math.ceil(entries.length / 2)
    await writeEntries(deps, entries.slice(0, middle))
    await writeEntries(deps, entries.slice(middle))
  }
}

async function writeRecords(deps: DrainDeps, records: readonly DeliveryRecord[]): Promise<void> {
  const poison: SpoolItem[] = []
  await writeDeliveryLog(deps.pool, records, (record, error) => {
    deps.log.error({ delivery_id: record.deliveryId, error }, 'spool.poison_record')
    deps.metrics.logRowsCut.inc()
    poison.push({ kind: 'record', record })
  })
  for (const item of poison) await deps.spool.setAside(item)
}

/** One by one: they are few, and one that Postgres refuses must not stop the others. */
async function writeQuarantined(deps: DrainDeps, items: readonly SpoolItem[]): Promise<void> {
  for (const item of items) {
    if (item.kind !== 'quarantined') continue
    try {
      await insertQuarantined(deps.pool, item.row)
    } catch (error) {
      if (!isDataError(error)) throw error
      deps.log.error({ quarantine_id: item.row.id, error }, 'spool.poison_quarantined')
      await deps.spool.setAside(item)
    }
  }
}

/**
 * Tells Postgres what happened while it was away, oldest first. Killed at any point it does the last batch again,
 * which changes nothing. Must run in one process at a time. Returns how many items it wrote.
 */
export async function drainSpool(deps: DrainDeps): Promise<number> {
  let total = 0
  for (let batch = 0; batch < MAX_BATCHES; batch += 1) {
    const items = await deps.spool.read(BATCH)
    if (items.length === 0) return total
    await writeEntries(
      deps,
      items.flatMap((item) => (item.kind === 'event' ? [item.entry] : [])),
    )
    await writeRecords(
      deps,
      items.flatMap((item) => (item.kind === 'record' ? [item.record] : [])),
    )
    await writeQuarantined(deps, items)
    for (const item of items) {
      if (item.kind !== 'unreadable') continue
      deps.log.error({ bytes: Buffer.byteLength(item.text) }, 'spool.unreadable')
      await deps.spool.setAside(item)
    }
    await deps.spool.drop(items.length)
    total += items.length
  }
  return total
}
