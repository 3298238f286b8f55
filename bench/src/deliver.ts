import { randomBytes } from 'node:crypto'
import { waitFor } from '@switchhook/testing/wait-for'
import { addBacklog, addFloorBacklog } from './backlog.ts'
import type { BenchContext } from './bench-context.ts'
import type { BenchProcess } from './child-process.ts'
import type { CpuWindow } from './cpu-usage.ts'
import { type BenchResult, cpuRows, findNoise } from './result.ts'
import { openRig, type Rig } from './rig.ts'
import { findSteadyState, type SteadyState } from './statistics.ts'

const EVENTS = 20_000
/** Of the body that the worker renders from one of these messages; checked against what it sent. */
export const DELIVERED_BYTES = 334
const MAX_SIZE_DIFFERENCE = 0.1
const DRAIN_TIMEOUT_MS = 60_000
const POLL_EVERY_MS = 50

type Drained = {
  readonly steady: SteadyState
  /** First to last, start and tail included. */
  readonly overallPerSecond: number
  readonly events: number
  readonly cpu: CpuWindow
  readonly memoryMb: Readonly<Record<string, number>>
}

async function waitForArrivals(rig: Rig, count: number): Promise<void> {
  await waitFor(async () => (await rig.countArrivals()) >= count, {
    timeoutMs: DRAIN_TIMEOUT_MS,
    everyMs: POLL_EVERY_MS,
    what: `${count} deliveries`,
  })
}

async function drain(
  rig: Rig,
  start: () => Promise<BenchProcess>,
  findTimes: () => Promise<Float64Array>,
): Promise<Drained> {
  const worker = await start()
  const sampler = rig.sampleCpu(worker)
  const timesMs = await findTimes()
  const windowOf = sampler.stop()
  const memoryMb = rig.memoryMb(worker)
  await worker.stop()
  const steady = findSteadyState(timesMs)
  const sorted = timesMs.toSorted()
  const overallMs = (sorted.at(-1) ?? 0) - (sorted[0] ?? 0)
  return {
    ...{ steady, memoryMb, events: steady.count },
    overallPerSecond: (timesMs.length * 1_000) / overallMs,
    cpu: windowOf(steady.fromMs, steady.toMs),
  }
}

async function drainFloor(rig: Rig, count: number): Promise<Drained> {
  await addFloorBacklog(rig, randomBytes(8).toString('hex'), count)
  await rig.takeArrivals()
  return drain(
    rig,
    () => rig.startFloorWorker(DELIVERED_BYTES),
    async () => {
      await waitForArrivals(rig, count)
      return (await rig.takeArrivals()).atMs
    },
  )
}

/** When each delivery's log row and final state were committed, to within one batch. */
async function findLoggedTimes(rig: Rig, count: number): Promise<Float64Array> {
  const { pool } = rig.database
  await waitForArrivals(rig, count)
  await waitFor(
    async () => {
      const pending = await pool.query(`select 1 from deliveries where state = 'pending' limit 1`)
      return pending.rowCount === 0
    },
    { timeoutMs: DRAIN_TIMEOUT_MS, everyMs: POLL_EVERY_MS, what: 'all deliveries logged' },
  )
  const { rows } = await pool.query<{ at: number }>(
    `select extract(epoch from updated_at)::float8 * 1000 as at from deliveries where state = 'delivered'`,
  )
  return Float64Array.from(rows, ({ at }) => at)
}

/** Throws unless each event arrived exactly once and has exactly one log row. */
async function checkLogged(rig: Rig, count: number): Promise<void> {
  const { ids } = await rig.takeArrivals()
  const { rows } = await rig.database.pool.query<{ logged: number; bytes: number }>(
    `select count(distinct delivery_id)::int as logged, avg(octet_length(request_body))::float8 as bytes
       from webhook_logs where outcome = 'delivered'`,
  )
  const { logged = 0, bytes = 0 } = rows[0] ?? {}
  const seen = { arrived: ids.length, distinct: new Set(ids).size, logged }
  if (Object.values(seen).some((one) => one !== count)) {
    throw new Error(`${count} events were owed, but ${JSON.stringify(seen)}`)
  }
  if (Math.abs(bytes / DELIVERED_BYTES - 1) > MAX_SIZE_DIFFERENCE) {
    throw new Error(`the worker sends ${bytes} bytes, the floor ${DELIVERED_BYTES}`)
  }
}

/** How fast a backlog is delivered and logged, beside a bare BullMQ worker that only posts. */
export async function benchDeliver(context: BenchContext): Promise<BenchResult> {
  const { say } = context
  const count = Math.round(EVENTS * context.scale)
  const rig = await openRig(context.resources, context)
  const before = await drainFloor(rig, count)
  say(`floor: ${Math.round(before.steady.perSecond)}/s`)
  await addBacklog(rig, count)
  await rig.takeArrivals()
  const ours = await drain(
    rig,
    () => rig.startWorker(),
    () => findLoggedTimes(rig, count),
  )
  await checkLogged(rig, count)
  say(`ours: ${Math.round(ours.steady.perSecond)}/s`)
  const after = await drainFloor(rig, count)
  say(`floor: ${Math.round(after.steady.perSecond)}/s`)

  const all = [before, ours, after]
  const ratio = (2 * ours.steady.perSecond) / (before.steady.perSecond + after.steady.perSecond)
  return {
    name: 'deliver',
    title: `backlog of ${count} events → loopback receiver, delivered and logged`,
    columns: ['floor before', 'ours', 'floor after'],
    rows: [
      ['rate between 10 % and 90 %, events/s', ...all.map(({ steady }) => steady.perSecond)],
      ['rate from first to last, events/s', ...all.map((one) => one.overallPerSecond)],
      ['ratio to the floor', undefined, ratio],
      ...cpuRows(all, ['worker', 'redis', 'postgres']),
      ...Object.entries(ours.memoryMb).map(
        ([name, megabytes]) => [`peak memory, ${name}, MB`, undefined, megabytes] as const,
      ),
    ],
    bars: [{ name: 'ours / floor', value: ratio, limit: 0.6, kind: 'at least', unit: '' }],
    notes: [
      ...findNoise(all),
      'Rates and CPU are those between the 10 % and the 90 % mark: without the start of the process, without the tail.',
      "Ours counts when the log row and the delivery's state are committed, the floor when the receiver has the request.",
      `The floor is a bare BullMQ worker (concurrency 200, the same locks) with one undici.request of ${DELIVERED_BYTES} bytes per job.`,
      'Each event arrived exactly once and has one log row: checked. Log level info, written to a file.',
    ],
    settings: { count, concurrency: 200, deliveredBytes: DELIVERED_BYTES, scale: context.scale },
    details: { before, ours, after },
  }
}
