import { expect, it } from 'vitest'
import { createSlowLanePace } from './slow-lane-pace.ts'

it('begins no more in the slow lane than its slots can carry, and at once after a pause', async () => {
  let clockMs = 1_000_000
  const pace = createSlowLanePace(2_000, () => clockMs)
  // 400 slots, a second each.
  const startedAtMs = performance.now()
  await Promise.all(Array.from({ length: 201 }, pace))
  const tookMs = performance.now() - startedAtMs
  expect(tookMs).toBeGreaterThanOrEqual(495)
  clockMs += 600
  let isOver = false
  void pace().then(() => {
    isOver = true
  })
  await Promise.resolve()
  expect(isOver).toBe(true)
})

it('lets fifty begin in a second with the fewest slots', async () => {
  const pace = createSlowLanePace(4, () => 1_000_000)
  const startedAtMs = performance.now()
  await Promise.all(Array.from({ length: 11 }, pace))
  const tookMs = performance.now() - startedAtMs
  expect(tookMs).toBeGreaterThanOrEqual(195)
  // By its one slot alone, a second each, it were ten seconds.
  expect(tookMs).toBeLessThan(8_000)
})
