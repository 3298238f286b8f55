import { describe, expect, it } from 'vitest'
import { EVENT_TYPES } from '../event.ts'
import { LANES, laneOf, slotsOfLanes } from './lanes.ts'

describe('the lane of an event', () => {
  it('is that of call control, messages or records, for every type, and never the slow one', () => {
    const lanes = Object.groupBy(EVENT_TYPES, laneOf)
    expect(lanes.calls).toContain('call_started')
    expect(lanes.messages).toContain('sms_received')
    expect(lanes.records).toEqual(
      expect.arrayContaining(['transcript', 'recording_completed', 'sms_status']),
    )
    expect(Object.keys(lanes).toSorted()).toEqual(['calls', 'messages', 'records'])
  })
})

describe('the slots of a worker', () => {
  it('are divided among the lanes without one left over or lent', () => {
    for (const total of [4, 5, 7, 20, 100, 200, 400, 9_999]) {
      const slots = slotsOfLanes(total)
      const sum = LANES.reduce((all, lane) => all + slots[lane], 0)
      expect(sum).toBe(total)
      expect(Math.min(...Object.values(slots))).toBeGreaterThanOrEqual(1)
    }
  })

  it('are one for each lane however few there are', () => {
    expect(slotsOfLanes(1)).toEqual({ calls: 1, messages: 1, records: 1, slow: 1 })
  })
})
