import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  CircuitChange,
  CircuitMessage,
  CircuitReport,
  CircuitVerdict,
  OpenCircuit,
  ProbeOutcome,
  SharedCircuits,
} from '@switchhook/core/circuits'
import { turnOffsetMs } from '@switchhook/core/circuits-turn'
import { withDeadline } from '@switchhook/core/deadline'
import { createGroupCommit } from '@switchhook/core/group-commit'
import type { Logger } from '@switchhook/core/log'
import type { WaitingDelivery } from '@switchhook/core/queue'

/** An attempt that failed is told before it ends: Redis must not hold it up for longer. */
const ANSWER_TIMEOUT_MS = 500
/** How long Redis is left alone after it did not answer. */
const AWAY_MS = 1_000
/** A change whose message was lost is known after this long. */
const POLL_EVERY_MS = 1_000
const FIRST_POLL_EVERY_MS = 50
const FIRST_LOAD_TIMEOUT_MS = 2_000
/** Added to a probe's own deadline, for what comes before and after it. */
const LEASE_MARGIN_MS = 2_000
/** Until the next probe, after one that said nothing of the destination: our own fault. */
const UNKNOWN_WAIT_MS = 5_000
/** So that a timer that fires early does not come before the probe is due by Redis's clock. */
const TURN_MARGIN_MS = 5
/** Spreads those whose turn cannot be told because Redis is away. */
const SPREAD_MS = 2_000
const MAX_BATCH = 500
const MAX_WAITING = 20_000

/** As this worker knows it; `dueMs` and `probeEndsMs` are of its own clock (`performance.now`), that nobody sets. */
export type KnownCircuit = {
  readonly circuit: OpenCircuit
  readonly dueMs: number
  readonly probeEndsMs: number
}

type WantedTurn = { readonly id: string; readonly delivery: WaitingDelivery | undefined }

export type Probe = {
  readonly id: string
  readonly lease: string | null
  readonly known: KnownCircuit
}

export type CircuitFleetDeps = {
  readonly shared: SharedCircuits
  readonly firstPauseMs: number
  readonly maxPauseMs: number
  /** After this long without an answer of Redis it decides alone, ms. 500 unless given. */
  readonly answerTimeoutMs?: number
  readonly onChange: (change: CircuitChange) => void
  /** This worker learnt that it opened or closed, whoever did it. */
  readonly onKnown: (id: string, isOpen: boolean) => void
  /** Another worker is about to open it and asks for successes. */
  readonly onAsked: (id: string) => void
  readonly log: Logger
}

export type CircuitFleet = ReturnType<typeof createCircuitFleet>

const nowMs = (): number => performance.now()

/**
 * The circuits that are not closed, as the whole fleet knows them: told by Redis at each change, asked for when a
 * message was lost. While Redis is away each worker goes on by itself, with what it knew last.
 */
export function createCircuitFleet(deps: CircuitFleetDeps) {
  const { shared, answerTimeoutMs = ANSWER_TIMEOUT_MS, log } = deps
  const known = new Map<string, KnownCircuit>()
  const stopping = new AbortController()
  let version = -1
  let awayUntilMs = 0
  let loading: Promise<void> | undefined
  let mustLoad = false

  const isLoaded = (): boolean => version >= 0

  /** Undefined when Redis is away: the caller decides alone. */
  async function ask<T>(question: () => Promise<T>): Promise<T | undefined> {
    if (isLoaded() && nowMs() < awayUntilMs) return undefined
    try {
      return await withDeadline(question(), answerTimeoutMs, 'circuits')
    } catch (error) {
      if (isLoaded() && awayUntilMs === 0) log.warn({ error }, 'circuits.alone')
      awayUntilMs = nowMs() + AWAY_MS
      return undefined
    }
  }

  function know(id: string, circuit: OpenCircuit | undefined, redisNowMs: number): void {
    const wasOpen = known.has(id)
    if (circuit === undefined) {
      known.delete(id)
      if (wasOpen) deps.onKnown(id, false)
      return
    }
    const toLocal = (redisMs: number): number => nowMs() + redisMs - redisNowMs
    const { nextProbeAtMs, probeEndsAtMs } = circuit
    const probeEndsMs = probeEndsAtMs === 0 ? 0 : toLocal(probeEndsAtMs)
    known.set(id, { circuit, dueMs: toLocal(nextProbeAtMs), probeEndsMs })
    if (!wasOpen) deps.onKnown(id, true)
  }

  async function loadOnce(): Promise<void> {
    const list = await ask(() => shared.list())
    if (list === undefined) return
    const open = new Set(list.circuits.map(({ id }) => id))
    for (const id of known.keys()) if (!open.has(id)) know(id, undefined, list.nowMs)
    for (const circuit of list.circuits) know(circuit.id, circuit, list.nowMs)
    // What was opened alone is forgotten: from here on the fleet counts.
    if (isLoaded() && awayUntilMs !== 0) log.info({}, 'circuits.shared_again')
    awayUntilMs = 0
    version = list.version
  }

  /** All at once, in place of what was known. What changes meanwhile is loaded once more. Never rejects. */
  async function load(): Promise<void> {
    mustLoad = true
    loading ??= (async () => {
      while (mustLoad) {
        mustLoad = false
        await loadOnce()
      }
      loading = undefined
    })()
    await loading
  }

  async function poll(): Promise<void> {
    while (!stopping.signal.aborted) {
      const found = await ask(() => shared.version())
      if (found !== undefined && (found !== version || awayUntilMs !== 0)) await load()
      const pauseMs = isLoaded() ? POLL_EVERY_MS : FIRST_POLL_EVERY_MS
      await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  /** Resolves when it knows what is open, or when Redis does not tell for too long: no reason to stand still. */
  async function waitUntilLoaded(): Promise<void> {
    const giveUpAtMs = nowMs() + FIRST_LOAD_TIMEOUT_MS
    while (!isLoaded() && nowMs() < giveUpAtMs) {
      await load()
      if (!isLoaded()) await sleep(FIRST_POLL_EVERY_MS)
    }
  }

  const reports = createGroupCommit<CircuitReport, CircuitVerdict>({
    async write(batch) {
      const answer = await ask(() => shared.report(batch, deps.firstPauseMs))
      if (answer === undefined) throw new Error('Redis is away')
      for (const verdict of answer.verdicts) {
        if ('circuit' in verdict) know(verdict.circuit.id, verdict.circuit, answer.nowMs)
        if (verdict.kind === 'opened') tell('opened', verdict.circuit, answer.nowMs)
      }
      return answer.verdicts
    },
    ...{ maxBatchItems: MAX_BATCH, maxWaitingItems: MAX_WAITING },
  })

  /** Of the answers the first turn of the destination is handed out here, one after the other. */
  const turns = createGroupCommit<WantedTurn, number>({
    async write(asked) {
      const wanted = new Map<string, { count: number; deliveries: WaitingDelivery[] }>()
      for (const { id, delivery } of asked) {
        const found = wanted.get(id) ?? { count: 0, deliveries: [] }
        found.count += 1
        if (delivery !== undefined) found.deliveries.push(delivery)
        wanted.set(id, found)
      }
      const firsts = new Map(await ask(() => shared.takeTurns(wanted)))
      return asked.map(({ id }) => {
        const turn = firsts.get(id) ?? -1
        if (turn >= 0) firsts.set(id, turn + 1)
        return turn
      })
    },
    ...{ maxBatchItems: MAX_BATCH, maxWaitingItems: MAX_WAITING },
  })

  function tell(kind: CircuitChange['kind'], circuit: OpenCircuit, atMs: number): void {
    const { id, openedAtMs, pauseMs, nextProbeAtMs } = circuit
    const isClosed = kind === 'closed'
    deps.onChange({
      ...{ destinationId: id, kind, atMs, openedAtMs },
      ...{ pauseMs: isClosed ? null : pauseMs, nextProbeAtMs: isClosed ? null : nextProbeAtMs },
    })
  }

  /** With Redis away: for this worker alone, until Redis is back. */
  function pauseAlone(id: string, openedAtMs: number, pauseMs: number, waitMs = pauseMs): void {
    const wallMs = Date.now()
    const circuit = { id, openedAtMs, pauseMs, nextProbeAtMs: wallMs + waitMs, probeEndsAtMs: 0 }
    log.warn({ destination_id: id, pause_ms: pauseMs }, 'circuit.opened_alone')
    know(id, circuit, wallMs)
  }

  return {
    known: known as ReadonlyMap<string, KnownCircuit>,
    waitUntilLoaded,
    poll,
    hear(message: CircuitMessage): void {
      if (message.kind === 'asked') {
        deps.onAsked(message.id)
        return
      }
      know(message.id, message.circuit, message.nowMs)
      if (message.version === version + 1 && loading === undefined) version = message.version
      else void load()
    },
    /** `alone`: Redis is away. */
    async report(report: CircuitReport): Promise<CircuitVerdict['kind'] | 'alone'> {
      try {
        return (await reports.push(report)).kind
      } catch {
        return 'alone'
      }
    },
    openAlone: (id: string) => pauseAlone(id, Date.now(), deps.firstPauseMs),
    /** `open`: not yet, or another one has it. */
    async takeProbe(id: string, timeoutMs: number): Promise<Probe | 'open' | 'closed'> {
      const lease = randomUUID()
      const answer = await ask(() => shared.takeProbe(id, lease, timeoutMs + LEASE_MARGIN_MS))
      const before = known.get(id)
      if (answer === undefined) {
        if (before === undefined) return 'closed'
        return before.dueMs <= nowMs() ? { id, lease: null, known: before } : 'open'
      }
      know(id, answer.circuit, answer.nowMs)
      const now = known.get(id)
      if (now === undefined) return 'closed'
      return answer.kind === 'granted' ? { id, lease, known: now } : 'open'
    },
    async settleProbe({ id, lease, known: { circuit } }: Probe, outcome: ProbeOutcome) {
      const probe = { lease: lease ?? '', dueAtMs: circuit.nextProbeAtMs, outcome }
      const limits = { maxPauseMs: deps.maxPauseMs, unknownWaitMs: UNKNOWN_WAIT_MS }
      const answer =
        lease === null ? undefined : await ask(() => shared.settleProbe(id, probe, limits))
      if (answer !== undefined) {
        know(id, answer.circuit, answer.nowMs)
        if (answer.kind === 'ignored' || outcome === 'unknown') return
        const now = answer.circuit ?? circuit
        tell(outcome === 'delivered' ? 'closed' : 'probe_failed', now, answer.nowMs)
        return
      }
      if (outcome === 'delivered') return know(id, undefined, 0)
      const isFailed = outcome === 'failed'
      const pauseMs = isFailed ? Math.min(circuit.pauseMs * 2, deps.maxPauseMs) : circuit.pauseMs
      pauseAlone(id, circuit.openedAtMs, pauseMs, isFailed ? pauseMs : UNKNOWN_WAIT_MS)
    },
    /** How long a delivery waits for its turn after the next probe. */
    async turnMs(
      id: string,
      ratePerSecond: number | null,
      delivery?: WaitingDelivery,
    ): Promise<number> {
      const turn = await turns.push({ id, delivery }).catch(() => -1)
      const circuit = known.get(id)
      const probeMs = Math.max(circuit?.dueMs ?? 0, circuit?.probeEndsMs ?? 0) - nowMs()
      const offsetMs = turn < 0 ? Math.random() * SPREAD_MS : turnOffsetMs(turn, ratePerSecond)
      return Math.max(0, probeMs) + offsetMs + TURN_MARGIN_MS
    },
    stop: () => stopping.abort(),
  }
}
