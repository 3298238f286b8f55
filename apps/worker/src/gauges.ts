import type { Metrics } from '@switchhook/core/metrics'
import type { Queues } from '@switchhook/core/queue'
import type { CircuitBreakers } from './circuit-breakers.ts'

/** Brings the gauges up to date before a scrape. */
export function createGauges(
  queues: Pick<Queues, 'counts'>,
  circuits: Pick<CircuitBreakers, 'states'>,
  metrics: Pick<Metrics, 'queueJobs' | 'circuits'>,
): () => Promise<void> {
  return async () => {
    for (const [state, count] of Object.entries(circuits.states())) {
      metrics.circuits.set({ state }, count)
    }
    for (const [queue, counts] of await queues.counts()) {
      for (const [state, count] of Object.entries(counts)) {
        metrics.queueJobs.set({ queue, state }, count)
      }
    }
  }
}
