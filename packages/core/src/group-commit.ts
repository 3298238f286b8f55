import { setTimeout as sleep } from 'node:timers/promises'

export type GroupCommitOptions<Item, Result> = {
  /** Writes all items at once; one result per item, in order. A throw fails every item of the batch. */
  readonly write: (items: readonly Item[]) => Promise<readonly Result[]>
  readonly maxBatchItems: number
  /** Beyond this many waiting items `push` refuses at once: memory is bounded, the caller has another way. */
  readonly maxWaitingItems: number
  /** How long a batch waits for company before it is written, ms; asked once for each. 0 unless given. */
  readonly lingerMs?: () => number
  readonly onBatch?: (items: number) => void
  /** True when an error says that the batch after this one would fail too: everything waiting is failed with it. */
  readonly failsAll?: (error: unknown) => boolean
}

export type GroupCommit<Item, Result> = {
  push(item: Item): Promise<Result>
  /** Resolves when nothing waits and nothing is in flight. Failures are told to those who pushed. */
  idle(): Promise<void>
}

export class OverfullError extends Error {
  override readonly name = 'OverfullError'
}

type Waiting<Item, Result> = PromiseWithResolvers<Result> & { readonly item: Item }

/**
 * Group commit: while one write is in flight the next items gather, and the next write takes them all. Alone, an item
 * waits for nothing, or for `lingerMs`; under load the cost per item falls.
 */
export function createGroupCommit<Item, Result>(
  options: GroupCommitOptions<Item, Result>,
): GroupCommit<Item, Result> {
  let waiting: Waiting<Item, Result>[] = []
  let running: Promise<void> | undefined

  async function writeBatch(batch: readonly Waiting<Item, Result>[]): Promise<void> {
    try {
      const results = await options.write(batch.map(({ item }) => item))
      options.onBatch?.(batch.length)
      for (const [index, one] of batch.entries()) one.resolve(results[index] as Result)
    } catch (error) {
      const others = options.failsAll?.(error) === true ? waiting.splice(0) : []
      for (const one of [...batch, ...others]) one.reject(error)
    }
  }

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const lingerMs = options.lingerMs?.() ?? 0
      if (lingerMs > 0) await sleep(lingerMs)
      const batch = waiting.slice(0, options.maxBatchItems)
      waiting = waiting.slice(options.maxBatchItems)
      await writeBatch(batch)
    }
    running = undefined
  }

  return {
    push(item) {
      if (waiting.length >= options.maxWaitingItems) {
        return Promise.reject(new OverfullError(`${waiting.length} items wait to be written`))
      }
      const one = { ...Promise.withResolvers<Result>(), item }
      waiting.push(one)
      running ??= run()
      return one.promise
    },
    async idle() {
      await running
    },
  }
}
