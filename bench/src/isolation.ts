import { waitFor } from '@switchhook/testing/wait-for'
import type { BenchContext } from './bench-context.ts'
import { epochMs } from './clock.ts'
import { type DestinationsRig, openDestinationsRig } from './destinations-rig.ts'
import { type BenchResult, cpuRows, findNoise, isQuiet } from './result.ts'
import { type Latencies, medianOf, summarize } from './statistics.ts'

/** More than can be had: what comes out of it tells the most that these processes deliver here. */
const BURST_RATE = 5_000
const BURST_EVENTS = 8_000
const SECONDS = 20
const WORKERS = 2
const HEALTHY = 100
const HANGING = 25
const TIMEOUT_MS = 10_000
const ARRIVAL_TIMEOUT_MS = 60_000
/** The first retry comes after a minute. */
const DRAIN_TIMEOUT_MS = 180_000
/** Quiet ones, of so many at most. */
const ROUNDS = 3
const MAX_ROUNDS = 8

const healthyId = (index: number): string => `dst_healthy${index % HEALTHY}`
const hangingId = (round: number, index: number): string => `dst_hanging${round * HANGING + index}`

type Worker = Awaited<ReturnType<DestinationsRig['startWorker']>>
type Phase = Awaited<ReturnType<typeof runPhase>>

async function runPhase(
  rig: DestinationsRig,
  workers: readonly Worker[],
  count: number,
  rate: number,
  pick: (index: number) => string,
) {
  await rig.takePaths()
  const sampler = rig.sampleCpu(...workers)
  const isHealthy: boolean[] = []
  const injected = await rig.inject(count, rate, (index) => {
    const id = pick(index)
    isHealthy.push(id.startsWith('dst_healthy'))
    return id
  })
  const wanted = new Set([...injected.keys()].filter((_, index) => isHealthy[index] === true))
  const arrivedAtMs = new Map<string, number>()
  let hanging = 0
  await waitFor(
    async () => {
      const { ids, paths, atMs } = await rig.takePaths()
      for (const [index, id] of ids.entries()) {
        if (paths[index] === 'hang') hanging += 1
        else if (wanted.has(id)) arrivedAtMs.set(id, atMs[index] ?? Number.NaN)
      }
      return arrivedAtMs.size >= wanted.size
    },
    { timeoutMs: ARRIVAL_TIMEOUT_MS, everyMs: 200, what: `${wanted.size} healthy deliveries` },
  )
  const [fromMs = 0] = injected.values()
  const windowOf = sampler.stop()
  const tookMs = Float64Array.from(
    arrivedAtMs,
    ([id, atMs]) => atMs - (injected.get(id) ?? Number.NaN),
  )
  const latencies: Latencies = summarize(tookMs)
  const toMs = Math.max(...arrivedAtMs.values())
  const perSecond = (wanted.size * 1_000) / (toMs - fromMs)
  return { ...latencies, events: wanted.size, perSecond, hanging, cpu: windowOf(fromMs, toMs) }
}

/** Until the circuits are probed and closed, and what was put off or waits for its second attempt is delivered. */
async function drain(rig: DestinationsRig): Promise<number> {
  const fromMs = await rig.revive()
  const isDone = async () => {
    const { rowCount } = await rig.database.pool.query(
      "select 1 from deliveries where state = 'pending' limit 1",
    )
    return rowCount === 0
  }
  const what = 'the deliveries that waited'
  await waitFor(isDone, { timeoutMs: DRAIN_TIMEOUT_MS, everyMs: 500, what })
  await rig.hang()
  return (epochMs() - fromMs) / 1_000
}

type Round = {
  readonly before: Phase
  readonly during: Phase
  readonly ratio: number
  readonly drainSeconds: number
}

/** Does it cost a healthy destination anything when a fifth of the traffic goes to destinations that hang? */
export async function benchIsolation(context: BenchContext): Promise<BenchResult> {
  const { scale, say } = context
  const rig = await openDestinationsRig(context)
  const measured = Math.max(1, Math.round(ROUNDS * scale))
  const tried = Math.max(1, Math.round(MAX_ROUNDS * scale))
  await rig.seed([
    ...Array.from({ length: HEALTHY }, (_, at) => ({ id: healthyId(at), path: `/ok/${at}` })),
    ...Array.from({ length: HANGING * (tried + 1) }, (_, at) => ({
      ...{ id: hangingId(0, at), path: `/hang/${at}`, timeoutMs: TIMEOUT_MS },
    })),
  ])
  const workers: Worker[] = []
  for (let count = 1; count <= WORKERS; count += 1) {
    workers.push({ ...(await rig.startWorker()), name: `worker ${count}` })
  }

  const burst = Math.max(500, Math.round(BURST_EVENTS * scale))
  // The first one warms up.
  await runPhase(rig, workers, burst, BURST_RATE, healthyId)
  const most: Phase = await runPhase(rig, workers, burst, BURST_RATE, healthyId)
  const rate = Math.round(most.perSecond / 2)
  say(`at most ${Math.round(most.perSecond)} events/s`)
  const count = Math.max(500, Math.round(rate * SECONDS * scale))

  async function runRound(round: number): Promise<Round> {
    const before: Phase = await runPhase(rig, workers, count, rate, healthyId)
    const during: Phase = await runPhase(rig, workers, count, rate, (index) =>
      index % 5 === 4 ? hangingId(round, Math.floor(index / 5) % HANGING) : healthyId(index),
    )
    const drainSeconds = await drain(rig)
    const ratio = during.p99Ms / before.p99Ms
    say(
      `p99 ${Math.round(before.p99Ms)} ms before, ${Math.round(during.p99Ms)} with some that hang: ${ratio.toFixed(2)}${isQuiet(before) && isQuiet(during) ? '' : ' (the machine was not quiet)'}`,
    )
    return { before, during, ratio, drainSeconds }
  }
  // Workers that never met a destination that hangs run code that is not compiled yet.
  const first = await runRound(0)
  const all: Round[] = []
  const quiet = () => all.filter(({ before, during }) => isQuiet(before) && isQuiet(during))
  while (quiet().length < measured && all.length < tried) all.push(await runRound(all.length + 1))
  // What else ran on the machine decides which rounds count, never what came out of them.
  const rounds = quiet().length < measured ? all : quiet()

  const phases = rounds.flatMap(({ before, during }) => [before, during])
  const ofHanging = (find: (round: Round) => number): (number | undefined)[] =>
    rounds.flatMap((round) => [undefined, find(round)])
  const ratio = medianOf(rounds.map((round) => round.ratio))
  return {
    name: 'isolation',
    title: `${HEALTHY} healthy destinations at half load, ${rate} events/s; then every fifth event goes to one of ${HANGING} that hang ${TIMEOUT_MS / 1_000} s`,
    columns: rounds.flatMap((_, at) => [`before ${at + 1}`, `hanging ${at + 1}`]),
    rows: [
      ['healthy deliveries', ...phases.map(({ events }) => events)],
      ['due → delivered, p50, ms', ...phases.map(({ p50Ms }) => p50Ms)],
      ['due → delivered, p99, ms', ...phases.map(({ p99Ms }) => p99Ms)],
      ['due → delivered, max, ms', ...phases.map(({ maxMs }) => maxMs)],
      ['ratio of the p99 to that before', ...ofHanging((round) => round.ratio)],
      ['attempts that hung', ...phases.map(({ hanging }) => hanging)],
      ['answering again → all delivered, s', ...ofHanging((round) => round.drainSeconds)],
      ...cpuRows(phases, [...workers.map(({ name }) => name), 'redis', 'postgres']),
    ],
    bars: [
      {
        ...{ name: 'healthy p99 / before, median of the rounds', value: ratio },
        ...{ limit: 1.25, kind: 'at most', unit: '' },
      },
    ],
    notes: [
      ...findNoise(phases),
      `${rounds.length} of ${all.length} rounds; those in which something else took more than 5 % of the machine do not count if there are ${measured} others. All: ${all.map((round) => round.ratio.toFixed(2)).join(', ')}.`,
      `A round before these, in which everything hangs for the first time, had ${first.ratio.toFixed(2)}.`,
      `${WORKERS} workers. Events are put into both stores by the bench, as the ingress does. Each round has other destinations that hang; in the end they answer, and the next one begins when all is delivered.`,
      'The floor is the same product without anybody who hangs: the columns "before".',
    ],
    settings: { rate, count, workers: WORKERS, healthy: HEALTHY, hanging: HANGING, scale },
    details: { most, first, all },
  }
}
