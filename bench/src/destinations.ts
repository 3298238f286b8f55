import { announceConfigChange } from '@switchhook/core/snapshot-refresh'
import { waitFor } from '@switchhook/testing/wait-for'
import type { BenchContext } from './bench-context.ts'
import { epochMs } from './clock.ts'
import { type DestinationsRig, openDestinationsRig } from './destinations-rig.ts'
import type { BenchResult } from './result.ts'

const DESTINATIONS = 100_000
const FAILING_SHARE = 0.1
/** Of healthy ones, beside each that fails. */
const EVENTS_PER_FAILING = 4
const RATE = 1_000
const CHANGED = 1_000
const SCRAPES = 5
const ARRIVAL_TIMEOUT_MS = 120_000
const FETCH_TIMEOUT_MS = 10_000

type Worker = Awaited<ReturnType<DestinationsRig['startWorker']>>

async function scrape(worker: Worker): Promise<{ readonly tookMs: number; readonly text: string }> {
  const fromMs = epochMs()
  const response = await fetch(`http://127.0.0.1:${worker.opsPort}/metrics`, {
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  })
  const text = await response.text()
  return { tookMs: epochMs() - fromMs, text }
}

function findValue(text: string, metric: string): number {
  return Number(new RegExp(`^${metric}(?:\\{[^}]*\\})? (\\S+)`, 'm').exec(text)?.[1] ?? Number.NaN)
}

/** The longest delay of the worker's event loop since the last scrape, ms; the timer that tells has 10 ms steps. */
async function maxLagMs(worker: Worker): Promise<number> {
  return findValue((await scrape(worker)).text, 'nodejs_eventloop_lag_max_seconds') * 1_000
}

/** How long the event loop was away while the worker took a change of many destinations over. */
async function measureRefresh(
  rig: DestinationsRig,
  worker: Worker,
  changed: number,
): Promise<{ readonly quietMs: number; readonly refreshMs: number }> {
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
  await scrape(worker)
  await pause(2_000)
  const quietMs = await maxLagMs(worker)
  await rig.database.pool.query(
    `update destinations set name = name || '!' where id in (select id from destinations order by id limit $1)`,
    [changed],
  )
  await announceConfigChange(rig.redis)
  // More than the slow poll's second: by then it is there, whatever became of the message.
  await pause(2_000)
  return { quietMs, refreshMs: await maxLagMs(worker) }
}

/** What very many destinations, one in ten of them failing, cost a worker. */
export async function benchDestinations(context: BenchContext): Promise<BenchResult> {
  const { scale, say } = context
  const count = Math.max(500, Math.round(DESTINATIONS * scale))
  const failing = Math.round(count * FAILING_SHARE)
  const rig = await openDestinationsRig(context)
  const idOf = (index: number): string => `dst_many${index}`
  await rig.seed(
    Array.from({ length: count }, (_, index) => ({
      ...{ id: idOf(index), path: index < failing ? `/fails/${index}` : `/ok/${index}` },
    })),
  )
  say(`${count} destinations are there`)
  const startedAtMs = epochMs()
  const worker = await rig.startWorker()
  const startMs = epochMs() - startedAtMs
  const { worker: idleMb = Number.NaN } = rig.memoryMb(worker)

  const events = failing * EVENTS_PER_FAILING
  const healthy = count - failing
  // One in four fails; each failing destination has one event, and attempts that come again.
  const injected = await rig.inject(events, RATE, (index) =>
    index % EVENTS_PER_FAILING === 0
      ? idOf(Math.floor(index / EVENTS_PER_FAILING))
      : idOf(failing + (index % healthy)),
  )
  await waitFor(async () => (await rig.countPaths()) >= injected.size, {
    timeoutMs: ARRIVAL_TIMEOUT_MS,
    everyMs: 200,
    what: `${injected.size} first attempts`,
  })
  say('all have been tried')
  const scrapesMs: number[] = []
  for (let scraped = 0; scraped < SCRAPES; scraped += 1) {
    scrapesMs.push((await scrape(worker)).tookMs)
  }
  const changed = Math.min(CHANGED, count)
  const one = await measureRefresh(rig, worker, 1)
  const many = await measureRefresh(rig, worker, changed)
  const { worker: peakMb = Number.NaN } = rig.memoryMb(worker)
  const scrapeMs = Math.max(...scrapesMs)
  const refreshMs = Math.max(one.refreshMs, many.refreshMs)
  return {
    name: 'destinations',
    title: `${count} destinations, ${failing} of them failing`,
    columns: ['measured'],
    rows: [
      ['worker start → ready, ms', startMs],
      ['peak memory after the start, MB', idleMb],
      ['peak memory after all were tried, MB', peakMb],
      ['/metrics, slowest of five, ms', scrapeMs],
      ['event loop delay, nothing changed, max, ms', Math.max(one.quietMs, many.quietMs)],
      ['event loop delay, one destination changed, max, ms', one.refreshMs],
      [`event loop delay, ${changed} destinations changed at once, max, ms`, many.refreshMs],
    ],
    bars: [
      { name: 'worker memory', value: peakMb, limit: 600, kind: 'below', unit: ' MB' },
      { name: '/metrics', value: scrapeMs, limit: 200, kind: 'below', unit: ' ms' },
      { name: 'snapshot refresh', value: refreshMs, limit: 50, kind: 'below', unit: ' ms' },
    ],
    notes: [
      'Memory is the peak of the resident set; the delay is that of Node’s own monitor, in steps of 10 ms, retries going on beside.',
      'The floor of the delay is the row in which nothing changed.',
    ],
    settings: { count, failing, events, rate: RATE, changed, scale },
    details: { scrapesMs, one, many },
  }
}
