import { RULE } from '@switchhook/core/circuits-scripts'

export type CircuitCounts = {
  succeeded(nowMs: number): void
  failed(nowMs: number, deliveryId: string): void
  /** Successes that the fleet was not told yet: pairs of how many buckets ago and how many. They count as told now. */
  takeUntold(nowMs: number): (readonly [number, number])[]
  /** Would the circuit open by what this worker alone has seen? */
  isBroken(nowMs: number): boolean
  clear(): void
}

const SLOTS = RULE.buckets

/**
 * What this worker saw of one destination within 60 s, in buckets of 5 s: a success costs an addition and nothing
 * else. opossum's own counts would not do: they take every error for a failure, also one that is our own fault.
 */
export function createCircuitCounts(): CircuitCounts {
  const successes = new Uint32Array(SLOTS)
  const told = new Uint32Array(SLOTS)
  const failures = new Uint32Array(SLOTS)
  /** The deliveries that failed last, each once, the latest at the end, with the time. */
  const failedDeliveries = new Map<string, number>()
  let bucket = 0

  /** Forgets what is too old; returns the slot of now. */
  function turnTo(nowMs: number): number {
    const current = Math.floor(nowMs / RULE.bucketMs)
    for (let passed = Math.max(bucket + 1, current - SLOTS + 1); passed <= current; passed += 1) {
      const slot = passed % SLOTS
      successes[slot] = 0
      told[slot] = 0
      failures[slot] = 0
    }
    bucket = current
    return current % SLOTS
  }

  const sum = (counts: Uint32Array): number => counts.reduce((total, count) => total + count, 0)

  return {
    succeeded(nowMs) {
      const slot = turnTo(nowMs)
      successes[slot] = (successes[slot] ?? 0) + 1
    },
    failed(nowMs, deliveryId) {
      const slot = turnTo(nowMs)
      failures[slot] = (failures[slot] ?? 0) + 1
      failedDeliveries.delete(deliveryId)
      failedDeliveries.set(deliveryId, nowMs)
      if (failedDeliveries.size > RULE.minDeliveries) {
        const [oldest] = failedDeliveries.keys()
        failedDeliveries.delete(oldest ?? '')
      }
    },
    takeUntold(nowMs) {
      turnTo(nowMs)
      const untold: (readonly [number, number])[] = []
      for (let age = 0; age < Math.min(SLOTS, bucket + 1); age += 1) {
        const slot = (bucket - age) % SLOTS
        const count = (successes[slot] ?? 0) - (told[slot] ?? 0)
        if (count > 0) untold.push([age, count])
        told[slot] = successes[slot] ?? 0
      }
      return untold
    },
    isBroken(nowMs) {
      turnTo(nowMs)
      const recent = [...failedDeliveries.values()].filter((atMs) => nowMs - atMs < RULE.windowMs)
      const failed = sum(failures)
      return (
        failed > RULE.moreFailuresThan &&
        recent.length >= RULE.minDeliveries &&
        failed >= sum(successes)
      )
    },
    clear() {
      failures.fill(0)
      failedDeliveries.clear()
    },
  }
}
