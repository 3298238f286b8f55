import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { Registry } from 'prom-client'
import { withDeadline } from './deadline.ts'

/** Resolves when the dependency answers. */
export type ReadinessChecks = Readonly<Record<string, () => Promise<unknown>>>

export type OperationsOptions = {
  readonly host: string
  readonly port: number
  readonly registry: Registry
  readonly checks: ReadinessChecks
  /** Brings gauges up to date before a scrape; a slow one is left out of that scrape. */
  readonly beforeScrape?: () => Promise<void>
}

export type OperationsServer = {
  readonly port: number
  /** From now on /readyz says 503, so that a load balancer looks elsewhere. */
  startDraining(): void
  stop(): Promise<void>
}

const CHECK_TIMEOUT_MS = 800
const SCRAPE_TIMEOUT_MS = 1_000

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify(body))
}

async function findUnready(checks: ReadinessChecks): Promise<Record<string, 'ok' | string>> {
  const results = await Promise.all(
    Object.entries(checks).map(async ([name, check]) => {
      try {
        await withDeadline(check(), CHECK_TIMEOUT_MS, name)
        return [name, 'ok'] as const
      } catch {
        return [name, 'no answer'] as const
      }
    }),
  )
  return Object.fromEntries(results)
}

/** `/metrics`, `/healthz` (the process lives) and `/readyz` (its dependencies answer), on a port of their own. */
export async function startOperationsServer(options: OperationsOptions): Promise<OperationsServer> {
  let draining = false

  async function respond(path: string, response: ServerResponse): Promise<void> {
    if (path === '/healthz') return answer(response, 200, { status: 'ok' })
    if (path === '/readyz') {
      const checks = await findUnready(options.checks)
      const isReady = !draining && Object.values(checks).every((result) => result === 'ok')
      const status = draining ? 'draining' : isReady ? 'ok' : 'unready'
      return answer(response, isReady ? 200 : 503, { status, checks })
    }
    if (path === '/metrics') {
      const refreshed = options.beforeScrape?.() ?? Promise.resolve()
      await withDeadline(refreshed, SCRAPE_TIMEOUT_MS, 'gauges').catch(() => undefined)
      response.writeHead(200, { 'content-type': options.registry.contentType })
      response.end(await options.registry.metrics())
      return
    }
    answer(response, 404, { detail: 'Not Found' })
  }

  const server = createServer((request, response) => {
    const path = (request.url ?? '/').split('?', 1)[0] ?? '/'
    respond(path, response).catch(() => {
      if (!response.headersSent) answer(response, 500, { detail: 'Internal Server Error' })
      response.end()
    })
  })
  server.listen(options.port, options.host)
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : options.port
  return {
    port,
    startDraining() {
      draining = true
    },
    async stop() {
      server.close()
      server.closeAllConnections()
      if (server.listening) await once(server, 'close')
    },
  }
}
