import { DeadlineError, withDeadline } from '@switchhook/core/deadline'
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
export const TAKE_TIMEOUT_MS = 1_200

/** How much of a step's own time is left within the whole. */
type Remaining = (stepMs: number) => number

/** A store that may make an event durable. */
type Taker = {
  readonly store: 'postgres' | 'redis'
  readonly timeoutMs: number
  /** Which of its failures say that it is away. */
  readonly isAway: (error: unknown) => boolean
  /** How much of the event the job carries. */
  readonly carry: 'small' | 'all'
  /** `full`: refused. Rejects when the store fails. */
  take(deps: AcceptDeps, entry: JournalEntry): Promise<JournalResult | 'full'>
}

const JOURNAL: Taker = {
  store: 'postgres',
  timeoutMs: JOURNAL_TIMEOUT_MS,
  isAway: (error) => !isDataError(error) && !(error instanceof OverfullError),
  carry: 'small',
  async take(deps, entry) {
    // Taken over by Redis a moment ago, not in Postgres yet: a second time here would be a second delivery.
    if (deps.spoolHoldsItems() && deps.redis.isUp()) {
      const seen = withDeadline(deps.spool.hasSeen(entry.event.id), SPOOL_TIMEOUT_MS, 'spool')
      if (await seen.catch(() => false)) return 'duplicate'
    }
    return deps.journal.push(entry)
  },
}

const SPOOL: Taker = {
  store: 'redis',
  timeoutMs: SPOOL_TIMEOUT_MS,
  isAway: () => true,
  carry: 'all',
  take: ({ spool }, entry) => spool.takeEvent(entry),
}

type Taken = { readonly by: Taker; readonly result: JournalResult }

/** Rejects for a store that is full. */
async function resultOf(by: Taker, taking: Promise<JournalResult | 'full'>): Promise<Taken> {
  const result = await taking
  if (result === 'full') throw new Error(`${by.store} is full`)
  return { by, result }
}

/**
 * By the one store or the other, each given its own time; by whichever still comes within the whole when neither kept
 * to that: a store that is slow is no reason to refuse an event.
 */
async function takeEvent(
  deps: AcceptDeps,
  entry: JournalEntry,
  remaining: Remaining,
): Promise<Taken | undefined> {
  const late: (() => Promise<Taken>)[] = []
  // Whichever is believed to be away is tried last: it may have come back since.
  for (const by of deps.postgres.isUp() ? [JOURNAL, SPOOL] : [SPOOL, JOURNAL]) {
    const taking = by.take(deps, entry)
    try {
      const result = await withDeadline(taking, remaining(by.timeoutMs), by.store)
      if (result !== 'full') return { by, result }
    } catch (error) {
      if (by.isAway(error)) deps[by.store].reportFailure(error)
      if (error instanceof DeadlineError) late.push(() => resultOf(by, taking))
    }
  }
  if (late.length === 0) return undefined
  const first = Promise.any(late.map((find) => find()))
  return withDeadline(first, remaining(TAKE_TIMEOUT_MS), 'either store').catch(() => undefined)
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

  const endsAtMs = performance.now() + TAKE_TIMEOUT_MS
  const remaining: Remaining = (stepMs) =>
    Math.max(1, Math.min(stepMs, endsAtMs - performance.now()))
  const taken = await takeEvent(deps, entry, remaining)
  if (taken === undefined) return { kind: 'unavailable' }
  const { by, result } = taken
  if (result === 'duplicate') return { kind: 'duplicate', deliveryIds }
  const known = result === 'stale' ? { event: { ...event, isStale: true }, deliveries } : entry
  await enqueue(deps, known, by.carry, remaining)
  return { kind: 'accepted', deliveryIds }
}
