import { withDeadline } from '@switchhook/core/deadline'
import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import type { GroupCommit } from '@switchhook/core/group-commit'
import { OverfullError } from '@switchhook/core/group-commit'
import { deliveryId } from '@switchhook/core/ids'
import type { EventContent } from '@switchhook/core/providers/provider'
import type { Queues } from '@switchhook/core/queue'
import { route } from '@switchhook/core/routing/route'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import type { Spool } from '@switchhook/core/spool'
import { isDataError } from '@switchhook/core/store/database'
import type { JournalEntry, JournalResult } from '@switchhook/core/store/journal'
import type { StoreHealth } from '@switchhook/core/store-health'

/** What accepting needs, and no more. */
export type AcceptDeps = {
  readonly snapshot: Snapshot
  readonly journal: GroupCommit<JournalEntry, JournalResult>
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

/** Each step's own bound, and one for all of them: a provider gets its answer within 1.5 s. */
const JOURNAL_TIMEOUT_MS = 600
const SPOOL_TIMEOUT_MS = 400
const ENQUEUE_TIMEOUT_MS = 350
const TOTAL_TIMEOUT_MS = 1_300

type Durable = JournalResult | undefined

/** How much of a step's own time is left within the whole. */
type Remaining = (stepMs: number) => number

async function tryJournal(
  deps: AcceptDeps,
  entry: JournalEntry,
  remaining: Remaining,
): Promise<Durable> {
  try {
    // Taken over by Redis a moment ago, not in Postgres yet: a second time here would be a second delivery.
    if (deps.spoolHoldsItems() && deps.redis.isUp()) {
      const looked = deps.spool.hasSeen(entry.event.id)
      const seen = withDeadline(looked, remaining(SPOOL_TIMEOUT_MS), 'spool')
      if (await seen.catch(() => false)) return 'duplicate'
    }
    const pushed = deps.journal.push(entry)
    return await withDeadline(pushed, remaining(JOURNAL_TIMEOUT_MS), 'journal')
  } catch (error) {
    if (!isDataError(error) && !(error instanceof OverfullError)) deps.postgres.reportFailure(error)
    return undefined
  }
}

async function trySpool(
  deps: AcceptDeps,
  entry: JournalEntry,
  remaining: Remaining,
): Promise<Durable> {
  try {
    const taking = deps.spool.takeEvent(entry)
    const taken = await withDeadline(taking, remaining(SPOOL_TIMEOUT_MS), 'spool')
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
  remaining: Remaining,
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
    await withDeadline(added, remaining(ENQUEUE_TIMEOUT_MS), 'queue')
  } catch (error) {
    deps.redis.reportFailure(error)
  }
}

/**
 * Makes a verified event durable and owed to its destinations: in Postgres and Redis, or in the one that answers.
 * `unavailable` only when both were tried and neither took it. Never throws; answers in about a second at worst.
 */
export async function acceptEvent(
  deps: AcceptDeps,
  event: AcceptedEvent,
  content: EventContent,
): Promise<AcceptResult> {
  const deliveries = route(deps.snapshot, event, content).map(({ id }) => ({
    deliveryId: deliveryId(event.id, id),
    destinationId: id,
  }))
  const entry = { event, deliveries }
  const deliveryIds = deliveries.map((owed) => owed.deliveryId)

  const endsAtMs = performance.now() + TOTAL_TIMEOUT_MS
  const remaining: Remaining = (stepMs) =>
    Math.max(1, Math.min(stepMs, endsAtMs - performance.now()))
  // Whichever is believed to be away is tried last: it may have come back since.
  const inOrder = deps.postgres.isUp() ? [tryJournal, trySpool] : [trySpool, tryJournal]
  for (const attempt of inOrder) {
    const durable = await attempt(deps, entry, remaining)
    if (durable === undefined) continue
    if (durable === 'duplicate') return { kind: 'duplicate', deliveryIds }
    const known = durable === 'stale' ? { event: { ...event, isStale: true }, deliveries } : entry
    await enqueue(deps, known, attempt === trySpool ? 'all' : 'small', remaining)
    return { kind: 'accepted', deliveryIds }
  }
  return { kind: 'unavailable' }
}
