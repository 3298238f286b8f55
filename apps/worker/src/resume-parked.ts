import { setTimeout as sleep } from 'node:timers/promises'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { ParkedDeliveries } from '@switchhook/core/parked-deliveries'

const LOOK_EVERY_MS = 500

export type ResumeParkedDeps = {
  readonly parked: Pick<ParkedDeliveries, 'findDestinations' | 'wake'>
  readonly findDestination: (id: string) => Destination | undefined
  readonly log: Logger
}

/**
 * Wakes up the deliveries of destinations that are not paused any more: resumed, disabled or deleted. By what this worker
 * knows of them, which is what it would go by when they come. Returns a function that stops it.
 */
export function startResumingParked({ parked, ...deps }: ResumeParkedDeps): () => Promise<void> {
  const stopping = new AbortController()

  async function look(): Promise<void> {
    for (const id of await parked.findDestinations()) {
      if (deps.findDestination(id)?.status === 'paused') continue
      const count = await parked.wake(id)
      deps.log.info({ destination_id: id, count }, 'deliveries.resumed')
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      // They wake up by themselves in some minutes at the latest.
      await look().catch(() => undefined)
      await sleep(LOOK_EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }
  const running = run()

  return async () => {
    stopping.abort()
    await running
  }
}
