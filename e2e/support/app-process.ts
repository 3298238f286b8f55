import { type OutputLine, type RunningProcess, spawnNode } from '@switchhook/testing/processes'
import { waitFor } from '@switchhook/testing/wait-for'
import { request } from 'undici'

const ENTRY = {
  ingress: new URL('../../apps/ingress/src/main.ts', import.meta.url),
  worker: new URL('../../apps/worker/src/main.ts', import.meta.url),
} as const

const START_TIMEOUT_MS = 60_000
const LOOK_TIMEOUT_MS = 10_000

export type AppKind = keyof typeof ENTRY

/** A real ingress or worker, with its operations server on a port of its own. */
export type AppProcess = RunningProcess & {
  /** Of the ingress's public side; of no meaning for a worker. */
  readonly url: string
  readonly opsUrl: string
  /** GET on the operations server. */
  look(path: '/healthz' | '/readyz' | '/metrics'): Promise<{ status: number; text: string }>
  /** The value of one series as it is printed, e.g. `name{label="x"}`; undefined while it is not there. */
  metric(series: string): Promise<number | undefined>
  waitUntilReady(): Promise<void>
  waitForMetric(series: string, isReached: (value: number) => boolean): Promise<number>
}

function field(line: string, pattern: RegExp): string {
  const found = pattern.exec(line)?.[1]
  if (found === undefined) throw new Error(`no ${pattern} in ${line}`)
  return found
}

async function get(url: string): Promise<{ status: number; text: string }> {
  const response = await request(url, { signal: AbortSignal.timeout(LOOK_TIMEOUT_MS) })
  return { status: response.statusCode, text: await response.body.text() }
}

/** Starts the process on free ports; resolves when it listens, which is before it is ready. */
export async function startApp(
  kind: AppKind,
  env: Readonly<Record<string, string>>,
  onLine: (line: OutputLine) => void,
): Promise<AppProcess> {
  const running = await spawnNode({
    name: kind,
    entry: ENTRY[kind],
    env: { ...env, OPS_PORT: '0', ...(kind === 'ingress' ? { INGRESS_PORT: '0' } : {}) },
    onLine,
  })
  const started = await running
    .waitForLine(new RegExp(`"${kind}\\.started"`), START_TIMEOUT_MS)
    .catch(async (error: unknown) => {
      await running[Symbol.asyncDispose]()
      throw error
    })
  const opsUrl = `http://127.0.0.1:${field(started, /"ops_port":(\d+)/)}`
  const url = kind === 'ingress' ? `http://127.0.0.1:${field(started, /"port":(\d+)/)}` : ''

  const app: AppProcess = {
    ...running,
    ...{ url, opsUrl },
    look: (path) => get(opsUrl + path),
    async metric(series) {
      const { text } = await get(`${opsUrl}/metrics`)
      const line = text.split('\n').find((one) => one.startsWith(`${series} `))
      return line === undefined ? undefined : Number(line.slice(series.length + 1))
    },
    async waitUntilReady() {
      await waitFor(async () => (await get(`${opsUrl}/readyz`)).status === 200, {
        timeoutMs: START_TIMEOUT_MS,
        everyMs: 50,
        what: `the ${kind} to be ready`,
      })
    },
    waitForMetric: (series, isReached) =>
      waitFor(
        async () => {
          const value = await app.metric(series)
          return value !== undefined && isReached(value) ? { value } : undefined
        },
        { timeoutMs: START_TIMEOUT_MS, everyMs: 100, what: `${series} of the ${kind}` },
      ).then(({ value }) => value),
  }
  return app
}
