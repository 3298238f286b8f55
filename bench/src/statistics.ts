/** The value below which this share of the sorted values lies; NaN for none. */
export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export function medianOf(values: readonly number[]): number {
  return percentile(Float64Array.from(values).sort(), 0.5)
}

export type Latencies = {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export function summarize(latenciesMs: Float64Array): Latencies {
  const sorted = latenciesMs.toSorted()
  return {
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    maxMs: sorted.at(-1) ?? Number.NaN,
  }
}

/** How fast things happened between the 10 % and the 90 % mark: without the start, without the tail. */
export type SteadyState = {
  readonly perSecond: number
  readonly count: number
  readonly fromMs: number
  readonly toMs: number
}

const FROM = 0.1
const TO = 0.9

export function findSteadyState(timesMs: Float64Array): SteadyState {
  const sorted = timesMs.toSorted()
  const fromMs = percentile(sorted, FROM)
  const toMs = percentile(sorted, TO)
  const count = Math.floor(sorted.length * TO) - Math.floor(sorted.length * FROM)
  return { perSecond: (count * 1_000) / (toMs - fromMs), count, fromMs, toMs }
}
