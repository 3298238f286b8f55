import { setTimeout as sleep } from 'node:timers/promises'
import type { CircuitChange } from '@switchhook/core/circuits'
import { withDeadline } from '@switchhook/core/deadline'
import type { Logger } from '@switchhook/core/log'

const RETRY_AFTER_MS = 1_000
/** While Postgres is away; then the oldest go. The log has them all. */
const MAX_WAITING = 5_000
const MAX_BATCH = 500
const LAST_WRITE_TIMEOUT_MS = 2_000

export type CircuitHistory = {
  note(change: CircuitChange): void
  stop(): Promise<void>
}

/** Writes changes of circuits down, behind the deliveries' back: neither waits for the other. */
export function startCircuitHistory(
  write: (changes: readonly CircuitChange[]) => Promise<void>,
  log: Logger,
): CircuitHistory {
  const waiting: CircuitChange[] = []
  const stopping = new AbortController()
  let writing: Promise<void> | undefined

  async function writeBatch(): Promise<void> {
    const batch = waiting.slice(0, MAX_BATCH)
    await write(batch)
    // Those that were pushed out meanwhile are in the batch.
    for (const change of batch) if (waiting[0] === change) waiting.shift()
  }

  async function writeAll(): Promise<void> {
    while (waiting.length > 0 && !stopping.signal.aborted) {
      try {
        await writeBatch()
      } catch (error) {
        log.debug({ error, waiting: waiting.length }, 'circuit_history.waiting')
        await sleep(RETRY_AFTER_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
    writing = undefined
  }

  return {
    note(change) {
      waiting.push(change)
      if (waiting.length > MAX_WAITING) waiting.shift()
      writing ??= writeAll()
    },
    async stop() {
      stopping.abort()
      await writing
      if (waiting.length === 0) return
      await withDeadline(writeBatch(), LAST_WRITE_TIMEOUT_MS, 'circuit history').catch(
        (error: unknown) => log.warn({ error, count: waiting.length }, 'circuit_history.lost'),
      )
    },
  }
}
