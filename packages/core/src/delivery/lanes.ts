import type { EventType } from '../event.ts'

/**
 * What waits in queues of its own: call control before messages before records (recordings, transcripts, statuses).
 * `slow` takes the deliveries of all types for destinations that answer slowly.
 */
export const LANES = ['calls', 'messages', 'records', 'slow'] as const
export type Lane = (typeof LANES)[number]

const LANE_OF: Readonly<Record<EventType, Exclude<Lane, 'slow'>>> = {
  call_started: 'calls',
  call_answered: 'calls',
  call_ended: 'calls',
  call_failed: 'calls',
  tool_call: 'calls',
  transfer_initiated: 'calls',
  sms_received: 'messages',
  mms_received: 'messages',
  opt_out: 'messages',
  operational: 'messages',
  unknown: 'messages',
  sms_status: 'records',
  mms_status: 'records',
  link_hit: 'records',
  recording_started: 'records',
  recording_completed: 'records',
  transcript: 'records',
}

/** Where an event's deliveries wait while their destination is not known to be slow. */
export function laneOf(type: EventType): Exclude<Lane, 'slow'> {
  return LANE_OF[type]
}

/** Each lane's share of a worker's slots: nothing that fills one takes a slot of another. */
const SHARES = { calls: 0.25, records: 0.15, slow: 0.2 } as const

/** Divides `total` attempts in flight among the lanes, one at least for each: of fewer than four, four are made. */
export function slotsOfLanes(total: number): Readonly<Record<Lane, number>> {
  const share = (part: number): number => Math.max(1, Math.floor(total * part))
  const calls = share(SHARES.calls)
  const records = share(SHARES.records)
  const slow = share(SHARES.slow)
  return { calls, records, slow, messages: Math.max(1, total - calls - records - slow) }
}

/** The same for each shard: one worker of BullMQ works on each lane of each. */
export function slotsOfShardLanes(total: number, shards: number): Readonly<Record<Lane, number>> {
  const { calls, records, slow, messages } = slotsOfLanes(total)
  const ofShard = (slots: number): number => Math.ceil(slots / shards)
  return {
    ...{ calls: ofShard(calls), records: ofShard(records) },
    ...{ slow: ofShard(slow), messages: ofShard(messages) },
  }
}
