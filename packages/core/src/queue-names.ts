import type { Lane } from './delivery/lanes.ts'

/** The names of the queues in Redis, and under which they are counted, with the shard behind. */
export const LANE_QUEUES: Readonly<Record<Lane, string>> = {
  calls: 'calls',
  messages: 'deliver',
  records: 'records',
  slow: 'slow',
}
export const FALLBACK_QUEUE = { name: 'fallback', prefix: '{switchhook:fallback}' } as const

/** A hash tag of its own per shard: on Redis Cluster all lanes of a shard live in one slot, and the shards spread. */
export const shardPrefix = (shard: number): string => `{switchhook:${shard}}`

/** FNV-1a, so that a destination is always on the same shard, in every process. */
export function shardOf(destinationId: string, shards: number): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < destinationId.length; index += 1) {
    hash = Math.imul(hash ^ destinationId.charCodeAt(index), 0x01000193) >>> 0
  }
  return hash % shards
}
