import type { FallbackJob } from '@switchhook/core/queue'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { claimMailSlot, type MailLimits, type MailSlot } from '@switchhook/core/store/mail-digests'
import type { StoreHealth } from '@switchhook/core/store-health'
import { LRUCache } from 'lru-cache'

/** `later`: cannot be told now. */
export type FindSlot = (job: FallbackJob) => Promise<MailSlot | 'later'>

const MAX_DESTINATIONS = 10_000

/** While Postgres is away nobody can count for all: this process lets as many through as the window allows, no more. */
function createLocalLimit({ windowMs, maxSingles }: MailLimits, nowMs: () => number) {
  const windows = new LRUCache<string, { startedAtMs: number; ids: Set<string> }>({
    max: MAX_DESTINATIONS,
  })
  return (destinationId: string, deliveryId: string): boolean => {
    let window = windows.get(destinationId)
    if (window === undefined || nowMs() - window.startedAtMs >= windowMs) {
      window = { startedAtMs: nowMs(), ids: new Set() }
      windows.set(destinationId, window)
    }
    if (!window.ids.has(deliveryId) && window.ids.size >= maxSingles) return false
    window.ids.add(deliveryId)
    return true
  }
}

/** Which mail stands for an exhausted delivery: see `claimMailSlot`. Never throws. */
export function createSlotFinder(
  pool: DatabaseHandle['pool'],
  postgres: StoreHealth,
  limits: MailLimits,
  nowMs: () => number,
): FindSlot {
  const passesLocally = createLocalLimit(limits, nowMs)
  return async ({ deliveryId, to, delivery }) => {
    const { destinationId, createdAtMs, event } = delivery
    if (!postgres.isUp()) {
      return passesLocally(destinationId, deliveryId) ? { kind: 'single', recipient: to } : 'later'
    }
    const { organizationId } = event
    const claim = { deliveryId, createdAtMs, organizationId, destinationId, recipient: to }
    try {
      return await claimMailSlot(pool, claim, limits)
    } catch (error) {
      // It may be decided all the same: asked again, Postgres tells.
      postgres.reportFailure(error)
      return 'later'
    }
  }
}
