import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { limitHeapGrowth } from '@switchhook/core/heap-growth'
import { createLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startOperationsServer } from '@switchhook/core/operations-server'
import { startKeyUses } from './api/key-uses.ts'
import { createApp } from './app.ts'
import { loadConfig } from './config.ts'
import { closeServer, listen } from './http-server.ts'
import { createRouters } from './routers.ts'
import { openStores } from './stores.ts'

limitHeapGrowth()
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

const keyUses = resources.adopt(startKeyUses({ database: stores.apiDatabase, log }), (counting) =>
  counting.stop(),
)
const app = createApp({
  routers: createRouters({ config, stores, metrics, keyUses, log }),
  trustedProxies: config.TRUSTED_PROXIES,
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
