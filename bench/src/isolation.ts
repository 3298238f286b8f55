import { waitFor } from '@switchhook/testing/wait-for'
import type { BenchContext } from './bench-context.ts'
import { type DestinationsRig, openDestinationsRig } from './destinations-rig.ts'
import { type BenchResult, cpuRows, findNoise } from './result.ts'
import { type Latencies, summarize } from './statistics.ts'

/** More than can be had: what comes out of it tells the most that these processes deliver here. */
const BURST_RATE = 5_000
const BURST_EVENTS = 8_000
const SECONDS = 20
const WORKERS = 2
const HEALTHY = 100
const HANGING = 25
const TIMEOUT_MS = 10_000
const ARRIVAL_TIMEOUT_MS = 60_000

const healthyId = (index: number): string => `dst_healthy${index % HEALTHY}`
const hangingId = (index: number): string => `dst_hanging${index % HANGING}`

type Phase = Awaited<ReturnType<typeof runPhase>>

async function runPhase(
  rig: DestinationsRig,
  workers: Awaited<ReturnType<DestinationsRig['startWorker']>>[],
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

/** Does it cost a healthy destination anything when a fifth of the traffic goes to destinations that hang? */
export async function benchIsolation(context: BenchContext): Promise<BenchResult> {
  const { scale, say } = context
  const rig = await openDestinationsRig(context)
  await rig.seed([
    ...Array.from({ length: HEALTHY }, (_, at) => ({ id: healthyId(at), path: `/ok/${at}` })),
    ...Array.from({ length: HANGING }, (_, at) => ({
      ...{ id: hangingId(at), path: `/hang/${at}`, timeoutMs: TIMEOUT_MS },
    })),
  ])
  const workers: Awaited<ReturnType<DestinationsRig['startWorker']>>[] = []
  for (let count = 0; count < WORKERS; count += 1) workers.push(await rig.startWorker())

  const burst = Math.max(500, Math.round(BURST_EVENTS * scale))
  // The first one warms up.
  await runPhase(rig, workers, burst, BURST_RATE, healthyId)
  const most: Phase = await runPhase(rig, workers, burst, BURST_RATE, healthyId)
  const rate = Math.round(most.perSecond / 2)
  say(`at most ${Math.round(most.perSecond)} events/s`)
  const count = Math.max(500, Math.round(rate * SECONDS * scale))
  const before: Phase = await runPhase(rig, workers, count, rate, healthyId)
  say(`healthy alone: p99 ${Math.round(before.p99Ms)} ms`)
  const during: Phase = await runPhase(rig, workers, count, rate, (index) =>
    index % 5 === 4 ? hangingId(Math.floor(index / 5)) : healthyId(index),
  )
  say(`with destinations that hang: p99 ${Math.round(during.p99Ms)} ms`)
  const after: Phase = await runPhase(rig, workers, count, rate, healthyId)
  say(`healthy alone again: p99 ${Math.round(after.p99Ms)} ms`)

  const all = [before, during, after]
  const ratio = during.p99Ms / before.p99Ms
  return {
    name: 'isolation',
    title: `${HEALTHY} healthy destinations at half load, ${rate} events/s; then every fifth event goes to one of ${HANGING} that hang ${TIMEOUT_MS / 1_000} s`,
    columns: ['before', 'hanging', 'after'],
    rows: [
      ['healthy deliveries', ...all.map(({ events }) => events)],
      ['due → delivered, p50, ms', ...all.map(({ p50Ms }) => p50Ms)],
      ['due → delivered, p99, ms', ...all.map(({ p99Ms }) => p99Ms)],
      ['due → delivered, max, ms', ...all.map(({ maxMs }) => maxMs)],
      ['ratio of the p99 to that before', undefined, ratio, after.p99Ms / before.p99Ms],
      ['attempts that hung', ...all.map(({ hanging }) => hanging)],
      ...cpuRows(all, ['worker', 'redis', 'postgres']),
    ],
    bars: [{ name: 'healthy p99 / before', value: ratio, limit: 1.25, kind: 'at most', unit: '' }],
    notes: [
      ...findNoise(all),
      `${WORKERS} workers; the row "worker" is the last one's. Events are put into both stores by the bench, as the ingress does.`,
      'The floor is the same product without anybody who hangs: the columns before and after.',
    ],
    settings: { rate, count, workers: WORKERS, healthy: HEALTHY, hanging: HANGING, scale },
    details: { most, before, during, after },
  }
}
