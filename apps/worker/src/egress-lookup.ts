import { type LookupAddress, lookup } from 'node:dns'
import { LRUCache } from 'lru-cache'
import type { ResolveHost } from './egress-agent.ts'

type Answer = { readonly error: NodeJS.ErrnoException | null; readonly addresses: LookupAddress[] }
type Callback = Parameters<ResolveHost>[2]

const MAX_HOSTS = 10_000
/** A look-up says nothing of how long it is good for; a destination that moves is found again soon. */
const FOUND_FOR_MS = 5_000
const MISSED_FOR_MS = 1_000

/**
 * Looks each host up once at a time, and remembers the answer for a moment. `dns.lookup` occupies one of the few
 * threads that all look-ups of the process share, for as long as the host's name server likes: a hundred attempts at a
 * host whose name server hangs must not occupy them all. Whoever connects judges the addresses each time.
 */
export function createSharedLookup(
  resolve: ResolveHost = lookup,
  nowMs: () => number = () => performance.now(),
): ResolveHost {
  const known = new LRUCache<string, Answer & { readonly untilMs: number }>({ max: MAX_HOSTS })
  const waiting = new Map<string, Callback[]>()

  return function sharedLookup(host, options, callback) {
    const key = `${host} ${options.family ?? 0} ${options.hints ?? 0}`
    const found = known.get(key)
    if (found !== undefined && nowMs() < found.untilMs) {
      // Never at once: that is what callers of a resolver count on.
      setImmediate(callback, found.error, found.addresses)
      return
    }
    const others = waiting.get(key)
    if (others !== undefined) {
      others.push(callback)
      return
    }
    const callbacks = [callback]
    waiting.set(key, callbacks)
    resolve(host, options, (error, addresses) => {
      waiting.delete(key)
      const goodForMs = error === null ? FOUND_FOR_MS : MISSED_FOR_MS
      known.set(key, { error, addresses, untilMs: nowMs() + goodForMs })
      for (const one of callbacks) one(error, addresses)
    })
  }
}
