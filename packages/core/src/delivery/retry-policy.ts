import type { RetryPolicy } from '../event.ts'
import type { AttemptResult } from './attempt.ts'

/** contract.md: about 3.5 hours in all. */
export const DEFAULT_RETRY: RetryPolicy = {
  maxAttempts: 10,
  delaysSeconds: [5, 15, 45, 135, 405, 1215, 3600, 3600, 3600],
  jitter: true,
}

const JITTER = 0.2
const MAX_RETRY_AFTER_MS = 3_600_000
const MAX_DELAY_MS = 7 * 86_400_000
/** A 429 that does not say for how long. */
const SLOW_DOWN_MS = 1_000
const MAX_SLOW_DOWN_MS = 60_000

/** The last delay stands for all attempts beyond the list. */
function plannedDelayMs(policy: RetryPolicy, failedAttempt: number): number {
  const index = Math.min(Math.max(failedAttempt, 1), policy.delaysSeconds.length) - 1
  return (policy.delaysSeconds[index] ?? 0) * 1000
}

/**
 * How long to wait after `failedAttempt` (from 1), in whole milliseconds. `random` is in [0, 1). A destination's
 * Retry-After may lengthen the wait up to an hour, never shorten it. Always finite and never negative: BullMQ would
 * retry in a hot loop on NaN.
 */
export function retryDelayMs(
  policy: RetryPolicy,
  failedAttempt: number,
  retryAfterMs: number | null,
  random: number,
): number {
  const planned = plannedDelayMs(policy, failedAttempt)
  const spread = policy.jitter ? planned * (1 - JITTER + 2 * JITTER * random) : planned
  const asked =
    retryAfterMs !== null && Number.isFinite(retryAfterMs)
      ? Math.min(retryAfterMs, MAX_RETRY_AFTER_MS)
      : 0
  const delayMs = Math.min(Math.max(spread, asked), MAX_DELAY_MS)
  return Number.isFinite(delayMs) ? Math.max(0, Math.round(delayMs)) : MAX_RETRY_AFTER_MS
}

/** The longest the whole schedule can take: past it, a delivery that is still held back goes to its fallback. */
export function wholeScheduleMs(policy: RetryPolicy): number {
  let sumMs = 0
  for (let attempt = 1; attempt < policy.maxAttempts; attempt += 1) {
    sumMs += plannedDelayMs(policy, attempt)
  }
  return Math.round(sumMs * (policy.jitter ? 1 + JITTER : 1))
}

/**
 * For how long a destination wants less of everything, not only of the delivery at hand: what it asked for with a 429,
 * between a second and a minute. 0 for any other answer: a 503 says that it is down, which is the circuit's matter.
 */
export function slowDownMs({
  statusCode,
  retryAfterMs,
}: Pick<AttemptResult, 'statusCode' | 'retryAfterMs'>): number {
  if (statusCode !== 429) return 0
  return Math.min(Math.max(retryAfterMs ?? 0, SLOW_DOWN_MS), MAX_SLOW_DOWN_MS)
}

/** Retry-After as seconds or as an HTTP date (RFC 9110 §10.2.3), in milliseconds from `nowMs`; null for anything else. */
export function parseRetryAfter(header: string | undefined, nowMs: number): number | null {
  const text = header?.trim() ?? ''
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1000, Number.MAX_SAFE_INTEGER)
  if (!/^[A-Za-z]{3,9},? /.test(text)) return null
  // Of the three forms of a date the oldest (asctime) names no zone; all are GMT.
  const atMs = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`)
  return Number.isNaN(atMs) ? null : Math.max(0, atMs - nowMs)
}
