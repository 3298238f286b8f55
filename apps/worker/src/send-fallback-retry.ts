const FIRST_RETRY_MS = 5_000
const MAX_RETRY_MS = 600_000

/** In milliseconds, after so many tries that failed: 5 s, doubled up to 10 min. */
export function mailRetryDelayMs(failedTries: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** Math.min(failedTries - 1, 10), MAX_RETRY_MS)
}
