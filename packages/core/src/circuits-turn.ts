/** Of a destination that sets no rate of its own. */
const DEFAULT_RATE_PER_SECOND = 500

/**
 * When, after the probe, the waiting delivery number `turn` (from 0, over the whole fleet) comes, in milliseconds: at
 * 1, 2, 4, 8 … per second, up to the destination's rate. The first one comes at once and is the probe itself; if it
 * succeeds, nobody has to be told anything: all others are on their way, and not as a burst.
 */
export function turnOffsetMs(turn: number, ratePerSecond: number | null): number {
  const topRate = ratePerSecond ?? DEFAULT_RATE_PER_SECOND
  const firstRate = Math.min(1, topRate)
  // A rate of firstRate · 2^t has let (2^t - 1) · firstRate / ln 2 through after t seconds.
  const turnAtTopRate = (topRate - firstRate) / Math.LN2
  const rampedTurn = Math.min(turn, turnAtTopRate)
  const rampSeconds = Math.log2(1 + (rampedTurn * Math.LN2) / firstRate)
  return Math.round(1000 * (rampSeconds + (turn - rampedTurn) / topRate))
}
