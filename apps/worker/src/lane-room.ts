import { LANES, type Lane, slotsOfShardLanes } from '@switchhook/core/delivery/lanes'
import type { DeliveryRun } from '@switchhook/core/queue'

/** A lane that is fuller than this would lose throughput if what it has in hand took longer. */
const ROOMY_BELOW = 0.75

/** How full a worker's lanes are, each of each shard. */
export type LaneRoom = {
  /** Counts what is in hand there until `work` ends. */
  hold<Result>(
    run: Pick<DeliveryRun, 'lane' | 'shard'>,
    work: () => Promise<Result>,
  ): Promise<Result>
  /** Has every lane room? The slow one does not count: it is made to be full, and loses little by milliseconds. */
  isRoomy(): boolean
}

export function createLaneRoom(concurrency: number, shards: number): LaneRoom {
  const slotsOf = slotsOfShardLanes(concurrency, shards)
  const inHand = Array.from({ length: shards }, () => ({
    calls: 0,
    messages: 0,
    records: 0,
    slow: 0,
  }))
  const count = (shard: number, lane: Lane, by: number): void => {
    const ofShard = inHand[shard]
    if (ofShard !== undefined) ofShard[lane] += by
  }
  return {
    async hold({ lane, shard }, work) {
      count(shard, lane, 1)
      try {
        return await work()
      } finally {
        count(shard, lane, -1)
      }
    },
    isRoomy: () =>
      inHand.every((ofShard) =>
        LANES.every((lane) => lane === 'slow' || ofShard[lane] < ROOMY_BELOW * slotsOf[lane]),
      ),
  }
}
