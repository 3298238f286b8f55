import { LANES, type Lane, slotsOfLanes } from '@switchhook/core/delivery/lanes'

/** A lane that is fuller than this would lose throughput if what it has in hand took longer. */
const ROOMY_BELOW = 0.75

/** How full a worker's lanes are. */
export type LaneRoom = {
  /** Counts what is in hand there until `work` ends. */
  hold<Result>(lane: Lane, work: () => Promise<Result>): Promise<Result>
  /** Has every lane room? The slow one does not count: it is made to be full, and loses little by milliseconds. */
  isRoomy(): boolean
}

export function createLaneRoom(concurrency: number): LaneRoom {
  const slotsOf = slotsOfLanes(concurrency)
  const inHand: Record<Lane, number> = { calls: 0, messages: 0, records: 0, slow: 0 }
  return {
    async hold(lane, work) {
      inHand[lane] += 1
      try {
        return await work()
      } finally {
        inHand[lane] -= 1
      }
    },
    isRoomy: () =>
      LANES.every((lane) => lane === 'slow' || inHand[lane] < ROOMY_BELOW * slotsOf[lane]),
  }
}
