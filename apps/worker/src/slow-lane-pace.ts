import { setTimeout as sleep } from 'node:timers/promises'
import { slotsOfLanes } from '@switchhook/core/delivery/lanes'

/** What answers more quickly than this is not slow, so that the lane's slots can carry one attempt each in that time. */
const SLOW_ATTEMPT_MS = 1_000
/** However few slots there are, what an open circuit holds back is put off fifty times a second. */
const LONGEST_STEP_MS = 20

/**
 * Spreads what begins in the slow lane. When the circuits of destinations that hang open together, all that waited for
 * a slot there would be put off at once, thousands in a second or two, and whoever is in the other lanes would wait for
 * the CPU (bench `isolation`). Returns what each run awaits first.
 */
export function createSlowLanePace(concurrency: number, nowMs: () => number): () => Promise<void> {
  const stepMs = Math.min(LONGEST_STEP_MS, SLOW_ATTEMPT_MS / slotsOfLanes(concurrency).slow)
  let nextMs = 0
  return async () => {
    const atMs = nowMs()
    const beginsAtMs = Math.max(atMs, nextMs)
    nextMs = beginsAtMs + stepMs
    if (beginsAtMs - atMs >= 1) await sleep(beginsAtMs - atMs)
  }
}
