/**
 * When a delivery becomes too old to be sent, in ms since 1970; undefined: never. Counted from when it was owed, so that
 * a replay of an old event is sent all the same.
 */
export function staleAtMs(
  { createdAtMs }: { readonly createdAtMs: number },
  { freshnessSeconds }: { readonly freshnessSeconds: number | null },
): number | undefined {
  return freshnessSeconds === null ? undefined : createdAtMs + freshnessSeconds * 1_000
}

/** A wait that ends, at the latest, when there is nothing more to wait for. */
export function waitUntilStale(
  delayMs: number,
  staleMs: number | undefined,
  nowMs: number,
): number {
  return staleMs === undefined ? delayMs : Math.min(delayMs, Math.max(1, staleMs + 1 - nowMs))
}
