import { setTimeout as sleep } from 'node:timers/promises'
import { withDeadline } from './deadline.ts'
import type { Logger } from './log.ts'

export type StoreHealth = {
  isUp(): boolean
  /** Called by whoever saw the store fail: nobody else waits for it until a probe succeeds. */
  reportFailure(error: unknown): void
  stop(): void
}

export type StoreHealthOptions = {
  readonly store: 'postgres' | 'redis'
  readonly probe: () => Promise<unknown>
  readonly probeTimeoutMs: number
  readonly probeEveryMs: number
  readonly onChange: (isUp: boolean) => void
  readonly log: Logger
}

/**
 * Remembers that a store is away, so that one request pays its timeout and the others do not. While it is away it is
 * probed in the background; the first answer brings it back.
 */
export function createStoreHealth(options: StoreHealthOptions): StoreHealth {
  const { store, log } = options
  let up = true
  let stopped = false

  async function probeUntilUp(): Promise<void> {
    while (!stopped && !up) {
      await sleep(options.probeEveryMs, undefined, { ref: false })
      try {
        await withDeadline(options.probe(), options.probeTimeoutMs, `probe of ${store}`)
        up = true
      } catch {
        // Still away: the failure that began this was logged, the next probe follows.
      }
    }
    if (stopped) return
    log.info({ store }, 'store.recovered')
    options.onChange(true)
  }

  return {
    isUp: () => up,
    reportFailure(error) {
      if (!up || stopped) return
      up = false
      log.error({ store, error }, 'store.degraded')
      options.onChange(false)
      void probeUntilUp()
    },
    stop() {
      stopped = true
    },
  }
}
