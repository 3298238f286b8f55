import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { randomText } from '@switchhook/core/ids'
import { createLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startOperationsServer } from '@switchhook/core/operations-server'
import { acceptEvent } from './accept-event.ts'
import { createApiRouter } from './api/api-router.ts'
import { createApp } from './app.ts'
import { loadConfig } from './config.ts'
import { closeServer, listen } from './http-server.ts'
import { openStores } from './stores.ts'
import { createWebhookRouter } from './webhook-router.ts'

const config = loadConfig(process.env)
const log = createLogger('ingress', config.LOG_LEVEL)
const registry = createRegistry()
const metrics = createMetrics(registry)
let isDraining = false

// Closed in reverse, on a signal or when starting fails.
await using resources = new AsyncDisposableStack()
const stores = resources.adopt(openStores(config, metrics, log), (opened) => opened.close())
const operations = resources.adopt(
  await startOperationsServer({
    host: config.OPS_HOST,
    port: config.OPS_PORT,
    registry,
    checks: stores.readiness,
  }),
  (server) => server.stop(),
)

const { snapshot, refresh, accept: acceptDeps } = stores
const isReady = () => refresh.isLoaded()
const accept = (event: Parameters<typeof acceptEvent>[1]) => acceptEvent(acceptDeps, event)
const { PUBLIC_BASE_URL: publicBaseUrl } = config
const webhooks = createWebhookRouter({
  ...{ snapshot, isReady, accept, publicBaseUrl, metrics, log },
  nowMs: Date.now,
})
const api = createApiRouter({
  ...{ snapshot, isReady, accept, publicBaseUrl, log },
  database: stores.apiDatabase,
  ring: config.ENCRYPTION_KEYS,
  egress: createEgressRules({
    allowedCidrs: config.DESTINATION_ALLOWED_CIDRS,
    allowHttp: config.DESTINATION_ALLOW_HTTP,
  }),
  // Unset, nobody can create organizations here.
  adminApiKey: config.ADMIN_API_KEY ?? randomText(32),
  rateLimitPerSecond: config.API_RATE_LIMIT_PER_SECOND,
  configChanged: stores.configChanged,
})
const serves = new Set(config.INGRESS_SERVES)
const app = createApp({
  routers: [...(serves.has('webhooks') ? [webhooks] : []), ...(serves.has('api') ? [api] : [])],
  isDraining: () => isDraining,
  log,
})
const server = resources.adopt(
  await listen(app, config.INGRESS_HOST, config.INGRESS_PORT),
  (listening) => closeServer(listening, config.SHUTDOWN_TIMEOUT_MS / 2),
)
log.info({ address: server.address(), ops_port: operations.port }, 'ingress.started')

await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])
setTimeout(() => process.exit(1), config.SHUTDOWN_TIMEOUT_MS).unref() // an orderly stop has a deadline
isDraining = true
operations.startDraining()
// Time for load balancers to look elsewhere and for clients to be told to reconnect.
await sleep(config.DRAIN_DELAY_MS)
log.info({}, 'ingress.stopping')
