const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** When an owner is told that nothing but failure comes from a destination, counted from the first failure. */
export const WARN_AFTER_MS: readonly number[] = [DAY_MS, 4 * DAY_MS]
/** When it is disabled. */
export const DISABLE_AFTER_MS = 5 * DAY_MS
/** After each warning its owner has at least this long, even if the gateway itself was away when it was due. */
const NOTICE_MS = 20 * HOUR_MS
/** A destination of which nothing was heard for longer is not one that fails: it is one that nothing was sent to. */
export const SILENT_AFTER_MS = 2 * DAY_MS

/** Of one destination, since it last took something. */
export type Failing = {
  readonly failingSinceMs: number
  readonly lastFailedAtMs: number
  /** How many of the warnings its owner was given. */
  readonly warnings: number
  readonly warnedAtMs: number | null
}

/** What is due for a destination that does nothing but fail; no step is ever left out. */
export function failingStep(failing: Failing, nowMs: number): 'none' | 'warn' | 'disable' {
  const { failingSinceMs, lastFailedAtMs, warnings, warnedAtMs } = failing
  if (nowMs - lastFailedAtMs > SILENT_AFTER_MS) return 'none'
  if (warnedAtMs !== null && nowMs - warnedAtMs < NOTICE_MS) return 'none'
  const warnAfterMs = WARN_AFTER_MS[warnings]
  if (warnAfterMs !== undefined) return nowMs - failingSinceMs >= warnAfterMs ? 'warn' : 'none'
  return nowMs - failingSinceMs >= DISABLE_AFTER_MS ? 'disable' : 'none'
}
