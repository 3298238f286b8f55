import { withDeadline } from '@switchhook/core/deadline'
import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { GroupCommit } from '@switchhook/core/group-commit'
import { OverfullError } from '@switchhook/core/group-commit'
import { deliveryId } from '@switchhook/core/ids'
import type { Queues } from '@switchhook/core/queue'
import { route } from '@switchhook/core/routing/route'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import type { Spool } from '@switchhook/core/spool'
import { isDataError } from '@switchhook/core/store/database'
import type { JournalEntry } from '@switchhook/core/store/journal'
import type { StoreHealth } from '@switchhook/core/store-health'

/** What accepting needs, and no more. */
export type AcceptDeps = {
  readonly snapshot: Snapshot
  readonly journal: GroupCommit<JournalEntry, boolean>
  readonly queues: Pick<Queues, 'addDelivery'>
  readonly spool: Pick<Spool, 'takeEvent' | 'hasSeen'>
  readonly postgres: StoreHealth
  readonly redis: StoreHealth
  /** Events taken while Postgres was away may still be on their way to it. */
  readonly spoolHoldsItems: () => boolean
}

export type AcceptResult =
  | { readonly kind: 'accepted' | 'duplicate'; readonly deliveryIds: readonly string[] }
  | { readonly kind: 'unavailable' }

/** Together with what surrounds them these stay below the 1.5 s that a provider waits for the whole answer. */
const JOURNAL_TIMEOUT_MS = 600
const SPOOL_TIMEOUT_MS = 400
const ENQUEUE_TIMEOUT_MS = 350

type Durable = 'new' | 'duplicate' | undefined

async function tryJournal(deps: AcceptDeps, entry: JournalEntry): Promise<Durable> {
  try {
    // Taken over by Redis a moment ago, not in Postgres yet: a second time here would be a second delivery.
    if (deps.spoolHoldsItems() && deps.redis.isUp()) {
      const seen = withDeadline(deps.spool.hasSeen(entry.event.id), SPOOL_TIMEOUT_MS, 'spool')
      if (await seen.catch(() => false)) return 'duplicate'
    }
    const isNew = await withDeadline(deps.journal.push(entry), JOURNAL_TIMEOUT_MS, 'journal')
    return isNew ? 'new' : 'duplicate'
  } catch (error) {
    if (!isDataError(error) && !(error instanceof OverfullError)) deps.postgres.reportFailure(error)
    return undefined
  }
}

async function trySpool(deps: AcceptDeps, entry: JournalEntry): Promise<Durable> {
  try {
    const taken = await withDeadline(deps.spool.takeEvent(entry), SPOOL_TIMEOUT_MS, 'spool')
    return taken === 'full' ? undefined : taken
  } catch (error) {
    deps.redis.reportFailure(error)
    return undefined
  }
}

/** A failure is no loss: the event is durable, and the requeuer finds what Postgres owes and Redis lacks. */
async function enqueue(
  deps: AcceptDeps,
  { event, deliveries }: JournalEntry,
  carry: 'small' | 'all',
): Promise<void> {
  if (!deps.redis.isUp()) return
  const jobs = deliveries.map((owed) =>
    createDeliveryJob(
      { ...owed, createdAtMs: event.receivedAtMs, priorAttempts: 0, requeued: false },
      event,
      carry,
    ),
  )
  try {
    const added = Promise.all(jobs.map((job) => deps.queues.addDelivery(job)))
    await withDeadline(added, ENQUEUE_TIMEOUT_MS, 'queue')
  } catch (error) {
    deps.redis.reportFailure(error)
  }
}

/**
 * Makes a verified event durable and owed to its destinations: in Postgres and Redis, or in the one that answers.
 * `unavailable` only when both were tried and neither took it. Never throws; answers in about a second at worst.
 */
export async function acceptEvent(deps: AcceptDeps, event: AcceptedEvent): Promise<AcceptResult> {
  const deliveries = route(deps.snapshot, event, event.type).map(({ id }) => ({
    deliveryId: deliveryId(event.id, id),
    destinationId: id,
  }))
  const entry = { event, deliveries }
  const deliveryIds = deliveries.map((owed) => owed.deliveryId)

  // Whichever is believed to be away is tried last: it may have come back since.
  const inOrder = deps.postgres.isUp() ? [tryJournal, trySpool] : [trySpool, tryJournal]
  for (const attempt of inOrder) {
    const durable = await attempt(deps, entry)
    if (durable === undefined) continue
    if (durable === 'duplicate') return { kind: 'duplicate', deliveryIds }
    await enqueue(deps, entry, attempt === trySpool ? 'all' : 'small')
    return { kind: 'accepted', deliveryIds }
  }
  return { kind: 'unavailable' }
}
