import type { Lane } from './delivery/lanes.ts'
import type { Queues, WaitingDelivery } from './queue.ts'
import type { RedisConnection } from './redis.ts'

const DESTINATIONS = '{switchhook:parked}:destinations'
const parkedKey = (destinationId: string): string => `{switchhook:parked}:${destinationId}`
const AT_ONCE = 200
/** A delivery as a member of a set. */
export const toMember = ({ lane, deliveryId }: WaitingDelivery): string => `${lane} ${deliveryId}`
export function ofMember(member: string): WaitingDelivery {
  const [lane, deliveryId = ''] = member.split(' ')
  return { lane: lane as Lane, deliveryId }
}
/** A note that outlives its delivery costs nothing but its memory. */
const KEEP_SECONDS = 35 * 86_400

/** Both or neither: a destination that nobody remembers would wake up its deliveries minutes later. */
const PARK = `
redis.call('zadd', KEYS[2], ARGV[2], ARGV[3])
redis.call('expire', KEYS[2], ARGV[4])
return redis.call('sadd', KEYS[1], ARGV[1])`

/** Deliveries of paused destinations: which they are, so that they can be woken up together, the oldest first. */
export type ParkedDeliveries = {
  note(
    destinationId: string,
    delivery: WaitingDelivery & { readonly createdAtMs: number },
  ): Promise<void>
  /** Those that have deliveries parked. */
  findDestinations(): Promise<string[]>
  /** Wakes up all that are parked now; returns how many there were. */
  wake(destinationId: string): Promise<number>
}

export function createParkedDeliveries(
  connection: RedisConnection,
  queues: Pick<Queues, 'promote'>,
): ParkedDeliveries {
  return {
    async note(destinationId, { deliveryId, lane, createdAtMs }) {
      const key = parkedKey(destinationId)
      const member = toMember({ lane, deliveryId })
      await connection.eval(
        PARK,
        2,
        DESTINATIONS,
        key,
        destinationId,
        createdAtMs,
        member,
        KEEP_SECONDS,
      )
    },
    findDestinations: () => connection.smembers(DESTINATIONS),
    async wake(destinationId) {
      // Forgotten first: what is parked from now on is noted anew.
      await connection.srem(DESTINATIONS, destinationId)
      let count = 0
      for (;;) {
        const taken = await connection.zpopmin(parkedKey(destinationId), AT_ONCE)
        // Flat or in pairs, as the protocol has it.
        const members = taken.flat().filter((_, index) => index % 2 === 0)
        if (members.length === 0) return count
        count += members.length
        const waiting = members.map((member) => ofMember(String(member)))
        await queues.promote(destinationId, waiting)
      }
    },
  }
}
