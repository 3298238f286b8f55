import { describe, expect, it } from 'vitest'
import { staleAtMs, waitUntilStale } from './freshness.ts'

describe('a delivery', () => {
  it('becomes stale freshness_seconds after it was owed, or never', () => {
    expect(staleAtMs({ createdAtMs: 1_000 }, { freshnessSeconds: 60 })).toBe(61_000)
    expect(staleAtMs({ createdAtMs: 1_000 }, { freshnessSeconds: null })).toBeUndefined()
  })

  it('that waits is looked at again as soon as it is stale', () => {
    expect(waitUntilStale(30_000, 61_000, 60_000)).toBe(1_001)
    expect(waitUntilStale(500, 61_000, 60_000)).toBe(500)
    expect(waitUntilStale(30_000, undefined, 60_000)).toBe(30_000)
    expect(waitUntilStale(30_000, 61_000, 99_000)).toBe(1)
  })
})
