import { randomUUID } from 'node:crypto'
import type { RedisConnection } from '@switchhook/core/redis'
import { LRUCache } from 'lru-cache'
import type { Slots } from './slots.ts'

const CHANNEL = 'switchhook:slow-down'
const MAX_DESTINATIONS = 10_000
/** All that are under way may answer 429: the first one tells, and who asks for this much more. */
const WORTH_TELLING_MS = 250
/** Not our word alone: who is at a Redis prompt must not stop a destination. */
const MAX_MS = 60_000

type Message = { readonly from: string; readonly id: string; readonly forMs: number }

/** Undefined for what a person at a Redis prompt may have sent. */
function parseMessage(text: string): Message | undefined {
  try {
    const message: Message = JSON.parse(text)
    return typeof message.id === 'string' && message.forMs > 0 ? message : undefined
  } catch {
    return undefined
  }
}

export type SlowDownDeps = {
  readonly slots: Pick<Slots, 'slowDown'>
  readonly connection: RedisConnection
  /** A connection that does nothing but listen. */
  readonly subscriber: RedisConnection
  readonly nowMs: () => number
}

/**
 * What a destination asks of one worker with a 429 is heeded by all: told by a message, which costs nothing where
 * nobody answers 429. A lost one costs a request and another 429.
 */
export function shareSlowDowns(deps: SlowDownDeps): Pick<Slots, 'slowDown'> {
  const { slots, connection, subscriber } = deps
  const self = randomUUID()
  const untilMs = new LRUCache<string, number>({ max: MAX_DESTINATIONS })

  subscriber.on('message', (channel: string, text: string) => {
    const message = channel === CHANNEL ? parseMessage(text) : undefined
    if (message === undefined || message.from === self) return
    const forMs = Math.min(message.forMs, MAX_MS)
    untilMs.set(message.id, deps.nowMs() + forMs)
    slots.slowDown(message.id, forMs)
  })
  subscriber.subscribe(CHANNEL).catch(() => undefined) // ioredis subscribes again when it connects.

  return {
    slowDown(id, forMs) {
      slots.slowDown(id, forMs)
      const endsAtMs = deps.nowMs() + forMs
      if (endsAtMs - (untilMs.get(id) ?? 0) < WORTH_TELLING_MS) return
      untilMs.set(id, endsAtMs)
      connection.publish(CHANNEL, JSON.stringify({ from: self, id, forMs })).catch(() => undefined)
    },
  }
}
