/** The most that one step makes: bounds its transaction. */
const MAX_BATCH = 200

/** What a replay may make now, and from when on the next step counts. */
export type ReplayAllowance = { readonly count: number; readonly pacedAtMs: number }

/**
 * As many as the rate has room for since `pacedAtMs`, which is in the past. What was not made within a second, because
 * the destination was paused or no worker ran, is not made up for in a burst.
 */
export function replayAllowance(
  ratePerSecond: number,
  pacedAtMs: number,
  nowMs: number,
): ReplayAllowance {
  const perDeliveryMs = 1_000 / ratePerSecond
  const savedMs = Math.max(0, Math.min(nowMs - pacedAtMs, Math.max(1_000, 2 * perDeliveryMs)))
  const count = Math.min(MAX_BATCH, Math.floor(savedMs / perDeliveryMs))
  // Rounded up: a stored time is whole, and the rate is a limit.
  return { count, pacedAtMs: Math.min(nowMs, Math.ceil(nowMs - savedMs + count * perDeliveryMs)) }
}
