import { waitFor } from '@switchhook/testing/wait-for'
import { describe, expect, it } from 'vitest'
import { createGroupCommit, OverfullError } from './group-commit.ts'

/** A write that ends when the test says so. */
function createGate() {
  const batches: (readonly number[])[] = []
  const pending: PromiseWithResolvers<readonly string[]>[] = []
  const gate = {
    batches,
    write(items: readonly number[]) {
      batches.push(items)
      const one = Promise.withResolvers<readonly string[]>()
      pending.push(one)
      return one.promise
    },
    /** Ends the oldest write; the results are its items as text. */
    async finish(error?: unknown) {
      const index = batches.length - pending.length
      const one = pending.shift()
      if (error === undefined) one?.resolve((batches[index] ?? []).map(String))
      else one?.reject(error)
      // The next batch starts within a few microtasks.
      for (let tick = 0; tick < 10; tick += 1) await Promise.resolve()
    },
  }
  return gate
}

const bounds = { maxBatchItems: 100, maxWaitingItems: 1_000 }

describe('group commit', () => {
  it('writes a lone item at once', async () => {
    const gate = createGate()
    const commit = createGroupCommit({ ...bounds, write: gate.write })
    const result = commit.push(1)
    expect(gate.batches).toEqual([[1]])
    await gate.finish()
    await expect(result).resolves.toBe('1')
  })

  it('gathers what comes during a write, and gives each its own result', async () => {
    const gate = createGate()
    const commit = createGroupCommit({ ...bounds, write: gate.write })
    const results = [1, 2, 3, 4].map((item) => commit.push(item))
    await gate.finish()
    expect(gate.batches).toEqual([[1], [2, 3, 4]])
    await gate.finish()
    await expect(Promise.all(results)).resolves.toEqual(['1', '2', '3', '4'])
  })

  it('lets a batch wait for company as long as it is told each time', async () => {
    const gate = createGate()
    const asked: number[] = []
    const lingerMs = (): number => {
      asked.push(gate.batches.length)
      return asked.length === 1 ? 5 : 0
    }
    const commit = createGroupCommit({ ...bounds, write: gate.write, lingerMs })
    const first = commit.push(1)
    await Promise.resolve()
    expect(gate.batches).toEqual([])
    const second = commit.push(2)
    await waitFor(async () => gate.batches.length === 1, { timeoutMs: 20_000, what: 'a write' })
    expect(gate.batches).toEqual([[1, 2]])
    const third = commit.push(3)
    await gate.finish()
    expect(gate.batches).toEqual([[1, 2], [3]])
    await gate.finish()
    await expect(Promise.all([first, second, third])).resolves.toEqual(['1', '2', '3'])
    expect(asked).toEqual([0, 1])
  })

  it('has one write in flight at a time, of at most maxBatchItems', async () => {
    let inFlight = 0
    const sizes: number[] = []
    const commit = createGroupCommit<number, number>({
      ...bounds,
      maxBatchItems: 7,
      async write(items) {
        inFlight += 1
        expect(inFlight).toBe(1)
        await Promise.resolve()
        inFlight -= 1
        return items
      },
      onBatch: (size) => sizes.push(size),
    })
    const items = Array.from({ length: 50 }, (_, index) => index)
    await expect(Promise.all(items.map((item) => commit.push(item)))).resolves.toEqual(items)
    expect(Math.max(...sizes)).toBe(7)
    expect(sizes.reduce((sum, size) => sum + size)).toBe(50)
  })

  it('fails those of a failed batch and goes on with the next', async () => {
    const gate = createGate()
    const commit = createGroupCommit({ ...bounds, write: gate.write })
    const results = Promise.allSettled([1, 2].map((item) => commit.push(item)))
    const error = new Error('no disk')
    await gate.finish(error)
    await gate.finish()
    expect(await results).toEqual([
      { status: 'rejected', reason: error },
      { status: 'fulfilled', value: '2' },
    ])
    const later = commit.push(3)
    await gate.finish()
    await expect(later).resolves.toBe('3')
  })

  it('fails all that wait at once when the error means that the store is away', async () => {
    const gate = createGate()
    const commit = createGroupCommit({ ...bounds, write: gate.write, failsAll: () => true })
    const results = Promise.allSettled([1, 2, 3].map((item) => commit.push(item)))
    await gate.finish(new Error('store away'))
    expect((await results).map(({ status }) => status)).toEqual(Array(3).fill('rejected'))
    expect(gate.batches).toEqual([[1]])
  })

  it('refuses at once what no longer fits, and takes it when there is room again', async () => {
    const gate = createGate()
    const commit = createGroupCommit({ ...bounds, write: gate.write, maxWaitingItems: 2 })
    const taken = [1, 2, 3].map((item) => commit.push(item))
    await expect(commit.push(4)).rejects.toThrow(OverfullError)
    await gate.finish()
    const again = commit.push(5)
    await gate.finish()
    await gate.finish()
    await expect(Promise.all([...taken, again])).resolves.toEqual(['1', '2', '3', '5'])
  })

  it('is idle when nothing waits and nothing is in flight', async () => {
    const gate = createGate()
    const commit = createGroupCommit({ ...bounds, write: gate.write })
    await commit.idle()
    const result = commit.push(1)
    let isIdle = false
    const idle = commit.idle().then(() => {
      isIdle = true
    })
    await Promise.resolve()
    expect(isIdle).toBe(false)
    await gate.finish()
    await idle
    await result
  })
})
