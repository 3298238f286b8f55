import { staleAtMs, waitUntilStale } from '@switchhook/core/delivery/freshness'
import type { Destination } from '@switchhook/core/event'
import type { ParkedDeliveries } from '@switchhook/core/parked-deliveries'
import type { DeliveryRun } from '@switchhook/core/queue'
import type { Fleet } from './fleet.ts'
import type { RateLimits } from './rate-limits.ts'
import type { Slot, Slots } from './slots.ts'

/** Why not now. None of these is an attempt. */
export type Held =
  | { readonly kind: 'wait'; readonly reason: 'paused' | 'rate' | 'slot'; readonly delayMs: number }
  /** Too old to be sent. */
  | { readonly kind: 'expired' }
  /** To be delivered from the slow lane. */
  | { readonly kind: 'slow_lane' }

/** The gates around the circuit's. Both throw when Redis has to be asked and is away. */
export type Gates = {
  /** Fresh? Paused? Undefined: neither is in the way. */
  check(destination: Destination, run: DeliveryRun): Promise<Held | undefined>
  /** A slot, and a turn where the destination has a rate limit. Whoever gets one must settle it or give it back. */
  takeSlot(destination: Destination, run: DeliveryRun): Promise<Held | { kind: 'go'; slot: Slot }>
  /** Where this worker has no slot for it, how long it waits, as `takeSlot` would say; undefined: ask that. */
  queueIfFull(destination: Destination, run: DeliveryRun): number | undefined
}

export type GatesDeps = {
  readonly nowMs: () => number
  readonly random: () => number
  readonly slots: Pick<Slots, 'take' | 'waitMs'>
  readonly fleet: Pick<Fleet, 'shareOf' | 'lease'>
  readonly rateLimits: RateLimits
  readonly parked: Pick<ParkedDeliveries, 'note'>
}

const FIRST_PAUSED_WAIT_MS = 15_000
const MAX_PAUSED_WAIT_MS = 300_000

export function createGates(deps: GatesDeps): Gates {
  const { random, slots, fleet } = deps

  /** Resuming wakes it up at once; the wait is for when the note of it got lost. */
  async function park(destination: Destination, run: DeliveryRun): Promise<Held> {
    const { deliveryId, destinationId, createdAtMs } = run.data
    await deps.parked.note(destinationId, { deliveryId, lane: run.lane, createdAtMs })
    const waitMs = Math.min(FIRST_PAUSED_WAIT_MS * 2 ** run.waits, MAX_PAUSED_WAIT_MS)
    return wait('paused', waitMs * (0.9 + 0.2 * random()), destination, run)
  }

  /** More workers than slots: one of all workers' together is asked for. */
  async function lease(destination: Destination, slot: Slot): Promise<Slot | undefined> {
    if (fleet.shareOf(destination.id, destination.maxConcurrency) >= 1) return slot
    const giveUp = await fleet.lease(destination)
    if (giveUp === undefined) return undefined
    let isOver = false
    const also = (end: () => void) => () => {
      end()
      if (!isOver) void giveUp()
      isOver = true
    }
    return { settle: also(slot.settle), giveBack: also(slot.giveBack) }
  }

  function wait(
    reason: 'paused' | 'rate' | 'slot',
    delayMs: number,
    destination: Destination,
    run: DeliveryRun,
  ): Extract<Held, { kind: 'wait' }> {
    const staleMs = staleAtMs(run.data, destination)
    return { kind: 'wait', reason, delayMs: waitUntilStale(delayMs, staleMs, deps.nowMs()) }
  }

  return {
    async check(destination, run) {
      const staleMs = staleAtMs(run.data, destination)
      if (staleMs !== undefined && deps.nowMs() >= staleMs) return { kind: 'expired' }
      return destination.status === 'paused' ? park(destination, run) : undefined
    },
    queueIfFull(destination, run) {
      const taken = slots.take(destination, run.lane, run.waits)
      if (taken.kind === 'go') taken.slot.giveBack()
      if (taken.kind !== 'wait') return undefined
      return wait('slot', taken.delayMs, destination, run).delayMs
    },
    async takeSlot(destination, run) {
      const taken = slots.take(destination, run.lane, run.waits)
      if (taken.kind === 'slow_lane') return taken
      if (taken.kind === 'wait') return wait('slot', taken.delayMs, destination, run)
      let slot: Slot | undefined
      try {
        slot = await lease(destination, taken.slot)
        if (slot === undefined) {
          taken.slot.giveBack()
          return wait('slot', slots.waitMs(destination, run.lane, run.waits), destination, run)
        }
        // Last, since a turn that is given out cannot be given back.
        const delayMs = await deps.rateLimits.waitMs(destination, run.data.deliveryId)
        if (delayMs === 0) return { kind: 'go', slot }
        slot.giveBack()
        return wait('rate', delayMs, destination, run)
      } catch (error) {
        const held = slot ?? taken.slot
        held.giveBack()
        throw error
      }
    },
  }
}
