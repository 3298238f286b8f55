import { setTimeout as sleep } from 'node:timers/promises'
import { failingStep } from '@switchhook/core/delivery/failing-policy'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import {
  clearIfDelivered,
  disableDestination,
  type FailingDestination,
  findFailingDestinations,
  findUntoldNotices,
  markTold,
  noteOutcomes,
  type OwnerNotice,
  oweWarning,
} from '@switchhook/core/store/failing-destinations'
import { LOCKS, runAsLeader } from '@switchhook/core/store/leader'
import { createOutcomeLog } from './disable-destination-outcomes.ts'

/** What deliver.ts tells of every attempt that counts, and asks for after a 410. */
export type Disabling = {
  /** Not for attempts that were our own fault. */
  noteOutcome(destinationId: string, isDelivered: boolean): void
  /** After an answer that it is gone for good. Throws when Postgres is away; the next 410 asks again. */
  disableGone(destination: Pick<Destination, 'id' | 'url'>): Promise<void>
  stop(): Promise<void>
}

export type DisablingDeps = {
  readonly database: DatabaseHandle
  readonly nowMs: () => number
  readonly everyMs: number
  /** Makes the changed configuration known to all processes. */
  readonly announce: () => Promise<void>
  /** False when it is to be tried again: the mail server is away. Told twice at worst, with the same `id`. */
  readonly tellOwner: (notice: OwnerNotice) => Promise<boolean>
  readonly log: Logger
}

const BATCH = 100
/** A notice that could not be told for this long is old news. */
const TELL_FOR_MS = 86_400_000

const GONE = 'It answered 410 Gone.'

function failingReason({ failingSinceMs }: FailingDestination): string {
  const since = new Date(failingSinceMs).toISOString()
  return `Nothing but failure came from it since ${since}.`
}

/** One step for each destination that does nothing but fail: told of it, told again, disabled. */
async function stepFailing(deps: DisablingDeps): Promise<void> {
  const { database, log } = deps
  const nowMs = deps.nowMs()
  for (const failing of await findFailingDestinations(database.pool, nowMs, BATCH)) {
    const step = failingStep(failing, nowMs)
    if (step === 'none' || (await clearIfDelivered(database.pool, failing))) continue
    const { destinationId, failingSinceMs } = failing
    const reason = failingReason(failing)
    if (step === 'warn') {
      await oweWarning(database.db, failing, reason, nowMs)
      log.warn({ destination_id: destinationId, reason }, 'destination.failing')
      continue
    }
    const order = { destinationId, reason, failingSinceMs, nowMs }
    if (!(await disableDestination(database.db, order))) continue
    log.warn({ destination_id: destinationId, reason }, 'destination.disabled')
    await deps.announce()
  }
}

async function tellOwners(deps: DisablingDeps): Promise<void> {
  const { db } = deps.database
  for (const notice of await findUntoldNotices(db, BATCH)) {
    const isOld = deps.nowMs() - notice.createdAtMs > TELL_FOR_MS
    if (isOld) {
      deps.log.error({ destination_id: notice.destinationId, kind: notice.kind }, 'owner.untold')
    } else if (!(await deps.tellOwner(notice))) {
      continue
    }
    await markTold(db, notice.id, deps.nowMs())
  }
}

/**
 * Disables destinations that are gone, or that failed for five days without one success, and tells their owners in
 * time. Every worker writes down what it saw; one at a time decides.
 */
export function startDisabling(deps: DisablingDeps): Disabling {
  const stopping = new AbortController()
  const outcomes = createOutcomeLog(deps.nowMs)
  let isFailing = false

  async function flush(): Promise<void> {
    const seen = outcomes.take()
    try {
      if (seen.size > 0) await noteOutcomes(deps.database.pool, seen)
    } catch (error) {
      outcomes.putBack(seen)
      throw error
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await flush()
        await runAsLeader(deps.database.pool, LOCKS.disabling, async () => {
          await stepFailing(deps)
          await tellOwners(deps)
        })
        isFailing = false
      } catch (error) {
        if (!isFailing) deps.log.warn({ error }, 'disabling.failed')
        isFailing = true
      }
      await sleep(deps.everyMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  const running = run()
  return {
    noteOutcome: outcomes.note,
    async disableGone({ id, url }) {
      const order = { destinationId: id, url, reason: GONE, failingSinceMs: null }
      if (!(await disableDestination(deps.database.db, { ...order, nowMs: deps.nowMs() }))) return
      deps.log.warn({ destination_id: id, reason: GONE }, 'destination.disabled')
      await deps.announce()
    },
    async stop() {
      stopping.abort()
      await running
      await flush().catch((error: unknown) => deps.log.warn({ error }, 'disabling.failed'))
    },
  }
}
