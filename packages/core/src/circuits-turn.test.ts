import { describe, expect, it } from 'vitest'
import { turnOffsetMs } from './circuits-turn.ts'

function turnsPerSecond(turns: number, ratePerSecond: number | null): number[] {
  const counts: number[] = []
  for (let turn = 0; turn < turns; turn += 1) {
    const second = Math.floor(turnOffsetMs(turn, ratePerSecond) / 1000)
    counts[second] = (counts[second] ?? 0) + 1
  }
  return counts
}

describe('the turns of waiting deliveries', () => {
  it('begin with one, at once', () => {
    expect(turnOffsetMs(0, null)).toBe(0)
    expect(turnOffsetMs(0, 0.1)).toBe(0)
  })

  it('double from second to second, up to 500 per second', () => {
    const counts = turnsPerSecond(10_000, null)
    expect(counts.slice(0, 5)).toEqual([2, 3, 6, 11, 23])
    expect(Math.max(...counts)).toBeLessThanOrEqual(501)
    expect(counts.length).toBeLessThan(30)
  })

  it('never come faster than the destination wants', () => {
    expect(Math.max(...turnsPerSecond(200, 10))).toBeLessThanOrEqual(11)
    expect(turnOffsetMs(10, 0.5)).toBe(20_000)
  })

  it('are in order', () => {
    const offsets = Array.from({ length: 5_000 }, (_, turn) => turnOffsetMs(turn, null))
    expect(offsets).toEqual(offsets.toSorted((a, b) => a - b))
  })
})
