import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import type { Logger } from '@switchhook/core/log'
import { LRUCache } from 'lru-cache'
import CircuitBreaker from 'opossum'

const WINDOW_MS = 60_000
const BUCKETS = 6
const MORE_FAILURES_THAN = 10
const MIN_FAILED_DELIVERIES = 3
const MIN_FAILED_SHARE = 0.5
const FIRST_PAUSE_MS = 30_000
const MAX_PAUSE_MS = 900_000
const MAX_BREAKERS = 10_000
/** How long one waits for the probe of another delivery to come back. */
const PROBE_WAIT_MS = 2_000

type Attempt = () => Promise<AttemptResult>

class FailedAttempt extends Error {
  readonly result: AttemptResult
  constructor(result: AttemptResult) {
    super(result.outcome)
    this.result = result
  }
}

/** opossum counts what resolves as a success and what throws as a failure. */
async function runAttempt(attempt: Attempt): Promise<AttemptResult> {
  const result = await attempt()
  if (result.outcome !== 'delivered') throw new FailedAttempt(result)
  return result
}

type Circuit = {
  readonly breaker: CircuitBreaker<[Attempt], AttemptResult>
  /** The deliveries that failed last, each once, the latest at the end, with the time. */
  readonly failedDeliveries: Map<string, number>
  pauseMs: number
  nextProbeAtMs: number
}

export type CircuitBreakers = {
  /** How long to hold back; 0 when an attempt may be made now. */
  holdMs(destinationId: string): number
  /** Makes the attempt and counts it. `held` when the circuit opened, or is being probed, meanwhile: nothing was sent. */
  run(destinationId: string, deliveryId: string, attempt: Attempt): Promise<AttemptResult | 'held'>
  states(): Readonly<Record<'closed' | 'open' | 'half_open', number>>
  close(): void
}

/** One timer moves the windows of all breakers; opossum's own would be two timers for each (runtime.md §6). */
function createWindowClock(): { readonly controller: object; stop(): void } {
  const listeners = new Set<() => void>()
  const timer = setInterval(() => {
    for (const listener of listeners) listener()
  }, WINDOW_MS / BUCKETS)
  timer.unref()
  const controller = {
    on: (_event: string, listener: () => void) => listeners.add(listener),
    removeListener: (_event: string, listener: () => void) => listeners.delete(listener),
    listenerCount: (_event: string, listener: () => void) => (listeners.has(listener) ? 1 : 0),
  }
  return { controller, stop: () => clearInterval(timer) }
}

/**
 * One opossum breaker per destination, local to this worker. A circuit opens when, within 60 s, more than 10 attempts
 * failed, from at least three deliveries, and they are at least half (contract, Fine print 1); opossum keeps the window
 * and the half-open probe, the rule is ours. The pause doubles from 30 s to 15 min.
 */
export function createCircuitBreakers(log: Logger): CircuitBreakers {
  const clock = createWindowClock()
  const circuits = new LRUCache<string, Circuit>({
    max: MAX_BREAKERS,
    dispose: ({ breaker }) => breaker.shutdown(),
  })

  function createCircuit(destinationId: string): Circuit {
    // opossum keeps this very object and reads the pause from it at each opening.
    const options = {
      name: destinationId,
      timeout: false, // the attempt has its own deadline and always settles
      // Never by itself: `open` is called when our rule says so. 101 would not do: a slow attempt ends in another
      // window than it began, so opossum sees more failures than calls.
      errorThresholdPercentage: Number.POSITIVE_INFINITY,
      resetTimeout: FIRST_PAUSE_MS,
      rollingCountTimeout: WINDOW_MS,
      rollingCountBuckets: BUCKETS,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: clock.controller,
    }
    const breaker = new CircuitBreaker<[Attempt], AttemptResult>(
      runAttempt,
      options as CircuitBreaker.Options,
    )
    const circuit: Circuit = {
      breaker,
      failedDeliveries: new Map(),
      pauseMs: FIRST_PAUSE_MS,
      nextProbeAtMs: 0,
    }
    breaker.on('open', () => {
      circuit.nextProbeAtMs = Date.now() + circuit.pauseMs
      log.warn({ destination_id: destinationId, pause_ms: circuit.pauseMs }, 'circuit.opened')
      circuit.pauseMs = Math.min(circuit.pauseMs * 2, MAX_PAUSE_MS)
    })
    breaker.on('close', () => {
      circuit.pauseMs = FIRST_PAUSE_MS
      options.resetTimeout = FIRST_PAUSE_MS
      circuit.failedDeliveries.clear()
      log.info({ destination_id: destinationId }, 'circuit.closed')
    })
    breaker.on('halfOpen', () => {
      options.resetTimeout = circuit.pauseMs
    })
    circuits.set(destinationId, circuit)
    return circuit
  }

  function noteFailure(circuit: Circuit, deliveryId: string): void {
    const { breaker, failedDeliveries } = circuit
    const nowMs = Date.now()
    failedDeliveries.delete(deliveryId)
    failedDeliveries.set(deliveryId, nowMs)
    if (failedDeliveries.size > MIN_FAILED_DELIVERIES) {
      const [oldest] = failedDeliveries.keys()
      failedDeliveries.delete(oldest ?? '')
    }
    if (!breaker.closed) return
    const { failures, successes } = breaker.stats
    const recent = [...failedDeliveries.values()].filter((atMs) => nowMs - atMs < WINDOW_MS)
    const isBroken =
      failures > MORE_FAILURES_THAN &&
      recent.length >= MIN_FAILED_DELIVERIES &&
      failures >= MIN_FAILED_SHARE * (failures + successes)
    if (isBroken) breaker.open()
  }

  return {
    holdMs(destinationId) {
      const circuit = circuits.get(destinationId)
      if (circuit === undefined || circuit.breaker.closed) return 0
      if (circuit.breaker.halfOpen) return circuit.breaker.pendingClose ? 0 : PROBE_WAIT_MS
      return Math.max(1, circuit.nextProbeAtMs - Date.now())
    },
    async run(destinationId, deliveryId, attempt) {
      const circuit = circuits.get(destinationId) ?? createCircuit(destinationId)
      try {
        return await circuit.breaker.fire(attempt)
      } catch (error) {
        if (error instanceof Error && CircuitBreaker.isOurError(error)) return 'held'
        if (!(error instanceof FailedAttempt)) throw error
        noteFailure(circuit, deliveryId)
        return error.result
      }
    },
    states() {
      const states = { closed: 0, open: 0, half_open: 0 }
      for (const { breaker } of circuits.values()) {
        states[breaker.closed ? 'closed' : breaker.halfOpen ? 'half_open' : 'open'] += 1
      }
      return states
    },
    close() {
      clock.stop()
      circuits.clear()
    },
  }
}
