import { setTimeout as sleep } from 'node:timers/promises'
import type { CircuitChange, CircuitMessage, SharedCircuits } from '@switchhook/core/circuits'
import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { WaitingDelivery } from '@switchhook/core/queue'
import { StacklessError } from '@switchhook/core/stackless-error'
import { LRUCache } from 'lru-cache'
import CircuitBreaker from 'opossum'
import { type CircuitCounts, createCircuitCounts } from './circuit-counts.ts'
import { createCircuitFleet, type KnownCircuit } from './circuit-fleet.ts'
import { type AttemptEnd, type CircuitWindow, createCircuitWindow } from './circuit-window.ts'

/** Some 20 KB each. Of one that went, the fleet's counts in Redis remain. */
const MAX_BREAKERS = 3_000
/** Until the others have answered: more than ASK_MS of the scripts. */
const ASK_AGAIN_MS = 30
const MAX_ASKS = 5
/** So long before a probe is due a delivery waits for it here. */
const EARLY_MS = 50
const DISMISS_EVERY_MS = 100

type Attempt = () => Promise<AttemptResult>

class FailedAttempt extends StacklessError {
  readonly result: AttemptResult
  constructor(result: AttemptResult) {
    super(result.outcome)
    this.result = result
  }
}

/** opossum takes what resolves for a success and what throws for a failure. */
async function runAttempt(attempt: Attempt): Promise<AttemptResult> {
  const result = await attempt()
  if (result.outcome !== 'delivered') throw new FailedAttempt(result)
  return result
}

function endOf(result: AttemptResult): AttemptEnd {
  if (result.outcome === 'delivered') return 'delivered'
  return result.isOurFault === true || result.wasCutOff === true ? 'unknown' : 'failed'
}

type Circuit = {
  readonly id: string
  readonly breaker: CircuitBreaker<[Attempt], AttemptResult>
  readonly counts: CircuitCounts
  readonly window: CircuitWindow
  /** By a delivery of this worker. */
  isProbed: boolean
}

export type CircuitBreakersOptions = {
  readonly shared: SharedCircuits
  /** Has the fleet's messages told, from now on. */
  readonly subscribe: (hear: (message: CircuitMessage) => void) => void
  readonly firstPauseMs: number
  readonly maxPauseMs: number
  /** How long an answer of Redis is waited for, ms. */
  readonly answerTimeoutMs?: number
  /** Told of each change by the one worker that made it. Must not throw. */
  readonly onChange: (change: CircuitChange) => void
  readonly log: Logger
}

export type CircuitBreakers = {
  /** Resolves when it knows which circuits are open, or when Redis does not tell. */
  waitUntilLoaded(): Promise<void>
  /** How long an open circuit holds back, at least; 0 when an attempt may be tried now. */
  holdMs(destinationId: string): number
  /** Since when an open circuit holds back, in ms since 1970; undefined while its probe is due or under way: it may close. */
  heldSinceMs(destinationId: string): number | undefined
  /** For a delivery that is held: how long until its own turn, which with an open circuit is after the next probe. */
  turnMs(
    destination: Pick<Destination, 'id' | 'rateLimitPerSecond'>,
    delivery?: WaitingDelivery,
  ): Promise<number>
  /** Makes the attempt and counts it. `held`: nothing was sent, since it is open, or too many attempts are under way. */
  run(
    destination: Pick<Destination, 'id' | 'timeoutMs'>,
    deliveryId: string,
    attempt: Attempt,
  ): Promise<AttemptResult | 'held'>
  /** The destinations whose circuit is not closed. */
  openIds(): Iterable<string>
  /** Open and half-open as the whole fleet has them, closed as far as this worker has used them. */
  states(): Readonly<Record<'closed' | 'open' | 'half_open', number>>
  close(): void
}

/** One timer moves the windows of all breakers; opossum's own would be two timers for each (runtime.md §6). */
function createWindowClock() {
  const listeners = new Set<() => void>()
  return {
    on: (_event: string, listener: () => void) => listeners.add(listener),
    removeListener: (_event: string, listener: () => void) => listeners.delete(listener),
    listenerCount: (_event: string, listener: () => void) => (listeners.has(listener) ? 1 : 0),
    turn: () => {
      for (const listener of listeners) listener()
    },
  }
}

const nowMs = (): number => performance.now()

/** Until somebody may probe it: the pause, or the probe under way. */
function probeInMs(open: KnownCircuit | undefined): number {
  return Math.max(open?.dueMs ?? 0, open?.probeEndsMs ?? 0) - nowMs()
}

/**
 * One opossum breaker per destination; when one opens, and when it is probed, is decided by the fleet together
 * (docs/decisions/0006-shared-circuits.md). An attempt that fails is counted in Redis before its place in the window is
 * free again, so that a dead destination gets at most 8 requests of each worker and ten more. A success is counted
 * in memory only.
 */
export function createCircuitBreakers(options: CircuitBreakersOptions): CircuitBreakers {
  const { log } = options
  const clock = createWindowClock()
  const windowsWithWaiting = new Set<CircuitWindow>()
  const circuits = new LRUCache<string, Circuit>({
    max: MAX_BREAKERS,
    dispose: ({ breaker, window }) => {
      window.dismiss('all')
      breaker.shutdown()
    },
  })
  const fleet = createCircuitFleet({
    ...options,
    onChange(change) {
      const { destinationId, kind, pauseMs } = change
      log.warn({ destination_id: destinationId, pause_ms: pauseMs }, `circuit.${kind}`)
      options.onChange(change)
    },
    onKnown(id, isOpen) {
      const circuit = circuits.peek(id)
      if (circuit === undefined) return
      if (isOpen) circuit.breaker.open()
      else {
        circuit.breaker.close()
        circuit.counts.clear()
        circuit.window.startSlowly()
      }
      circuit.window.dismiss('all')
    },
    onAsked(id) {
      const successes = circuits.peek(id)?.counts.takeUntold(nowMs()) ?? []
      if (successes.length > 0) void fleet.report({ id, failedDelivery: '', successes })
    },
  })
  options.subscribe(fleet.hear)
  void fleet.poll() // Never rejects.
  const dismissing = setInterval(() => {
    for (const window of windowsWithWaiting) {
      window.dismiss('overdue')
      if (!window.hasWaiting()) windowsWithWaiting.delete(window)
    }
  }, DISMISS_EVERY_MS).unref()
  const turning = setInterval(clock.turn, 60_000).unref()

  function createCircuit(id: string): Circuit {
    const breaker = new CircuitBreaker<[Attempt], AttemptResult>(runAttempt, {
      name: id,
      timeout: false, // the attempt has its own deadline and always settles
      errorThresholdPercentage: Number.POSITIVE_INFINITY, // never by itself
      // Half open at once: when the pause is over, and who probes, is not for one worker to say.
      resetTimeout: 0,
      rollingCountTimeout: 60_000,
      rollingCountBuckets: 1,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      rotateBucketController: clock,
    } as unknown as CircuitBreaker.Options)
    const window = createCircuitWindow(nowMs)
    const circuit = { id, breaker, counts: createCircuitCounts(), window, isProbed: false }
    if (fleet.known.has(id)) breaker.open()
    circuits.set(id, circuit)
    return circuit
  }

  async function fire({ breaker }: Circuit, attempt: Attempt): Promise<AttemptResult | 'held'> {
    try {
      return await breaker.fire(attempt)
    } catch (error) {
      if (error instanceof FailedAttempt) return error.result
      if (error instanceof Error && CircuitBreaker.isOurError(error)) return 'held'
      throw error
    }
  }

  /** Resolves when the failure is counted, and the circuit opened where that was one too many. */
  async function countFailure({ id, counts }: Circuit, deliveryId: string): Promise<void> {
    counts.failed(nowMs(), deliveryId)
    let failedDelivery = deliveryId
    for (let asks = 0; asks < MAX_ASKS && !fleet.known.has(id); asks += 1) {
      const successes = counts.takeUntold(nowMs())
      const verdict = await fleet.report({ id, failedDelivery, successes })
      if (verdict === 'alone' && counts.isBroken(nowMs())) fleet.openAlone(id)
      if (verdict !== 'asking') return
      failedDelivery = ''
      await sleep(ASK_AGAIN_MS)
    }
  }

  async function runClosed(circuit: Circuit, deliveryId: string, attempt: Attempt) {
    const { id, window } = circuit
    const entered = window.enter()
    if (typeof entered !== 'boolean') windowsWithWaiting.add(window)
    if (!(await entered)) return 'held'
    let end: AttemptEnd = 'unknown'
    try {
      if (fleet.known.has(id)) return 'held'
      const result = await fire(circuit, attempt)
      if (result === 'held') return 'held'
      end = endOf(result)
      if (end === 'delivered') circuit.counts.succeeded(nowMs())
      if (end === 'failed') await countFailure(circuit, deliveryId)
      return result
    } finally {
      window.leave(end)
    }
  }

  /** `closed`: it is no longer open. */
  async function runProbe(circuit: Circuit, timeoutMs: number, attempt: Attempt) {
    const { id } = circuit
    const dueInMs = probeInMs(fleet.known.get(id))
    if (circuit.isProbed || dueInMs > EARLY_MS) return 'held'
    circuit.isProbed = true
    try {
      if (dueInMs > 0) await sleep(dueInMs + 1)
      const probe = await fleet.takeProbe(id, timeoutMs)
      if (probe === 'closed') return 'closed'
      if (probe === 'open') return 'held'
      let end: AttemptEnd = 'unknown'
      try {
        const result = await fire(circuit, attempt)
        if (result !== 'held') end = endOf(result)
        return result
      } finally {
        await fleet.settleProbe(probe, end)
      }
    } finally {
      circuit.isProbed = false
    }
  }

  return {
    waitUntilLoaded: fleet.waitUntilLoaded,
    holdMs(destinationId) {
      const open = fleet.known.get(destinationId)
      if (open === undefined) return 0
      const waitMs = probeInMs(open)
      if (waitMs > EARLY_MS) return waitMs
      return circuits.peek(destinationId)?.isProbed === true ? 1 : 0
    },
    heldSinceMs(destinationId) {
      const open = fleet.known.get(destinationId)
      if (open === undefined || circuits.peek(destinationId)?.isProbed === true) return undefined
      return probeInMs({ ...open, probeEndsMs: 0 }) > 0 ? open.circuit.openedAtMs : undefined
    },
    async turnMs({ id, rateLimitPerSecond }, delivery) {
      if (fleet.known.has(id)) return await fleet.turnMs(id, rateLimitPerSecond, delivery)
      return circuits.peek(id)?.window.lineMs() ?? 0
    },
    async run({ id, timeoutMs }, deliveryId, attempt) {
      const circuit = circuits.get(id) ?? createCircuit(id)
      if (fleet.known.has(id)) {
        const result = await runProbe(circuit, timeoutMs, attempt)
        if (result !== 'closed') return result
      }
      return await runClosed(circuit, deliveryId, attempt)
    },
    openIds: () => fleet.known.keys(),
    states() {
      const states = { closed: 0, open: 0, half_open: 0 }
      const atMs = nowMs()
      for (const { probeEndsMs } of fleet.known.values()) {
        states[probeEndsMs > atMs ? 'half_open' : 'open'] += 1
      }
      for (const id of circuits.keys()) if (!fleet.known.has(id)) states.closed += 1
      return states
    },
    close() {
      clearInterval(dismissing)
      clearInterval(turning)
      fleet.stop()
      circuits.clear()
    },
  }
}
