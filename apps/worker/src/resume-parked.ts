import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SharedCircuits } from '@switchhook/core/circuits'
import { turnOffsetMs } from '@switchhook/core/circuits-turn'
import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { ParkedDeliveries } from '@switchhook/core/parked-deliveries'
import type { Queues, WaitingDelivery } from '@switchhook/core/queue'
import type { CircuitBreakers } from './circuit-breakers.ts'

const LOOK_EVERY_MS = 500
const WAKE_EVERY_MS = 50
const AT_ONCE = 200

export type ResumeParkedDeps = {
  readonly parked: Pick<ParkedDeliveries, 'findDestinations' | 'wake'>
  readonly circuits: Pick<CircuitBreakers, 'openIds'>
  readonly probeNow: SharedCircuits['probeNow']
  readonly queues: Pick<Queues, 'promote'>
  readonly findDestination: (id: string) => Destination | undefined
  readonly log: Logger
}

/** The URL may hold a secret, and Redis has no need to know it. */
function hashOf({ url }: Destination): string {
  return createHash('sha256').update(url).digest('base64url').slice(0, 16)
}

/**
 * Wakes up the deliveries of destinations that are not paused any more (resumed, disabled or deleted), and has those
 * probed at once that have an open circuit and were resumed or given another URL. By what this worker knows of them,
 * which is what it would go by when they come. Returns a function that stops it.
 */
export function startResumingParked(deps: ResumeParkedDeps): () => Promise<void> {
  const { parked, circuits, log } = deps
  const stopping = new AbortController()
  /** Those with an open circuit, as they were. */
  const seen = new Map<string, Pick<Destination, 'url' | 'status'>>()
  const wakings = new Set<Promise<void>>()
  /** Mended, but not probed: another worker may not know yet, and would probe what was there before. */
  const mendedIds = new Set<string>()

  function forget(id: string): void {
    seen.delete(id)
    mendedIds.delete(id)
  }

  /** Those that were mended already when it was looked the last time. */
  function findMended(): Destination[] {
    const open = new Set(circuits.openIds())
    for (const id of seen.keys()) if (!open.has(id)) forget(id)
    const mended: Destination[] = []
    for (const id of open) {
      const now = deps.findDestination(id)
      if (now === undefined) continue
      const { url, status } = now
      const before = seen.get(id) ?? now
      const isMended = before.url !== url || before.status !== 'active'
      if (status !== 'active' || !isMended) {
        seen.set(id, { url, status })
        mendedIds.delete(id)
      } else if (mendedIds.has(id)) mended.push(now)
      else mendedIds.add(id)
    }
    return mended
  }

  /**
   * As if they had their turns from now on: the first one is the probe. Whoever finds the circuit open takes a new turn.
   * Should this worker stop, the others come when they would have come.
   */
  async function wake(
    { id, rateLimitPerSecond }: Destination,
    waiting: readonly WaitingDelivery[],
  ): Promise<void> {
    const startedAtMs = performance.now()
    let woken = 0
    while (woken < waiting.length && !stopping.signal.aborted) {
      const passedMs = performance.now() - startedAtMs
      const due: WaitingDelivery[] = []
      for (const delivery of waiting.slice(woken, woken + AT_ONCE)) {
        if (turnOffsetMs(woken + due.length, rateLimitPerSecond) > passedMs) break
        due.push(delivery)
      }
      await deps.queues.promote(id, due)
      woken += due.length
      await sleep(WAKE_EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  async function probe(destination: Destination): Promise<void> {
    const { id, url, status } = destination
    const { kind, waiting } = await deps.probeNow(id, hashOf(destination))
    // What the probe under way tells is of how it was before.
    if (kind === 'probed') return
    seen.set(id, { url, status })
    mendedIds.delete(id)
    if (kind !== 'due') return
    log.info({ destination_id: id, count: waiting.length }, 'circuit.probe_due')
    const waking = wake(destination, waiting).finally(() => wakings.delete(waking))
    wakings.add(waking)
  }

  async function look(): Promise<void> {
    const parkedIds = await parked.findDestinations()
    const mended = findMended()
    const resumed = parkedIds.filter((id) => deps.findDestination(id)?.status !== 'paused')
    for (const destination of mended) await probe(destination)
    for (const id of resumed) {
      // They would take their turns after a probe that is far away.
      if (mendedIds.has(id)) continue
      const count = await parked.wake(id)
      log.info({ destination_id: id, count }, 'deliveries.resumed')
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
    await Promise.all(wakings)
  }
}
