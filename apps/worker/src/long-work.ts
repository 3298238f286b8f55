import { setTimeout as sleep } from 'node:timers/promises'
import { LOCKS, runAsLeader } from '@switchhook/core/store/leader'
import { type ErasePersonDeps, erasePersons } from './erase-person.ts'
import { type RunReplaysDeps, runReplays } from './run-replays.ts'

export type LongWorkDeps = RunReplaysDeps &
  ErasePersonDeps & {
    /** How often it is looked whether there is anything to do. */
    readonly everyMs: number
  }

/** Between the steps of a replay: its rate is kept in parts of this. */
const BUSY_EVERY_MS = 100
/** A step of an erasure may take a while, and replays have a rate to keep. */
const ERASE_FOR_MS = 200

/**
 * What one worker at a time does step by step: replays and erasures. Every step leaves off where another worker can go
 * on. Returns a function that stops it after the step in hand.
 */
export function startLongWork(deps: LongWorkDeps): () => Promise<void> {
  const stopping = new AbortController()
  let isFailing = false

  /** True when there is more to do soon. */
  async function pass(): Promise<boolean> {
    const running = await runReplays(deps)
    const untilMs = performance.now() + ERASE_FOR_MS
    let due = 0
    do due = await erasePersons(deps)
    while (due > 0 && performance.now() < untilMs && !stopping.signal.aborted)
    return running + due > 0
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      let isBusy = false
      try {
        isBusy = (await runAsLeader(deps.database.pool, LOCKS.longWork, pass)) ?? false
        isFailing = false
      } catch (error) {
        if (!isFailing) deps.log.warn({ error }, 'long_work.failed')
        isFailing = true
      }
      const waitMs = isBusy ? Math.min(BUSY_EVERY_MS, deps.everyMs) : deps.everyMs
      await sleep(waitMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  const running = run()
  return async () => {
    stopping.abort()
    await running
  }
}
