import { LANES, type Lane, slotsOfLanes } from '@switchhook/core/delivery/lanes'
import {
  createDestinationSlots,
  type DestinationSlots,
  endAttempt,
  forgetAttempt,
  hasSlot,
  paceOf,
  queueUp,
  slowDown,
  startAttempt,
} from '@switchhook/core/delivery/slots'
import type { Destination } from '@switchhook/core/event'
import { LRUCache } from 'lru-cache'

/** With the organizations, one for each lane that they use. */
const MAX_KNOWN = 20_000
/**
 * An organization has at most so many times what is free in the lane: 75 of 100 slots if it is the only one that floods,
 * 43 if two do, and always some are left for who comes behind them (dynamic thresholds, Choudhury and Hahne 1998).
 */
const TIMES_FREE = 3
/** Of a lane's slots, for destinations that have not proved fast, all together: while it may still turn out, and in all. */
const UNPROVEN_SHARE = 0.25
const UNPROVEN_SHARE_IN_ALL = 0.5
/** Of these, for one organization: whoever has hundreds that hang leaves room to the others. */
const UNPROVEN_SHARE_OF_ORGANIZATION = 0.5
const PROVED_AFTER_MS = 1_000
const UNPROVEN_AT_ONCE = 2
/** Of the slow lane's slots, for one slow destination. */
const SLOW_SHARE = 0.25

/** An attempt at a destination of which nothing is known. */
type Unproven = { readonly sinceMs: number; readonly organizationId: string }

export type Slot = {
  /** The attempt has ended, in whatever way. */
  settle(): void
  /** There was no attempt. */
  giveBack(): void
}

export type SlotAnswer =
  | { readonly kind: 'go'; readonly slot: Slot }
  | { readonly kind: 'wait'; readonly delayMs: number }
  /** It answers slowly: its deliveries wait among themselves. */
  | { readonly kind: 'slow_lane' }

export type Slots = {
  take(
    destination: Pick<Destination, 'id' | 'organizationId' | 'maxConcurrency'>,
    lane: Lane,
    waits: number,
  ): SlotAnswer
  /** For one that finds no room elsewhere: as long as its place in the queue tells. */
  waitMs(destination: Pick<Destination, 'id' | 'maxConcurrency'>, lane: Lane, waits: number): number
  /** It asked for time (429). */
  slowDown(destinationId: string, forMs: number): void
}

export type SlotsOptions = {
  /** Attempts in flight in this worker. */
  readonly concurrency: number
  /** This worker's part of a destination's cap, above 0; a fraction where workers share a slot. */
  readonly shareOf: (destinationId: string, maxConcurrency: number) => number
  /** Is there more than one organization? To an only one every slot is open. True unless told. */
  readonly isShared?: () => boolean
  readonly nowMs: () => number
  readonly random: () => number
}

/**
 * Divides this worker's attempts in flight among the destinations, by what each showed of itself: fast ones have what
 * their cap allows, unproven ones a quarter of the lane in sum (half, with those of them that hang), slow ones only what
 * the slow lane has. All of one organization together leave a part of each lane to the others; those put off come in
 * their order, as if the organization were a destination with that cap.
 */
export function createSlots(options: SlotsOptions): Slots {
  const { concurrency, shareOf, isShared = () => true, nowMs, random } = options
  const slotsOf = slotsOfLanes(concurrency)
  const known = new LRUCache<string, DestinationSlots>({ max: MAX_KNOWN })
  const unproven = Object.fromEntries(
    LANES.map((lane) => [lane, new Map<Slot, Unproven>()] as const),
  ) as Record<Lane, Map<Slot, Unproven>>
  const inFlight = { calls: 0, messages: 0, records: 0, slow: 0 } satisfies Record<Lane, number>
  const slowLimit = Math.max(1, Math.floor(slotsOf.slow * SLOW_SHARE))

  function find(id: string): DestinationSlots {
    const found = known.get(id)
    if (found !== undefined) return found
    const made = createDestinationSlots()
    known.set(id, made)
    return made
  }

  function limitOfOrganization(lane: Lane): number {
    if (!isShared()) return Number.POSITIVE_INFINITY
    return Math.max(1, TIMES_FREE * (slotsOf[lane] - inFlight[lane]))
  }

  function hasUnproven(lane: Lane, organizationId: string, now: number): boolean {
    const limitOf = (share: number): number => Math.max(1, Math.floor(slotsOf[lane] * share))
    const isFree = (places: readonly Unproven[], part: number): boolean => {
      const recent = places.filter(({ sinceMs }) => now - sinceMs < PROVED_AFTER_MS).length
      const inAll = places.length < limitOf(UNPROVEN_SHARE_IN_ALL * part)
      return inAll && recent < limitOf(UNPROVEN_SHARE * part)
    }
    const places = [...unproven[lane].values()]
    const own = places.filter((place) => place.organizationId === organizationId)
    return isFree(places, 1) && isFree(own, UNPROVEN_SHARE_OF_ORGANIZATION)
  }

  function start(
    slots: DestinationSlots,
    ofOrganization: DestinationSlots,
    lane: Lane,
    unprovenOf: string | undefined,
  ): Slot {
    const attempt = startAttempt(slots, nowMs())
    const among = startAttempt(ofOrganization, nowMs())
    inFlight[lane] += 1
    let isOver = false
    function end(note: () => void): void {
      if (isOver) return
      isOver = true
      inFlight[lane] -= 1
      unproven[lane].delete(slot)
      note()
    }
    const slot: Slot = {
      settle: () =>
        end(() => {
          endAttempt(slots, attempt, nowMs())
          endAttempt(ofOrganization, among, nowMs())
        }),
      giveBack: () =>
        end(() => {
          forgetAttempt(slots, attempt)
          forgetAttempt(ofOrganization, among)
        }),
    }
    if (unprovenOf !== undefined) {
      unproven[lane].set(slot, { sinceMs: nowMs(), organizationId: unprovenOf })
    }
    return slot
  }

  return {
    take({ id, organizationId, maxConcurrency }, lane, waits) {
      const slots = find(id)
      const now = nowMs()
      const pace = paceOf(slots, now)
      if (pace === 'slow' && lane !== 'slow') return { kind: 'slow_lane' }
      const isUnproven = pace === 'unproven' && lane !== 'slow'
      // A fast one has what its cap allows: its lane gives it no more than it has.
      const atOnce =
        pace === 'fast' ? Number.POSITIVE_INFINITY : isUnproven ? UNPROVEN_AT_ONCE : slowLimit
      const share = Math.min(shareOf(id, maxConcurrency), atOnce)
      const hasRoom = !isUnproven || hasUnproven(lane, organizationId, now)
      if (hasRoom && hasSlot(slots, Math.ceil(share), lane, waits, now)) {
        const ofOrganization = find(`${lane} ${organizationId}`)
        if (!hasSlot(ofOrganization, limitOfOrganization(lane), lane, waits, now)) {
          const atOnce = Math.max(1, ofOrganization.startedAtMs.size)
          return {
            kind: 'wait',
            delayMs: queueUp(ofOrganization, atOnce, lane, waits, now, random()),
          }
        }
        const unprovenOf = isUnproven ? organizationId : undefined
        return { kind: 'go', slot: start(slots, ofOrganization, lane, unprovenOf) }
      }
      return { kind: 'wait', delayMs: queueUp(slots, share, lane, waits, now, random()) }
    },
    waitMs({ id, maxConcurrency }, lane, waits) {
      return queueUp(find(id), shareOf(id, maxConcurrency), lane, waits, nowMs(), random())
    },
    slowDown(destinationId, forMs) {
      slowDown(find(destinationId), forMs, nowMs())
    },
  }
}
