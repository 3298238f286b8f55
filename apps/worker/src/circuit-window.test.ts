import { beforeEach, describe, expect, it } from 'vitest'
import { type CircuitWindow, createCircuitWindow } from './circuit-window.ts'

let window: CircuitWindow
let nowMs: number

beforeEach(() => {
  nowMs = 1_000_000
  window = createCircuitWindow(() => nowMs)
})

/** How many attempts may begin right now; those that would have to wait are sent away. */
function enterAll(): number {
  let entered = 0
  for (let tries = 0; tries < 5_000; tries += 1) {
    if (window.enter() !== true) break
    entered += 1
  }
  window.dismiss('all')
  return entered
}

function leaveAll(howMany: number, end: 'delivered' | 'failed'): void {
  for (let index = 0; index < howMany; index += 1) window.leave(end)
}

/** Until it is `size`, or so. */
function growTo(size: number): void {
  for (let rounds = 0; rounds < 50; rounds += 1) {
    const entered = enterAll()
    leaveAll(entered, 'delivered')
    if (entered >= size) return
  }
}

describe('the window', () => {
  it('lets eight begin while nothing is known', () => {
    expect(enterAll()).toBe(8)
  })

  it('grows with every success while it is used, as far as a thousand', () => {
    leaveAll(enterAll(), 'delivered')
    const grown = enterAll()
    expect(grown).toBeGreaterThanOrEqual(10)
    leaveAll(grown, 'delivered')
    growTo(1_000)
    expect(enterAll()).toBeLessThanOrEqual(1_000)
  })

  it('does not grow by attempts one after the other', () => {
    for (let count = 0; count < 100; count += 1) {
      expect(window.enter()).toBe(true)
      window.leave('delivered')
    }
    expect(enterAll()).toBe(8)
  })

  it('is halved by a failure, down to eight', () => {
    growTo(100)
    const before = enterAll()
    leaveAll(1, 'failed')
    leaveAll(before - 1, 'failed')
    expect(enterAll()).toBe(8)
  })

  it('begins anew when nothing was sent for ten seconds', () => {
    growTo(100)
    nowMs += 10_001
    expect(enterAll()).toBe(8)
  })

  it('begins with one, then two, then four, after its circuit closed', () => {
    window.startSlowly()
    const sizes = [1, 2, 3, 4].map(() => {
      const entered = enterAll()
      leaveAll(entered, 'delivered')
      return entered
    })
    expect(sizes[0]).toBe(1)
    expect(sizes[1]).toBe(2)
    expect(sizes[3]).toBeLessThanOrEqual(8)
  })
})

describe('who finds no room', () => {
  it('waits for the next that leaves, in order', async () => {
    enterAll()
    const [first, second] = [window.enter(), window.enter()]
    window.leave('failed')
    expect(await first).toBe(true)
    window.leave('failed')
    expect(await second).toBe(true)
  })

  it('is sent away when nobody gets through any more', async () => {
    enterAll()
    const waiting = window.enter()
    window.dismiss('overdue')
    expect(window.hasWaiting()).toBe(true)
    nowMs += 251
    window.dismiss('overdue')
    expect(await waiting).toBe(false)
    expect(window.enter()).toBe(false)
    expect(window.hasWaiting()).toBe(false)
  })

  it('is sent away after half a second even when others do', async () => {
    enterAll()
    const waiting = [window.enter(), window.enter(), window.enter(), window.enter()]
    nowMs += 240
    window.leave('delivered')
    nowMs += 240
    window.leave('failed')
    nowMs += 30
    window.dismiss('overdue')
    expect(await waiting.at(-1)).toBe(false)
  })

  it('is told a later time each, at the pace at which the destination answers', () => {
    enterAll()
    nowMs += 4_000
    // Eight at once, none back for 4 s: two per second.
    expect([window.lineMs(), window.lineMs(), window.lineMs()]).toEqual([500, 1_000, 1_500])
  })
})
