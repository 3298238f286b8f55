import { readCircuits } from '@switchhook/core/circuits'
import { waitFor } from '@switchhook/testing/wait-for'
import type { BenchContext } from './bench-context.ts'
import { epochMs } from './clock.ts'
import { type DestinationsRig, openDestinationsRig } from './destinations-rig.ts'
import type { BenchResult } from './result.ts'

const EVENTS = 10_000
const WORKERS = 3
const ID = 'dst_dead'
const RATE_PER_SECOND = 500
/** In place of 30 s, so that the bench sees several pauses: they double. */
const FIRST_PAUSE_MS = 4_000
const INJECT_PER_SECOND = 2_000
const OPEN_TIMEOUT_MS = 30_000
const LOOK_EVERY_MS = 20
const DRAIN_TIMEOUT_MS = 240_000

/** `evalsha` and `eval` so far: what a job that wakes up costs. */
async function countScripts(rig: DestinationsRig): Promise<number> {
  const text = await rig.redis.info('commandstats')
  const calls = [...text.matchAll(/cmdstat_eval(?:sha)?:calls=(\d+)/g)]
  return calls.reduce((sum, [, count]) => sum + Number(count), 0)
}

/** The most arrivals in any second. */
function busiestSecond(atMs: readonly number[]): number {
  let most = 0
  let from = 0
  for (const [to, ms] of atMs.entries()) {
    while (ms - (atMs[from] ?? ms) >= 1_000) from += 1
    most = Math.max(most, to - from + 1)
  }
  return most
}

type Pause = { readonly openedAtMs: number; readonly nextProbeAtMs: number }

/** Notes every pause of the circuit, the first one first, until it is told to stop. */
function watchPauses(rig: DestinationsRig): { pauses(): Pause[]; stop(): void } {
  const pauses = new Map<number, Pause>()
  const look = async (): Promise<void> => {
    const circuit = (await readCircuits(rig.redis, [ID])).get(ID)
    if (circuit !== undefined) pauses.set(circuit.nextProbeAtMs, circuit)
  }
  const timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS)
  return { pauses: () => [...pauses.values()], stop: () => clearInterval(timer) }
}

/** What a dead destination with a long backlog costs, and how it comes back. */
export async function benchDead(context: BenchContext): Promise<BenchResult> {
  const { scale, say } = context
  const events = Math.max(200, Math.round(EVENTS * scale))
  const rig = await openDestinationsRig(context)
  await rig.seed([{ id: ID, path: '/dead', ratePerSecond: RATE_PER_SECOND, maxConcurrency: 1_000 }])
  const env = { CIRCUIT_FIRST_PAUSE_MS: String(FIRST_PAUSE_MS) }
  for (let count = 0; count < WORKERS; count += 1) await rig.startWorker(env)
  const watch = watchPauses(rig)
  context.resources.defer(watch.stop)

  await rig.inject(events, INJECT_PER_SECOND, () => ID)
  const opened = await waitFor(async () => watch.pauses()[0], {
    timeoutMs: OPEN_TIMEOUT_MS,
    what: 'the circuit to open',
  })
  say('the circuit is open')
  const scriptsBefore = await countScripts(rig)
  const countedAtMs = epochMs()
  // Two whole pauses: 4 s and 8 s.
  await waitFor(async () => epochMs() - opened.openedAtMs > 3.5 * FIRST_PAUSE_MS, {
    timeoutMs: 10 * FIRST_PAUSE_MS,
    everyMs: 100,
    what: 'two pauses',
  })
  const scripts = (await countScripts(rig)) - scriptsBefore
  const openSeconds = (epochMs() - countedAtMs) / 1_000
  const aliveAtMs = await rig.revive()
  say('the destination is back')
  const { pool } = rig.database
  await waitFor(
    async () => {
      const pending = await pool.query(`select 1 from deliveries where state = 'pending' limit 1`)
      return pending.rowCount === 0
    },
    { timeoutMs: DRAIN_TIMEOUT_MS, everyMs: 200, what: 'all delivered' },
  )
  const drainedAtMs = epochMs()
  watch.stop()
  const pauses = watch.pauses()
  const { atMs, ids } = await rig.takePaths()
  const arrivals = [...atMs]

  const storm = arrivals.filter((ms) => ms <= opened.nextProbeAtMs - 50)
  const lateMs = Math.max(0, (storm.at(-1) ?? 0) - opened.openedAtMs)
  const whileOpen = arrivals.filter((ms) => ms > opened.nextProbeAtMs - 50 && ms < aliveAtMs)
  const ended = pauses.filter(({ nextProbeAtMs }) => nextProbeAtMs < aliveAtMs)
  const probesPerPause = whileOpen.length / Math.max(1, ended.length)
  const burst = busiestSecond(arrivals.filter((ms) => ms >= aliveAtMs))
  const { rows } = await pool.query<{ logged: number; attempts: number; delivered: number }>(
    `select (select count(*)::int from webhook_logs) as logged, sum(attempts)::int as attempts,
            count(*) filter (where state = 'delivered')::int as delivered from deliveries`,
  )
  const { logged = 0, attempts = 0, delivered = 0 } = rows[0] ?? {}
  if (delivered !== events || new Set(ids).size !== events) {
    throw new Error(`${events} owed, ${delivered} delivered, ${new Set(ids).size} arrived`)
  }
  const uncharged = Math.max(0, attempts - ids.length, logged - ids.length)
  const wakeUps = scripts / events / (openSeconds / 60)
  return {
    name: 'dead',
    title: `${events} events for a dead destination, ${WORKERS} workers, then it comes back`,
    columns: ['measured'],
    rows: [
      ['attempts before it was open everywhere', storm.length],
      ['last of them after the opening, ms', lateMs],
      ['pauses that ended while it was dead', ended.length],
      ['attempts in them', whileOpen.length],
      ['attempts charged that were none', uncharged],
      ['scripts in Redis per waiting delivery and minute', wakeUps],
      ['back → all delivered, s', (drainedAtMs - aliveAtMs) / 1_000],
      ['most in one second while it drained', burst],
    ],
    bars: [
      { name: 'open on all workers', value: lateMs, limit: 100, kind: 'at most', unit: ' ms' },
      { name: 'probes per pause', value: probesPerPause, limit: 1, kind: 'at most', unit: '' },
      { name: 'charged without an attempt', value: uncharged, limit: 0, kind: 'at most', unit: '' },
      {
        name: 'burst / rate',
        value: burst / RATE_PER_SECOND,
        limit: 1.7,
        kind: 'at most',
        unit: '',
      },
    ],
    notes: [
      `rate_limit_per_second ${RATE_PER_SECOND}; the first pause is ${FIRST_PAUSE_MS / 1_000} s here, 30 s by default.`,
      'There is no floor: what has no circuit makes every attempt.',
      'Every event arrived and was delivered: checked.',
    ],
    settings: { events, workers: WORKERS, ratePerSecond: RATE_PER_SECOND, scale },
    details: { opened, pauses, storm, whileOpen },
  }
}
