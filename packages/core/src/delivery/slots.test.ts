import { describe, expect, it } from 'vitest'
import {
  createDestinationSlots,
  type DestinationSlots,
  endAttempt,
  forgetAttempt,
  hasSlot,
  paceOf,
  queueUp,
  slowDown,
  startAttempt,
} from './slots.ts'

const START_MS = 1_000_000

/** As after attempts that took so long each, one after the other; and when the last ended. */
function afterAttempts(...tookMs: number[]): { slots: DestinationSlots; nowMs: number } {
  const slots = createDestinationSlots()
  let nowMs = START_MS
  for (const ms of tookMs) {
    const attempt = startAttempt(slots, nowMs)
    nowMs += ms
    endAttempt(slots, attempt, nowMs)
  }
  return { slots, nowMs }
}

describe('the pace of a destination', () => {
  it('is unproven until an attempt has ended', () => {
    const slots = createDestinationSlots()
    expect(paceOf(slots, START_MS)).toBe('unproven')
    const attempt = startAttempt(slots, START_MS)
    expect(paceOf(slots, START_MS + 100)).toBe('unproven')
    endAttempt(slots, attempt, START_MS + 100)
    expect(paceOf(slots, START_MS + 100)).toBe('fast')
  })

  it('is slow after attempts that took long, and fast again after as many quick ones as it needs', () => {
    expect(paceOf(afterAttempts(10_000).slots, START_MS + 10_000)).toBe('slow')
    const quick = Array.from({ length: 7 }, () => 5)
    const hung = afterAttempts(...quick, 10_000)
    expect(paceOf(hung.slots, hung.nowMs)).toBe('slow')
    const recovered = afterAttempts(...quick, 10_000, ...quick)
    expect(paceOf(recovered.slots, recovered.nowMs)).toBe('fast')
  })

  it('does not change to and fro near the limit', () => {
    const { slots, nowMs } = afterAttempts(1_100, 700, 700, 700, 700)
    expect(slots.latencyMs).toBeLessThan(1_000)
    expect(paceOf(slots, nowMs)).toBe('slow')
  })

  it('is noticed while an attempt hangs, not when it ends: unproven at first, then slow', () => {
    const { slots, nowMs } = afterAttempts(5, 5)
    startAttempt(slots, nowMs)
    expect(paceOf(slots, nowMs + 200)).toBe('fast')
    expect(paceOf(slots, nowMs + 300)).toBe('unproven')
    expect(paceOf(slots, nowMs + 1_100)).toBe('slow')
  })

  it('is that of the many when one attempt hangs', () => {
    const { slots, nowMs } = afterAttempts(5, 5)
    startAttempt(slots, nowMs)
    for (let at = nowMs; at < nowMs + 5_000; at += 100) {
      endAttempt(slots, startAttempt(slots, at), at + 5)
    }
    expect(paceOf(slots, nowMs + 5_000)).toBe('fast')
  })
})

describe('what asks for a slot', () => {
  it('has none above the limit, however often it waited', () => {
    const { slots, nowMs } = afterAttempts(5)
    for (let count = 0; count < 3; count += 1) {
      expect(hasSlot(slots, 3, 'messages', 0, nowMs)).toBe(true)
      startAttempt(slots, nowMs)
    }
    expect(hasSlot(slots, 3, 'messages', 0, nowMs)).toBe(false)
    expect(hasSlot(slots, 3, 'messages', 9, nowMs)).toBe(false)
    forgetAttempt(slots, 2)
    expect(hasSlot(slots, 3, 'messages', 0, nowMs)).toBe(true)
  })

  it('goes behind those who wait already, and before nobody when none are left', () => {
    const { slots, nowMs } = afterAttempts(200)
    startAttempt(slots, nowMs)
    expect(hasSlot(slots, 1, 'messages', 0, nowMs)).toBe(false)
    expect(queueUp(slots, 1, 'messages', 0, nowMs, 0.5)).toBe(210)
    expect(queueUp(slots, 1, 'messages', 0, nowMs, 0.5)).toBe(420)
    endAttempt(slots, 2, nowMs + 200)
    expect(hasSlot(slots, 1, 'messages', 0, nowMs + 200)).toBe(false)
    expect(hasSlot(slots, 1, 'messages', 1, nowMs + 200)).toBe(true)
    expect(hasSlot(slots, 1, 'messages', 0, nowMs + 1_300)).toBe(true)
  })

  it('is put off longer each time, never by nothing, never beyond a minute', () => {
    const { slots, nowMs } = afterAttempts(5)
    const waits = Array.from({ length: 30 }, (_, count) =>
      queueUp(slots, 50, 'messages', count, nowMs, 0.5),
    )
    expect(waits.slice(0, 5)).toEqual([10, 20, 40, 80, 160])
    expect(Math.max(...waits)).toBeLessThanOrEqual(30_000)
    const hung = afterAttempts(10_000)
    for (let count = 0; count < 1_000; count += 1) {
      const waitMs = queueUp(hung.slots, 2, 'messages', 0, hung.nowMs, Math.random())
      expect(waitMs).toBeLessThanOrEqual(60_000)
      expect(waitMs).toBeGreaterThanOrEqual(5_000)
    }
  })

  it('of a destination that is unproven waits briefly, however many others do: it will be known soon', () => {
    const slots = createDestinationSlots()
    startAttempt(slots, START_MS)
    for (let count = 0; count < 500; count += 1) {
      expect(queueUp(slots, 2, 'messages', 0, START_MS + 20, 0.5)).toBe(40)
    }
    expect(queueUp(slots, 2, 'messages', 3, START_MS + 20, 0.5)).toBe(320)
    // As long again as nothing has come back.
    expect(queueUp(slots, 2, 'messages', 0, START_MS + 200, 0.5)).toBe(200)
    expect(queueUp(slots, 2, 'messages', 0, START_MS + 900, 1)).toBe(1_350)
    endAttempt(slots, 1, START_MS + 400)
    expect(hasSlot(slots, 50, 'messages', 0, START_MS + 400)).toBe(true)
  })

  it('gets nothing while the destination asked for time, then half, then more with each answer', () => {
    const { slots, nowMs } = afterAttempts(5)
    const running = [1, 2, 3, 4, 5, 6].map(() => startAttempt(slots, nowMs))
    slowDown(slots, 10_000, nowMs)
    for (const attempt of running) endAttempt(slots, attempt, nowMs + 5)
    expect(hasSlot(slots, 50, 'messages', 5, nowMs + 9_999)).toBe(false)
    expect(queueUp(slots, 50, 'messages', 0, nowMs, 0.5)).toBeGreaterThanOrEqual(10_000)
    slots.allowance = 3
    const atMs = nowMs + 10_000
    for (let count = 0; count < 3; count += 1) startAttempt(slots, atMs)
    expect(hasSlot(slots, 50, 'messages', 1, atMs)).toBe(false)
    endAttempt(slots, running.length + 2, atMs + 5)
    expect(hasSlot(slots, 50, 'messages', 1, atMs + 5)).toBe(true)
    startAttempt(slots, atMs + 5)
    expect(hasSlot(slots, 50, 'messages', 1, atMs + 5)).toBe(true)
  })
})

/** Lets `count` deliveries come at once and plays the waits out, each attempt taking `tookMs`. */
function drain(count: number, limit: number, averageMs: number, tookMs = () => averageMs) {
  const { slots, nowMs } = afterAttempts(averageMs)
  const wakeUps = Array.from({ length: count }, () => 0)
  const order: number[] = []
  type Moment = { atMs: number; run: () => void }
  const moments: Moment[] = []
  let atMost = 0
  let now = nowMs
  const at = (atMs: number, run: () => void): void => void moments.push({ atMs, run })
  function ask(id: number): void {
    const waits = wakeUps[id] ?? 0
    wakeUps[id] = waits + 1
    if (!hasSlot(slots, limit, 'messages', waits, now)) {
      at(now + queueUp(slots, limit, 'messages', waits, now, Math.random()), () => ask(id))
      return
    }
    const attempt = startAttempt(slots, now)
    atMost = Math.max(atMost, slots.startedAtMs.size)
    order.push(id)
    at(now + tookMs(), () => endAttempt(slots, attempt, now))
  }
  for (let id = 0; id < count; id += 1) at(nowMs, () => ask(id))
  while (moments.length > 0) {
    moments.sort((one, other) => one.atMs - other.atMs)
    const next = moments.shift()
    now = next?.atMs ?? now
    next?.run()
  }
  return { atMost, wakeUps, order, tookMs: now - nowMs }
}

describe('a thousand deliveries that come at once', () => {
  it.each([
    ['a serial one', 1, 20, () => 20],
    ['a quick one', 50, 5, () => 5],
    ['one that is not steady', 10, 205, () => 5 + Math.random() * 400],
  ])(
    'for %s stay below its cap, wake up a few times each, and lose little of its time',
    (_, limit, averageMs, tookMs) => {
      const result = drain(1_000, limit, averageMs, tookMs)
      expect(result.order).toHaveLength(1_000)
      expect(result.atMost).toBeLessThanOrEqual(limit)
      const sum = result.wakeUps.reduce((all, count) => all + count, 0)
      expect(sum / 1_000).toBeLessThan(5)
      expect(Math.max(...result.wakeUps)).toBeLessThan(15)
      expect(result.tookMs).toBeLessThan(1.5 * ((1_000 * averageMs) / limit) + 500)
    },
  )

  it('for one that hangs wake up once or twice a minute', () => {
    const result = drain(1_000, 5, 10_000)
    expect(result.atMost).toBeLessThanOrEqual(5)
    expect(Math.max(...result.wakeUps)).toBeLessThan((2.5 * result.tookMs) / 60_000)
    expect(result.tookMs).toBeLessThan(1.5 * 2_000_000)
  })

  it('keep their order, roughly', () => {
    const { order } = drain(1_000, 1, 20)
    const place = new Map(order.map((id, index) => [id, index]))
    const shifts = order.map((id) => Math.abs(id - (place.get(id) ?? 0)))
    const average = shifts.reduce((all, shift) => all + shift, 0) / order.length
    expect(average).toBeLessThan(20)
  })
})
