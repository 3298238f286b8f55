import type { BenchContext } from './bench-context.ts'
import { DELIVERED_BYTES } from './deliver.ts'
import {
  checkLogged,
  type EndToEndRun,
  type Pipeline,
  runEndToEnd,
  waitUntilLogged,
} from './end-to-end-run.ts'
import { type BenchResult, cpuRows, findNoise, sumCpuUs } from './result.ts'
import { openRig, type Rig } from './rig.ts'

/** V8 takes some ten thousand events to settle. */
const WARM_UP = { rate: 1_500, seconds: 6 }
const FIRST_RATE = 2_000
const FACTOR = 1.3
const MAX_CLIMB_STEPS = 7
const BISECTIONS = 2
const STEP_SECONDS = 4
const WHOLE_SECONDS = 10
const FLOOR_SECONDS = 4
const REFERENCE_RATE = 2_000
/** Everything delivered and logged within this of the last event, after 10 s; in proportion after a shorter time. */
const MAX_DRAIN_MS = 3_000
const STEP_DOWN = 0.93
const MAX_WHOLE_RUNS = 4
const SUMMED = ['ingress', 'worker', 'redis', 'postgres']

function isSustained(run: EndToEndRun, seconds: number, scale: number): boolean {
  return run.refused === 0 && run.drainMs <= (MAX_DRAIN_MS * seconds) / (WHOLE_SECONDS * scale)
}

async function runFloor(
  context: BenchContext,
  rig: Rig,
  rates: readonly number[],
): Promise<EndToEndRun[]> {
  const ingress = await rig.startFloorIngress(true)
  const worker = await rig.startFloorWorker(DELIVERED_BYTES)
  await runEndToEnd(rig, { ingress, worker }, WARM_UP.rate, WARM_UP.seconds * context.scale)
  const runs: EndToEndRun[] = []
  for (const rate of rates) {
    runs.push(await runEndToEnd(rig, { ingress, worker }, rate, FLOOR_SECONDS * context.scale))
  }
  await worker.stop()
  await ingress.process.stop()
  return runs
}

/** Climbs by 30 % until a rate is too much, halves the gap twice, and proves what it found over a longer time. */
async function findBestRun(
  context: BenchContext,
  rig: Rig,
  pipeline: Pipeline,
): Promise<{ readonly best: EndToEndRun; readonly steps: readonly EndToEndRun[] }> {
  const { say, scale } = context
  const steps: EndToEndRun[] = []
  const isPossible = async (rate: number, seconds: number): Promise<EndToEndRun | undefined> => {
    const run = await runEndToEnd(rig, pipeline, Math.floor(rate), seconds)
    steps.push(run)
    const sustained = isSustained(run, seconds, scale)
    const verdict = sustained ? 'sustained' : 'too fast'
    say(
      `${run.rate}/s for ${seconds} s ${verdict}, all logged ${Math.round(run.drainMs)} ms after the last`,
    )
    return sustained ? run : undefined
  }

  let possible = FIRST_RATE / FACTOR
  let impossible = FIRST_RATE
  for (let step = 0; step < MAX_CLIMB_STEPS; step += 1) {
    if ((await isPossible(impossible, STEP_SECONDS * scale)) === undefined) break
    possible = impossible
    impossible *= FACTOR
  }
  for (let step = 0; step < BISECTIONS; step += 1) {
    const middle = Math.sqrt(possible * impossible)
    if ((await isPossible(middle, STEP_SECONDS * scale)) === undefined) impossible = middle
    else possible = middle
  }
  for (let step = 0; step < MAX_WHOLE_RUNS; step += 1) {
    const best = await isPossible(possible, WHOLE_SECONDS * scale)
    if (best !== undefined) return { best, steps }
    possible *= STEP_DOWN
  }
  throw new Error('no rate was sustained; see above')
}

/** The whole way: accepted, delivered, logged, with the load generator and the receiver on the same machine. */
export async function benchEndToEnd(context: BenchContext): Promise<BenchResult> {
  const rig = await openRig(context.resources, context)
  const [before] = await runFloor(context, rig, [REFERENCE_RATE])

  const ingress = await rig.startIngress()
  const worker = await rig.startWorker()
  const pipeline: Pipeline = {
    ...{ ingress, worker },
    waitUntilLogged: waitUntilLogged(rig),
    checkLogged: checkLogged(rig),
  }
  await runEndToEnd(rig, pipeline, WARM_UP.rate, WARM_UP.seconds * context.scale)
  const { best, steps } = await findBestRun(context, rig, pipeline)
  const halfRate = Math.floor(best.rate / 2)
  const half = await runEndToEnd(rig, pipeline, halfRate, WHOLE_SECONDS * context.scale)
  await ingress.process.stop()
  await worker.stop()

  const [after, sameRate] = await runFloor(context, rig, [REFERENCE_RATE, best.rate])
  if (before === undefined || sameRate === undefined || after === undefined) {
    throw new Error('the floor was not measured')
  }
  const all = [before, best, half, sameRate, after]
  const cpuUs = sumCpuUs(best.cpu, best.events, SUMMED)
  const floorCpuUs = sumCpuUs(sameRate.cpu, sameRate.events, [
    ...['floor ingress', 'floor worker', 'redis', 'postgres'],
  ])
  return {
    name: 'end-to-end',
    title: 'load generator → ingress → worker → receiver, all on this machine',
    columns: ['floor before', 'ours', 'ours at half', 'floor, same rate', 'floor after'],
    rows: [
      ['rate, events/s', ...all.map(({ rate }) => rate)],
      ['events', ...all.map(({ events }) => events)],
      ['last one sent → all logged, ms', ...all.map(({ drainMs }) => drainMs)],
      ['accept → answered, p50, ms', ...all.map(({ accepted }) => accepted.p50Ms)],
      ['accept → answered, p99, ms', ...all.map(({ accepted }) => accepted.p99Ms)],
      ['accept → delivered, p50, ms', ...all.map(({ delivered }) => delivered.p50Ms)],
      ['accept → delivered, p99, ms', ...all.map(({ delivered }) => delivered.p99Ms)],
      ...cpuRows(all, SUMMED),
      ['CPU ours / floor at the same rate', undefined, cpuUs / floorCpuUs],
      ...Object.entries(half.memoryMb).map(
        ([name, megabytes]) => [`peak memory, ${name}, MB`, undefined, megabytes] as const,
      ),
    ],
    bars: [
      { name: 'best sustained rate', value: best.rate, limit: 3_000, kind: 'at least', unit: '/s' },
      {
        name: 'CPU per event at that rate',
        value: cpuUs,
        limit: 450,
        kind: 'at most',
        unit: ' µs',
      },
      {
        ...{ name: 'p99 accept → delivered at half of it', unit: ' ms', kind: 'below', limit: 100 },
        value: half.delivered.p99Ms,
      },
    ],
    notes: [
      ...findNoise(all),
      `The best rate: ${WHOLE_SECONDS * context.scale} s of it, all answered 200, and all delivered and logged within ${MAX_DRAIN_MS / 1_000} s of the last.`,
      'Ledger: every acked event arrived exactly once and has one log row that says delivered, in every run: checked.',
      'Latency counts from the moment an event should have been sent to the moment the receiver has all of it.',
      'The floor verifies, adds a bare BullMQ job, and posts it with one undici.request: one store, no log, no signature.',
      'CPU is everything from the first event to the last commit. Log level info, written to a file.',
    ],
    settings: {
      ...{ WARM_UP, STEP_SECONDS, WHOLE_SECONDS, MAX_DRAIN_MS, REFERENCE_RATE },
      ...{ workerConcurrency: 200, scale: context.scale },
    },
    details: { before, best, half, sameRate, after, steps },
  }
}
