import { LANES, type Lane, slotsOfLanes } from '@switchhook/core/delivery/lanes'
import { describe, expect, it } from 'vitest'
import { createSlots, type Slot } from './slots.ts'

const CONCURRENCY = 200
const OF_LANE = slotsOfLanes(CONCURRENCY)

/** Slots on a clock of their own, `shareOf` in place of a fleet, and one organization unless it is shared. */
function createBench(
  shareOf: (id: string, cap: number) => number = (_id, cap) => cap,
  isShared = false,
) {
  let now = 1_000_000
  const slots = createSlots({
    ...{ concurrency: CONCURRENCY, shareOf, nowMs: () => now, random: () => 0.5 },
    isShared: () => isShared,
  })
  /** `org/dst`: of another organization. */
  const destination = (id: string, maxConcurrency = 50) => ({
    ...{
      id,
      maxConcurrency,
      organizationId: id.includes('/') ? (id.split('/', 1)[0] ?? '') : 'org',
    },
  })
  return {
    slots,
    advance(ms: number) {
      now += ms
    },
    take: (id: string, lane: Lane = 'messages', cap = 50) =>
      slots.take(destination(id, cap), lane, 0),
    /** As many as there are, at most `atMost`. */
    takeAll(id: string, { lane = 'messages' as Lane, cap = 50, waits = 0, atMost = 500 } = {}) {
      const taken: Slot[] = []
      while (taken.length < atMost) {
        const answer = slots.take(destination(id, cap), lane, waits)
        if (answer.kind !== 'go') return taken
        taken.push(answer.slot)
      }
      return taken
    },
    /** One attempt that takes so long. */
    attempt(id: string, ms: number, lane: Lane = 'messages') {
      const answer = slots.take(destination(id), lane, 1)
      now += ms
      if (answer.kind === 'go') answer.slot.settle()
      return answer.kind
    },
  }
}

describe('a destination', () => {
  it('nothing is known of has a few slots, and its cap once an attempt came back quickly', () => {
    const bench = createBench()
    const first = bench.takeAll('dst_new')
    expect(first).toHaveLength(2)
    bench.advance(20)
    for (const slot of first) slot.settle()
    expect(bench.takeAll('dst_new')).toHaveLength(50)
  })

  it('never has more than its part of the cap', () => {
    const bench = createBench((_id, cap) => cap / 10)
    bench.attempt('dst_1', 5)
    expect(bench.takeAll('dst_1')).toHaveLength(5)
  })

  it('sends a call while a backlog of its records is put off', () => {
    const bench = createBench()
    bench.attempt('dst_1', 200)
    const records = bench.takeAll('dst_1', { lane: 'records' })
    for (let waiting = 0; waiting < 100; waiting += 1) bench.take('dst_1', 'records')
    bench.advance(200)
    for (const slot of records) slot.settle()
    expect(bench.take('dst_1', 'records').kind).toBe('wait')
    expect(bench.take('dst_1', 'calls').kind).toBe('go')
  })

  it('that hangs is sent to the slow lane before its first attempt has ended', () => {
    const bench = createBench()
    bench.attempt('dst_1', 5)
    bench.takeAll('dst_1', { atMost: 1 })
    bench.advance(300)
    expect(bench.takeAll('dst_1')).toHaveLength(1)
    bench.advance(800)
    expect(bench.take('dst_1')).toEqual({ kind: 'slow_lane' })
    expect(bench.take('dst_1', 'calls')).toEqual({ kind: 'slow_lane' })
  })

  it('leaves the slow lane after some quick attempts there', () => {
    const bench = createBench()
    expect(bench.attempt('dst_1', 10_000)).toBe('go')
    let attempts = 0
    while (bench.take('dst_1').kind === 'slow_lane') {
      expect(bench.attempt('dst_1', 5, 'slow')).toBe('go')
      attempts += 1
    }
    expect(attempts).toBeGreaterThan(3)
    expect(attempts).toBeLessThan(20)
  })

  it('gives back what it did not use, once, and learns nothing from it', () => {
    const bench = createBench()
    const [slot] = bench.takeAll('dst_1')
    bench.advance(10_000)
    slot?.giveBack()
    slot?.giveBack()
    slot?.settle()
    bench.advance(-10_000)
    expect(bench.takeAll('dst_1')).toHaveLength(1)
  })

  it('that asked for time gets nothing until it is over', () => {
    const bench = createBench()
    bench.attempt('dst_1', 5)
    bench.slots.slowDown('dst_1', 30_000)
    expect(bench.take('dst_1')).toMatchObject({ kind: 'wait' })
    expect(bench.take('dst_2').kind).toBe('go')
    bench.advance(30_000)
    expect(bench.takeAll('dst_1', { waits: 1 })).toHaveLength(1)
  })
})

describe('destinations that hang', () => {
  it('have a quarter of a lane in sum before they are known, half of it afterwards, however many they are', () => {
    const bench = createBench()
    bench.attempt('dst_healthy', 5)
    const takeOfAll = (from: number): number => {
      let held = 0
      for (let index = from; index < from + 500; index += 1) {
        held += bench.takeAll(`org${index}/dst_hung`).length
      }
      return held
    }
    expect(takeOfAll(0)).toBe(OF_LANE.messages / 4)
    bench.advance(500)
    expect(takeOfAll(500)).toBe(0)
    bench.advance(500)
    expect(takeOfAll(1_000)).toBe(OF_LANE.messages / 4)
    bench.advance(2_000)
    expect(takeOfAll(1_500)).toBe(0)
    expect(bench.takeAll('dst_healthy')).toHaveLength(50)
  })

  it('of one organization leave half of these places to the destinations of others', () => {
    const bench = createBench()
    const hang = (organization: string): number => {
      let held = 0
      for (let index = 0; index < 500; index += 1) {
        held += bench.takeAll(`${organization}/dst_${index}`, { atMost: 2 }).length
      }
      return held
    }
    expect(hang('loud')).toBe(OF_LANE.messages / 8)
    expect(bench.take('quiet/dst_new').kind).toBe('go')
  })

  it('have nothing but the slow lane afterwards, and one of them a quarter of that', () => {
    const bench = createBench()
    for (let index = 0; index < 10; index += 1) bench.attempt(`dst_hung${index}`, 10_000)
    for (const lane of LANES) {
      const taken = bench.takeAll('dst_hung1', { lane })
      expect(taken).toHaveLength(lane === 'slow' ? OF_LANE.slow / 4 : 0)
    }
  })

  it('hold few slots even when a hundred that were quick stop at once, at 200 deliveries a second', () => {
    const bench = createBench()
    for (let index = 0; index < 100; index += 1) bench.attempt(`dst_${index}`, 5)
    let held = 0
    for (let index = 0; index < 2_000; index += 1) {
      if (bench.take(`dst_${index % 100}`).kind === 'go') held += 1
      bench.advance(5)
    }
    expect(held).toBeLessThan(170)
  })
})

describe('a flood', () => {
  /** All that its quick destinations get, ten of them with a cap that is no hindrance. */
  function flood(bench: ReturnType<typeof createBench>, organization: string): Slot[] {
    const ids = Array.from({ length: 10 }, (_, index) => `${organization}/dst_${index}`)
    for (const id of ids) bench.attempt(id, 20)
    return ids.flatMap((id) => bench.takeAll(id))
  }

  it('of one organization leaves a quarter of the lane to the others, and two floods leave some, too', () => {
    const bench = createBench(undefined, true)
    const slots = OF_LANE.messages
    expect(flood(bench, 'loud')).toHaveLength((slots * 3) / 4)
    bench.attempt('quiet/dst', 20)
    expect(bench.take('quiet/dst').kind).toBe('go')
    flood(bench, 'louder')
    expect(bench.attempt('quieter/dst', 20)).toBe('go')
    expect(bench.takeAll('loud/dst_0', { waits: 1 })).toHaveLength(0)
  })

  it('of the only organization has every slot', () => {
    const bench = createBench()
    expect(flood(bench, 'loud').length).toBeGreaterThanOrEqual(OF_LANE.messages)
  })

  it('comes in its order, at the pace of what it has', () => {
    const bench = createBench(undefined, true)
    const taken = flood(bench, 'loud')
    const waits = Array.from({ length: 300 }, (_, index) => {
      const answer = bench.take(`loud/dst_${index % 10}`)
      return answer.kind === 'wait' ? answer.delayMs : Number.NaN
    })
    // 20 ms each, sixty at once: 300 of them take 100 ms. A tenth waits for its destination's cap instead.
    expect(waits.at(-1)).toBeGreaterThanOrEqual(90)
    expect(waits.at(-1)).toBeLessThan(200)
    expect(waits.at(-1)).toBeGreaterThan(waits[100] ?? 0)
    bench.advance(20)
    for (const slot of taken) slot.settle()
    expect(bench.takeAll('loud/dst_0', { waits: 1 })).toHaveLength(50)
  })
})
