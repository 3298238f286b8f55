import { createSpool } from '@switchhook/core/spool'
import type { BenchContext } from './bench-context.ts'
import type { CpuWindow } from './cpu-usage.ts'
import type { LoadRun } from './load-run.ts'
import { type BenchResult, cpuRows, findNoise } from './result.ts'
import { openRig, type Rig, type Server } from './rig.ts'
import { type Latencies, summarize } from './statistics.ts'

/** V8 takes some ten thousand requests to settle. */
const WARM_UP = { inFlight: 64, count: 20_000 }
const PROBE_IN_FLIGHT = 128
const PROBE_SECONDS = 2
const STEP_SECONDS = 4
const HALF_SECONDS = 6
/** Each step down from what the closed loop reached; the precision of the maximum. */
const STEP_FACTOR = 0.93
const MAX_STEPS = 10
/** A backlog that grows by more than 1.3 % of the rate is longer than this after 4 s. */
const MAX_FINAL_MEDIAN_MS = 50
const SPOOL_MAX_ITEMS = 200_000

type Step = {
  readonly rate: number
  readonly events: number
  readonly isSustained: boolean
  readonly statuses: Readonly<Record<string, number>>
  readonly latencies: Latencies
  readonly cpu: CpuWindow
}

type Measured = {
  readonly closedLoopRate: number
  readonly steps: readonly Step[]
  readonly best: Step
  readonly memoryMb: Readonly<Record<string, number>>
}

function countStatuses(run: LoadRun): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const status of run.statuses) counts[status] = (counts[status] ?? 0) + 1
  return counts
}

function latenciesOf(run: LoadRun): Float64Array {
  return run.answeredAtMs.map((atMs, index) => atMs - (run.intendedAtMs[index] ?? 0))
}

async function runStep(rig: Rig, server: Server, rate: number, seconds: number): Promise<Step> {
  const events = Math.round(rate * seconds)
  await rig.prepare(events)
  const sampler = rig.sampleCpu(server.process)
  const run = await rig.load({ kind: 'open', port: server.port, rate, count: events })
  const windowOf = sampler.stop()
  const statuses = countStatuses(run)
  const latencies = latenciesOf(run)
  const final = summarize(latencies.slice(Math.floor(events * 0.8)))
  return {
    ...{ rate, events, statuses },
    isSustained: statuses[200] === events && final.p50Ms < MAX_FINAL_MEDIAN_MS,
    latencies: summarize(latencies.filter((latencyMs) => !Number.isNaN(latencyMs))),
    cpu: windowOf(run.intendedAtMs[0] ?? 0, run.answeredAtMs.at(-1) || Date.now()),
  }
}

async function runClosed(rig: Rig, port: number, inFlight: number, count: number): Promise<number> {
  await rig.prepare(count)
  const run = await rig.load({ kind: 'closed', port, inFlight, count })
  const firstAtMs = run.intendedAtMs[0] ?? 0
  return (count * 1_000) / (Math.max(...run.answeredAtMs) - firstAtMs)
}

/** What a step beyond the maximum left behind would slow the next one down: with no worker here, nobody drains it. */
async function emptySpool(rig: Rig): Promise<void> {
  const spool = createSpool(rig.redis, SPOOL_MAX_ITEMS)
  await spool.drop(await spool.length())
}

/** As fast as it answers first, then open loops from there downward until one is sustained. */
async function measure(context: BenchContext, rig: Rig, server: Server): Promise<Measured> {
  const { say, scale } = context
  const warm = await runClosed(rig, server.port, WARM_UP.inFlight, WARM_UP.count)
  const probeCount = Math.round(warm * PROBE_SECONDS * scale)
  const closedLoopRate = await runClosed(rig, server.port, PROBE_IN_FLIGHT, probeCount)
  const steps: Step[] = []
  for (let rate = closedLoopRate; steps.length < MAX_STEPS; rate *= STEP_FACTOR) {
    const step = await runStep(rig, server, Math.floor(rate), STEP_SECONDS * scale)
    steps.push(step)
    const verdict = step.isSustained ? 'sustained' : 'too fast'
    say(
      `${server.process.name}: ${step.rate}/s ${verdict}, p99 ${step.latencies.p99Ms.toFixed(1)} ms`,
    )
    if (step.isSustained) {
      return { closedLoopRate, steps, best: step, memoryMb: rig.memoryMb(server.process) }
    }
    await emptySpool(rig)
  }
  throw new Error(`no rate was sustained: ${JSON.stringify(steps.at(-1))}`)
}

async function measureFloor(context: BenchContext, rig: Rig): Promise<Measured> {
  const server = await rig.startFloorIngress(false)
  const measured = await measure(context, rig, server)
  await server.process.stop()
  return measured
}

/** How fast signed webhooks become durable and are answered, beside the same app that stores nothing. */
export async function benchAccept(context: BenchContext): Promise<BenchResult> {
  const rig = await openRig(context.resources, context)
  const bodyBytes = await rig.prepare(0)
  const before = await measureFloor(context, rig)
  const ingress = await rig.startIngress()
  const ours = await measure(context, rig, ingress)
  const half = await runStep(
    rig,
    ingress,
    Math.floor(ours.best.rate / 2),
    HALF_SECONDS * context.scale,
  )
  const memoryMb = rig.memoryMb(ingress.process)
  await ingress.process.stop()
  const after = await measureFloor(context, rig)

  const all = [before.best, ours.best, after.best, half]
  const floorRate = (before.best.rate + after.best.rate) / 2
  const counted = await rig.database.pool.query<{ count: number }>(
    'select count(*)::int as count from events',
  )
  return {
    name: 'accept',
    title: 'signed Twilio form posts, open loop, journal + enqueue on',
    columns: ['floor before', 'ours', 'floor after', 'ours at half'],
    rows: [
      ['rate, events/s', ...all.map(({ rate }) => rate)],
      ['ratio to the floor', undefined, ours.best.rate / floorRate],
      ['p50, ms', ...all.map(({ latencies }) => latencies.p50Ms)],
      ['p99, ms', ...all.map(({ latencies }) => latencies.p99Ms)],
      ['longest, ms', ...all.map(({ latencies }) => latencies.maxMs)],
      ...cpuRows(all, ['ingress', 'redis', 'postgres']),
      ...Object.entries(memoryMb).map(
        ([name, megabytes]) => [`peak memory, ${name}, MB`, undefined, megabytes] as const,
      ),
    ],
    bars: [
      {
        ...{ name: 'ours / floor', unit: '', kind: 'at least', limit: 0.6 },
        value: ours.best.rate / floorRate,
      },
      {
        ...{ name: 'p99 at half of the maximum', unit: ' ms', kind: 'below', limit: 50 },
        value: half.latencies.p99Ms,
      },
    ],
    notes: [
      ...findNoise(all),
      'The floor is the same app, router and verification, log and metrics included, that answers 200 and stores nothing.',
      `A rate counts as sustained when ${STEP_SECONDS * context.scale} s of it are all answered 200 and the median of the last fifth is below ${MAX_FINAL_MEDIAN_MS} ms; found to ${Math.round((1 - STEP_FACTOR) * 100)} %.`,
      'Latency counts from the moment a request should have been sent, so a stall is charged to every request it delays.',
      `No worker runs. Log level info, written to a file. ${counted.rows[0]?.count} events of ${bodyBytes} bytes are in Postgres.`,
    ],
    settings: {
      ...{ bodyBytes, WARM_UP, PROBE_IN_FLIGHT, STEP_SECONDS, STEP_FACTOR },
      scale: context.scale,
    },
    details: { before, ours, half, after },
  }
}
