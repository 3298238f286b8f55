import { isIPv6 } from 'node:net'
import { LRUCache } from 'lru-cache'

/** Counts what fails verification, per sender; what verifies never asks it. */
export type FailureLimit = {
  /** Counts one more; true while the sender is within its bound. */
  count(address: string | null): boolean
}

const WINDOW_MS = 60_000
const MAX_SENDERS = 20_000

/** One sender has a whole /64 of IPv6. */
function senderOf(address: string | null): string {
  if (address === null) return ''
  return isIPv6(address) && !address.startsWith('::ffff:')
    ? address.split(':').slice(0, 4).join(':')
    : address
}

export function createFailureLimit(maxPerMinute: number): FailureLimit {
  const counts = new LRUCache<string, { failures: number }>({ max: MAX_SENDERS, ttl: WINDOW_MS })
  return {
    count(address) {
      const sender = senderOf(address)
      const entry = counts.get(sender) ?? { failures: 0 }
      if (entry.failures === 0) counts.set(sender, entry)
      entry.failures += 1
      return entry.failures <= maxPerMinute
    },
  }
}
