import type { SeenOutcomes } from '@switchhook/core/store/failing-destinations'
import { LRUCache } from 'lru-cache'

/** What this worker saw of its destinations since it last wrote it down. */
export type OutcomeLog = {
  note(destinationId: string, isDelivered: boolean): void
  /** All of it; afterwards it is empty. */
  take(): ReadonlyMap<string, SeenOutcomes>
  /** What could not be written; newer outcomes win. */
  putBack(seen: ReadonlyMap<string, SeenOutcomes>): void
}

/** Beyond it the oldest are forgotten: a lost success is found again before anything is disabled. */
const MAX_DESTINATIONS = 200_000

/** `earlier` followed by `later`. */
function merge(earlier: SeenOutcomes, later: SeenOutcomes): SeenOutcomes {
  if (later.deliveredAtMs !== null) return later
  const { deliveredAtMs, failed } = earlier
  if (later.failed === null || failed === null) {
    return { deliveredAtMs, failed: later.failed ?? failed }
  }
  const { lastAtMs } = later.failed
  return { deliveredAtMs, failed: { firstAtMs: failed.firstAtMs, lastAtMs } }
}

export function createOutcomeLog(nowMs: () => number): OutcomeLog {
  const seen = new LRUCache<string, SeenOutcomes>({ max: MAX_DESTINATIONS })
  const nothing: SeenOutcomes = { deliveredAtMs: null, failed: null }
  return {
    note(destinationId, isDelivered) {
      const atMs = nowMs()
      const later: SeenOutcomes = isDelivered
        ? { deliveredAtMs: atMs, failed: null }
        : { deliveredAtMs: null, failed: { firstAtMs: atMs, lastAtMs: atMs } }
      seen.set(destinationId, merge(seen.get(destinationId) ?? nothing, later))
    },
    take() {
      const taken = new Map(seen.entries())
      seen.clear()
      return taken
    },
    putBack(earlier) {
      for (const [id, outcomes] of earlier) {
        const later = seen.get(id)
        seen.set(id, later === undefined ? outcomes : merge(outcomes, later))
      }
    },
  }
}
