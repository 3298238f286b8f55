import {
  CHANNEL,
  LIST,
  PREFIX,
  PROBE_NOW,
  READ,
  REPORT,
  SETTLE_PROBE,
  TAKE_PROBE,
  TAKE_TURNS,
} from './circuits-scripts.ts'
import { ofMember, toMember } from './parked-deliveries.ts'
import type { WaitingDelivery } from './queue.ts'
import type { RedisConnection } from './redis.ts'

/** A circuit that is not closed. All times are Redis's, in ms since 1970. */
export type OpenCircuit = {
  readonly id: string
  readonly openedAtMs: number
  readonly pauseMs: number
  readonly nextProbeAtMs: number
  /** When the probe under way must have ended; 0 while there is none. */
  readonly probeEndsAtMs: number
}

/** What one worker did to a circuit. Times in ms since 1970, Redis's. */
export type CircuitChange = {
  readonly destinationId: string
  readonly kind: 'opened' | 'probe_failed' | 'closed'
  readonly atMs: number
  readonly openedAtMs: number
  /** Null when it closed. */
  readonly pauseMs: number | null
  readonly nextProbeAtMs: number | null
}

/** What one attempt that failed adds, and what became of others at the same destination that nobody was told yet. */
export type CircuitReport = {
  readonly id: string
  /** '' to add successes only, or to ask again. */
  readonly failedDelivery: string
  /** Pairs: how many buckets of `RULE.bucketMs` ago, how many attempts. */
  readonly successes: readonly (readonly [number, number])[]
}

/** `asking`: it opens unless other workers had successes; to be reported again in 30 ms. `opened`: by this very report. */
export type CircuitVerdict =
  | { readonly kind: 'counted' | 'asking' }
  | { readonly kind: 'open' | 'opened'; readonly circuit: OpenCircuit }

/** `circuit` is undefined when it is closed, or closed now. `nowMs` is Redis's time of the answer. */
export type CircuitAnswer<Kind extends string> = {
  readonly kind: Kind
  readonly nowMs: number
  readonly circuit?: OpenCircuit
}

export type ProbeOutcome = 'delivered' | 'failed' | 'unknown'

export type CircuitMessage =
  | {
      readonly kind: 'changed'
      readonly id: string
      /** One more with every change: a gap tells that a message was lost. */
      readonly version: number
      readonly nowMs: number
      readonly circuit?: OpenCircuit
    }
  /** Who had successes at this destination should report them. */
  | { readonly kind: 'asked'; readonly id: string }

export type WantedTurns = {
  readonly count: number
  readonly deliveries: readonly WaitingDelivery[]
}

export type CircuitList = {
  readonly version: number
  readonly nowMs: number
  readonly circuits: readonly OpenCircuit[]
}

/** The circuits as all workers share them. Every call throws when Redis is away. */
export type SharedCircuits = {
  report(
    reports: readonly CircuitReport[],
    firstPauseMs: number,
  ): Promise<{ readonly nowMs: number; readonly verdicts: readonly CircuitVerdict[] }>
  /** `granted` to one in the whole fleet, once the pause is over; again after `leaseMs`, if it never settles. */
  takeProbe(
    id: string,
    lease: string,
    leaseMs: number,
  ): Promise<CircuitAnswer<'granted' | 'held' | 'closed'>>
  settleProbe(
    id: string,
    probe: { readonly lease: string; readonly dueAtMs: number; readonly outcome: ProbeOutcome },
    limits: { readonly maxPauseMs: number; readonly unknownWaitMs: number },
  ): Promise<CircuitAnswer<'settled' | 'ignored'>>
  /** The first of `count` turns after the next probe, for each; -1 where the circuit is closed. Notes who waits. */
  takeTurns(wanted: ReadonlyMap<string, WantedTurns>): Promise<ReadonlyMap<string, number>>
  /**
   * Its destination was mended, as `change` tells: the probe is `due`, and what waited (10,000 at most) is to be woken
   * bit by bit.
   * `probed`: one is under way, so ask again. `known`: another worker did it for this change.
   */
  probeNow(
    id: string,
    change: string,
  ): Promise<{
    readonly kind: 'due' | 'probed' | 'known' | 'closed'
    readonly waiting: readonly WaitingDelivery[]
  }>
  list(): Promise<CircuitList>
  version(): Promise<number>
}

export function openSharedCircuits(connection: RedisConnection): SharedCircuits {
  const run = (script: string, ...args: (string | number)[]): Promise<unknown> =>
    connection.eval(script, 1, PREFIX, ...args)
  const runJson = async (script: string, ...args: (string | number)[]) =>
    JSON.parse(String(await run(script, ...args)))

  return {
    report: (reports, firstPauseMs) => runJson(REPORT, JSON.stringify(reports), firstPauseMs),
    takeProbe: (id, lease, leaseMs) => runJson(TAKE_PROBE, id, lease, leaseMs),
    settleProbe: (id, { lease, dueAtMs, outcome }, { maxPauseMs, unknownWaitMs }) =>
      runJson(SETTLE_PROBE, id, lease, dueAtMs, outcome, maxPauseMs, unknownWaitMs),
    async takeTurns(wanted) {
      const asked = [...wanted].flatMap(([id, { count, deliveries }]) => [
        ...[id, count, deliveries.length],
        ...deliveries.map(toMember),
      ])
      const firsts = (await run(TAKE_TURNS, ...asked)) as number[]
      return new Map([...wanted.keys()].map((id, index) => [id, firsts[index] ?? -1]))
    },
    async probeNow(id, change) {
      const [kind, ...waiting] = (await run(PROBE_NOW, id, change)) as ['due', ...string[]]
      return { kind, waiting: waiting.map(ofMember) }
    },
    async list() {
      const [version, nowMs, ...circuits] = (await run(LIST)) as [number, number, ...string[]]
      return { version, nowMs, circuits: circuits.map((text) => JSON.parse(text)) }
    },
    async version() {
      return Number((await connection.get(`${PREFIX}:version`)) ?? 0)
    },
  }
}

/** Those of the circuits that are not closed, by destination. Throws when Redis is away. */
export async function readCircuits(
  connection: RedisConnection,
  destinationIds: readonly string[],
): Promise<ReadonlyMap<string, OpenCircuit>> {
  if (destinationIds.length === 0) return new Map()
  const found = (await connection.eval(READ, 1, PREFIX, ...destinationIds)) as string[]
  const circuits: OpenCircuit[] = found
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text))
  return new Map(circuits.map((circuit) => [circuit.id, circuit]))
}

/** Is a probe under way, or is it closed, or neither? */
export function circuitState(circuit: OpenCircuit | undefined): 'closed' | 'open' | 'half_open' {
  if (circuit === undefined) return 'closed'
  return circuit.probeEndsAtMs > 0 ? 'half_open' : 'open'
}

/** Undefined for what a person at a Redis prompt may have sent. */
function parseMessage(text: string): CircuitMessage | undefined {
  try {
    const message: CircuitMessage = JSON.parse(text)
    return typeof message.id === 'string' ? message : undefined
  } catch {
    return undefined
  }
}

/** Hears every change while the connection holds. `subscriber` is a connection of its own. */
export function subscribeToCircuits(
  subscriber: RedisConnection,
  onMessage: (message: CircuitMessage) => void,
): void {
  subscriber.on('message', (channel: string, text: string) => {
    const message = channel === CHANNEL ? parseMessage(text) : undefined
    if (message !== undefined) onMessage(message)
  })
  subscriber.subscribe(CHANNEL).catch(() => undefined) // ioredis subscribes again when it connects.
}
