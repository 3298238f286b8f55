import { assertNoLoss, createLedger } from '@switchhook/testing/ledger'
import { waitFor } from '@switchhook/testing/wait-for'
import type { BenchProcess } from './child-process.ts'
import type { CpuWindow } from './cpu-usage.ts'
import type { LoadRun } from './load-run.ts'
import type { Rig, Server } from './rig.ts'
import { type Latencies, summarize } from './statistics.ts'
import { eventIdOf } from './tenant.ts'

const DRAIN_TIMEOUT_MS = 60_000
const POLL_EVERY_MS = 50

/** A time of load at a fixed rate, until all of it is delivered and, if it is ours, logged. */
export type EndToEndRun = {
  readonly rate: number
  readonly events: number
  readonly refused: number
  /** From the last event's intended time until everything was delivered and logged. */
  readonly drainMs: number
  /** From when an event should have been sent until its answer had come. */
  readonly accepted: Latencies
  /** From when an event should have been sent until the receiver had it. */
  readonly delivered: Latencies
  readonly cpu: CpuWindow
  readonly memoryMb: Readonly<Record<string, number>>
}

export type Pipeline = {
  readonly ingress: Server
  readonly worker: BenchProcess
  /** Resolves with the moment of the last commit, ms since 1970; the floor logs nothing. */
  readonly waitUntilLogged?: (fromMs: number) => Promise<number>
  /** Throws unless these events are each logged once as delivered. */
  readonly checkLogged?: (eventIds: readonly string[]) => Promise<void>
}

/** Waits until nothing is pending and tells when the last record was committed. */
export function waitUntilLogged(rig: Rig): (fromMs: number) => Promise<number> {
  const { pool } = rig.database
  return async (fromMs) => {
    await waitFor(
      async () => {
        const pending = await pool.query(`select 1 from deliveries where state = 'pending' limit 1`)
        return pending.rowCount === 0
      },
      { timeoutMs: DRAIN_TIMEOUT_MS, everyMs: POLL_EVERY_MS, what: 'everything logged' },
    )
    const { rows } = await pool.query<{ at: number }>(
      'select extract(epoch from max(updated_at))::float8 * 1000 as at from deliveries where created_at >= $1',
      [new Date(fromMs)],
    )
    return rows[0]?.at ?? fromMs
  }
}

/** In Postgres: one delivered log row each, one delivery each, in its final state. */
export function checkLogged(rig: Rig): (eventIds: readonly string[]) => Promise<void> {
  return async (eventIds) => {
    const { rows } = await rig.database.pool.query<{ logs: number; deliveries: number }>(
      `with owed as (select unnest($1::text[]) as id)
       select (select count(*)::int from webhook_logs l join owed on owed.id = l.event_id
                where l.outcome = 'delivered') as logs,
              (select count(*)::int from deliveries d join owed on owed.id = d.event_id
                where d.state = 'delivered') as deliveries`,
      [eventIds],
    )
    const { logs, deliveries } = rows[0] ?? {}
    if (logs !== eventIds.length || deliveries !== eventIds.length) {
      throw new Error(`${eventIds.length} acked, ${logs} logged, ${deliveries} delivered`)
    }
  }
}

function idsOf(rig: Rig, run: LoadRun): string[] {
  return Array.from(run.statuses, (_, index) => eventIdOf(rig.run, run.firstSequence + index))
}

/**
 * Sends at a fixed rate for so many seconds, waits for the last delivery, and checks the ledger: every acked event
 * arrived exactly once. Throws when it does not add up.
 */
export async function runEndToEnd(
  rig: Rig,
  pipeline: Pipeline,
  rate: number,
  seconds: number,
): Promise<EndToEndRun> {
  const { ingress, worker } = pipeline
  const events = Math.round(rate * seconds)
  await rig.prepare(events)
  await rig.takeArrivals()
  const sampler = rig.sampleCpu(ingress.process, worker)
  const run = await rig.load({ kind: 'open', port: ingress.port, rate, count: events })
  const acked = run.statuses.filter((status) => status === 200).length
  await waitFor(async () => (await rig.countArrivals()) >= acked, {
    timeoutMs: DRAIN_TIMEOUT_MS,
    everyMs: POLL_EVERY_MS,
    what: `${acked} deliveries`,
  })
  const firstAtMs = run.intendedAtMs[0] ?? 0
  const loggedAtMs = await pipeline.waitUntilLogged?.(firstAtMs)
  const windowOf = sampler.stop()
  const arrivals = await rig.takeArrivals()

  const ids = idsOf(rig, run)
  const ledger = createLedger()
  const ackedIds = ids.filter((_, index) => run.statuses[index] === 200)
  for (const id of ackedIds) ledger.acked(id)
  for (const id of arrivals.ids) ledger.delivered(id, id)
  assertNoLoss(ledger.check({ allowDuplicates: () => 0 }))
  await pipeline.checkLogged?.(ackedIds)

  const arrivedAtMs = new Map(arrivals.ids.map((id, index) => [id, arrivals.atMs[index]]))
  const sinceIntended = (atMs: number | undefined, index: number): number =>
    (atMs ?? Number.NaN) - (run.intendedAtMs[index] ?? 0)
  const isKnown = (latencyMs: number): boolean => !Number.isNaN(latencyMs)
  const endMs = Math.max(loggedAtMs ?? 0, arrivals.atMs.at(-1) ?? 0)
  return {
    ...{ rate, events, refused: events - acked },
    drainMs: endMs - (run.intendedAtMs.at(-1) ?? 0),
    accepted: summarize(run.answeredAtMs.map(sinceIntended).filter(isKnown)),
    delivered: summarize(
      Float64Array.from(ids, (id, index) => sinceIntended(arrivedAtMs.get(id), index)).filter(
        isKnown,
      ),
    ),
    cpu: windowOf(firstAtMs, endMs),
    memoryMb: rig.memoryMb(ingress.process, worker),
  }
}
