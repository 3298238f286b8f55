import { beforeEach, describe, expect, it } from 'vitest'
import { type CircuitCounts, createCircuitCounts } from './circuit-counts.ts'

let counts: CircuitCounts
let nowMs: number

beforeEach(() => {
  counts = createCircuitCounts()
  nowMs = 1_000_000
})

function fail(count: number, deliveries: number): void {
  for (let index = 0; index < count; index += 1) counts.failed(nowMs, `dlv_${index % deliveries}`)
}

function succeed(count: number): void {
  for (let index = 0; index < count; index += 1) counts.succeeded(nowMs)
}

describe('a destination counts as broken', () => {
  it('when more than ten attempts failed, of three deliveries, and not before', () => {
    fail(10, 3)
    expect(counts.isBroken(nowMs)).toBe(false)
    fail(1, 1)
    expect(counts.isBroken(nowMs)).toBe(true)
  })

  it('never by the failures of one delivery, or of two', () => {
    fail(60, 1)
    fail(60, 2)
    expect(counts.isBroken(nowMs)).toBe(false)
  })

  it('only when at least half of the attempts failed', () => {
    succeed(12)
    fail(11, 3)
    expect(counts.isBroken(nowMs)).toBe(false)
    fail(1, 1)
    expect(counts.isBroken(nowMs)).toBe(true)
  })

  it('only by failures within 60 s, and of deliveries that failed within 60 s', () => {
    fail(10, 3)
    nowMs += 61_000
    fail(10, 3)
    expect(counts.isBroken(nowMs)).toBe(false)
    nowMs += 61_000
    fail(20, 1)
    expect(counts.isBroken(nowMs)).toBe(false)
  })

  it('for as long as the failures are new', () => {
    fail(11, 3)
    nowMs += 50_000
    expect(counts.isBroken(nowMs)).toBe(true)
    nowMs += 10_000
    expect(counts.isBroken(nowMs)).toBe(false)
  })
})

describe('successes', () => {
  it('are told once, with their age', () => {
    succeed(3)
    nowMs += 10_000
    succeed(2)
    expect(counts.takeUntold(nowMs)).toEqual([
      [0, 2],
      [2, 3],
    ])
    expect(counts.takeUntold(nowMs)).toEqual([])
    succeed(1)
    expect(counts.takeUntold(nowMs)).toEqual([[0, 1]])
  })

  it('that are too old are not told', () => {
    succeed(3)
    nowMs += 60_000
    expect(counts.takeUntold(nowMs)).toEqual([])
  })
})
