import { beforeEach, describe, expect, it } from 'vitest'
import { createOutcomeLog, type OutcomeLog } from './disable-destination-outcomes.ts'

let clockMs = 0
let outcomes: OutcomeLog
beforeEach(() => {
  clockMs = 0
  outcomes = createOutcomeLog(() => clockMs)
})

function note(atMs: number, isDelivered: boolean): void {
  clockMs = atMs
  outcomes.note('dst_a', isDelivered)
}

const seen = () => outcomes.take().get('dst_a')

describe('what a worker saw of a destination', () => {
  it('is the first and the last failure', () => {
    for (const atMs of [1, 2, 3]) note(atMs, false)
    expect(seen()).toEqual({ deliveredAtMs: null, failed: { firstAtMs: 1, lastAtMs: 3 } })
    expect(seen()).toBeUndefined()
  })

  it('is the last success and the failures after it', () => {
    note(1, false)
    note(2, true)
    note(3, false)
    note(4, false)
    expect(seen()).toEqual({ deliveredAtMs: 2, failed: { firstAtMs: 3, lastAtMs: 4 } })
    note(5, false)
    note(6, true)
    expect(seen()).toEqual({ deliveredAtMs: 6, failed: null })
  })

  it('is not lost when it could not be written down, and what came meanwhile follows it', () => {
    note(1, true)
    note(2, false)
    const unwritten = outcomes.take()
    note(3, false)
    outcomes.putBack(unwritten)
    expect(seen()).toEqual({ deliveredAtMs: 1, failed: { firstAtMs: 2, lastAtMs: 3 } })
    note(4, true)
    outcomes.putBack(unwritten)
    expect(seen()).toEqual({ deliveredAtMs: 4, failed: null })
    outcomes.putBack(unwritten)
    expect(seen()).toEqual({ deliveredAtMs: 1, failed: { firstAtMs: 2, lastAtMs: 2 } })
  })
})
