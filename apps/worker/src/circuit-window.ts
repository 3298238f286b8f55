/**
 * Attempts that may be under way at once to a destination nothing is known of yet, or that fails. All that are under
 * way when it dies are sent in vain: 100 requests suffice for a fleet of eleven workers.
 */
const COLD_LIMIT = 8
const MAX_LIMIT = 1_000
/** After this long without an attempt nothing is known of a destination any more. */
const COLD_AFTER_MS = 10_000
/** How long one waits in the worker, holding a slot of it, while others get through. */
const MAX_WAIT_MS = 500
/** Without a success for this long the destination hangs, and nobody waits for it in the worker. */
const STALLED_AFTER_MS = 250
const LONGEST_LINE_MS = 10_000

export type AttemptEnd = 'delivered' | 'failed' | 'unknown'

export type CircuitWindow = {
  /** May an attempt begin? A promise while others get through quickly enough to wait for them. */
  enter(): boolean | Promise<boolean>
  /** After `enter` said true; exactly once. */
  leave(end: AttemptEnd): void
  /** How long to wait elsewhere: each answer is another place in the line. */
  lineMs(): number
  /** After the circuit was closed: begins with one at a time. */
  startSlowly(): void
  /** Sends away those who wait, all of them or those who have waited for too long. */
  dismiss(whom: 'all' | 'overdue'): void
  hasWaiting(): boolean
}

type Waiting = { readonly sinceMs: number; readonly resolve: (isAdmitted: boolean) => void }

/**
 * How many attempts at one destination may be under way in this worker: few until it has answered, one more with each
 * success while the room is used (so double with each round trip), half with each failure. `nowMs` is a clock that only
 * runs forward.
 */
export function createCircuitWindow(nowMs: () => number): CircuitWindow {
  let limit = COLD_LIMIT
  let inFlight = 0
  let waiting: Waiting[] = []
  let busyAtMs = nowMs()
  /** Of the last success, or of the first attempt after a pause. */
  let progressAtMs = 0
  let lineEndsAtMs = 0

  const isStalled = (): boolean => nowMs() - progressAtMs > STALLED_AFTER_MS

  function admitWaiting(): void {
    while (inFlight < limit) {
      const next = waiting.shift()
      if (next === undefined) return
      inFlight += 1
      next.resolve(true)
    }
  }

  return {
    enter() {
      const atMs = nowMs()
      if (inFlight === 0) {
        if (atMs - busyAtMs > COLD_AFTER_MS) limit = Math.min(limit, COLD_LIMIT)
        progressAtMs = atMs
      }
      busyAtMs = atMs
      if (inFlight < limit && waiting.length === 0) {
        inFlight += 1
        return true
      }
      if (isStalled()) return false
      return new Promise((resolve) => waiting.push({ sinceMs: atMs, resolve }))
    },
    leave(end) {
      if (end === 'delivered') {
        progressAtMs = nowMs()
        if (inFlight * 2 >= limit) limit = Math.min(limit + 1, MAX_LIMIT)
      }
      if (end === 'failed' && limit > COLD_LIMIT) limit = Math.max(COLD_LIMIT, limit >> 1)
      inFlight -= 1
      admitWaiting()
    },
    lineMs() {
      const atMs = nowMs()
      // Nothing has come back for that long, so that one answer takes that long at least.
      const answerMs = Math.min(atMs - progressAtMs, LONGEST_LINE_MS)
      lineEndsAtMs = Math.max(atMs, lineEndsAtMs) + answerMs / limit
      return Math.min(lineEndsAtMs - atMs, LONGEST_LINE_MS)
    },
    startSlowly() {
      limit = 1
      progressAtMs = nowMs()
    },
    dismiss(whom) {
      const isOverdue = ({ sinceMs }: Waiting): boolean =>
        whom === 'all' || isStalled() || nowMs() - sinceMs > MAX_WAIT_MS
      const dismissed = waiting.filter(isOverdue)
      if (dismissed.length === 0) return
      waiting = waiting.filter((one) => !dismissed.includes(one))
      for (const { resolve } of dismissed) resolve(false)
    },
    hasWaiting: () => waiting.length > 0,
  }
}
