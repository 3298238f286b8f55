import { setTimeout as sleep } from 'node:timers/promises'
import type { Product } from './product.ts'

/** Something that answers at once while the machine runs. */
export type Look = () => Promise<unknown>

type Looked = 'ingress' | 'postgres' | 'redis'

/** What is asked all the time whether the machine goes on, with the disk of a store: what the test leaves alone. */
export function looksAt(
  product: Pick<Product, 'ingress' | 'spool' | 'database'>,
  whichever: readonly Looked[] = ['postgres', 'redis'],
): Look[] {
  const looks: Record<Looked, Look> = {
    ingress: async () => product.ingress().look('/healthz'),
    postgres: () =>
      product.database.pool.query(`select pg_logical_emit_message(true, 'still there', '')`),
    redis: () => product.spool.length(),
  }
  return whichever.map((one) => looks[one])
}

export type Standstills = {
  /** For how many ms, between two instants of `performance.now()`, something did not answer. Ask after `stop`. */
  within(fromMs: number, toMs: number): number
  stop(): Promise<void>
}

type Span = readonly [fromMs: number, toMs: number]

const LOOK_EVERY_MS = 50
/** What answers within this time does not stand still; of what takes longer only the rest counts. */
const MOVING_MS = 100

/**
 * Notes when this process, or what one of the looks asks, stood still: a shared machine stops for a moment now and then,
 * and no product keeps a deadline meanwhile. Look at nothing that the test itself breaks: that would be excused.
 */
export function watchStandstills(looks: readonly Look[]): Standstills {
  const stopping = new AbortController()
  const spans: Span[] = []

  async function keepLooking(look: Look): Promise<void> {
    while (!stopping.signal.aborted) {
      const fromMs = performance.now()
      await look().catch(() => undefined)
      await sleep(LOOK_EVERY_MS)
      const stillFromMs = fromMs + LOOK_EVERY_MS + MOVING_MS
      const toMs = performance.now()
      if (toMs > stillFromMs) spans.push([stillFromMs, toMs])
    }
  }
  const looking = [async () => undefined, ...looks].map(keepLooking)

  return {
    within(fromMs, toMs) {
      let sum = 0
      let countedToMs = fromMs
      for (const [from, to] of spans.toSorted(([one], [other]) => one - other)) {
        const endMs = Math.min(to, toMs)
        sum += Math.max(0, endMs - Math.max(from, countedToMs))
        countedToMs = Math.max(countedToMs, endMs)
      }
      return sum
    },
    async stop() {
      stopping.abort()
      await Promise.all(looking)
    },
  }
}
