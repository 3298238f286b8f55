import type { CircuitChange } from '@switchhook/core/circuits'
import { silentLogger } from '@switchhook/core/log'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { startCircuitHistory } from './circuit-history.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

function change(atMs: number): CircuitChange {
  const times = { atMs, openedAtMs: atMs, pauseMs: 30_000, nextProbeAtMs: atMs + 30_000 }
  return { destinationId: 'dst_1', kind: 'opened', ...times }
}

/** Takes what it is given; fails while `isAway`. */
function createStore() {
  const store = {
    isAway: false as boolean,
    written: [] as number[],
    async write(changes: readonly CircuitChange[]): Promise<void> {
      if (store.isAway) throw new Error('Postgres is away')
      store.written.push(...changes.map(({ atMs }) => atMs))
    },
  }
  return store
}

describe('the history of circuits', () => {
  it('is written at once, in order, each change once', async () => {
    const store = createStore()
    const history = startCircuitHistory(store.write, silentLogger)
    for (const atMs of [1, 2, 3]) history.note(change(atMs))
    await history.stop()
    expect(store.written).toEqual([1, 2, 3])
  })

  it('waits while Postgres is away, and is written at the latest when the worker stops', async () => {
    const store = createStore()
    const history = startCircuitHistory(store.write, silentLogger)
    store.isAway = true
    for (const atMs of [1, 2, 3]) history.note(change(atMs))
    await vi.advanceTimersByTimeAsync(10)
    expect(store.written).toEqual([])
    store.isAway = false
    await history.stop()
    expect(store.written).toEqual([1, 2, 3])
  })

  it('keeps the newest 5,000 while Postgres is away', async () => {
    const store = createStore()
    store.isAway = true
    const history = startCircuitHistory(store.write, silentLogger)
    for (let atMs = 0; atMs < 6_000; atMs += 1) history.note(change(atMs))
    store.isAway = false
    await history.stop()
    expect(store.written[0]).toBeGreaterThanOrEqual(1_000)
  })
})
