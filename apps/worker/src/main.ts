import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { createLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startOperationsServer } from '@switchhook/core/operations-server'
import { startDeliveryConsumer, startFallbackConsumer } from '@switchhook/core/queue'
import { createCircuitBreakers } from './circuit-breakers.ts'
import { loadConfig } from './config.ts'
import { type DeliverDeps, deliver } from './deliver.ts'
import { createEgressAgent } from './egress-agent.ts'
import { createGauges } from './gauges.ts'
import { createLookUps } from './look-ups.ts'
import { postEvent } from './post-event.ts'
import { createSigningKeys, prepareRequest } from './prepare-request.ts'
import { parseFallbackJob, type SendFallbackDeps, sendFallback } from './send-fallback.ts'
import { createMailSender } from './send-mail.ts'
import { openStores } from './stores.ts'
import { startUpkeep } from './upkeep.ts'

const FALLBACK_CONCURRENCY = 5
const config = loadConfig(process.env)
const log = createLogger('worker', config.LOG_LEVEL)
const registry = createRegistry()
const metrics = createMetrics(registry)
const stopSignal = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])

// Closed in reverse, on a signal or when starting fails.
await using resources = new AsyncDisposableStack()
const stores = resources.adopt(openStores(config, metrics, log), (opened) => opened.close())
const circuits = resources.adopt(createCircuitBreakers(log), (breakers) => breakers.close())
const operations = resources.adopt(
  await startOperationsServer({
    host: config.OPS_HOST,
    port: config.OPS_PORT,
    registry,
    checks: stores.readiness,
    beforeScrape: createGauges(stores.queues, circuits, metrics),
  }),
  (server) => server.stop(),
)
const rules = createEgressRules({
  allowedCidrs: config.DESTINATION_ALLOWED_CIDRS,
  allowHttp: config.DESTINATION_ALLOW_HTTP,
})
const agent = resources.adopt(createEgressAgent(rules), (opened) => opened.destroy())
const sender = resources.adopt(createMailSender(config.SMTP_URL, config.MAIL_FROM), (opened) =>
  opened.close(),
)

const { snapshot, queues, spool, findDestination, record } = stores
const keys = createSigningKeys(config.ENCRYPTION_KEYS)
const shared = {
  ...{ nowMs: Date.now, snapshot, findDestination, record, metrics, log },
  ...createLookUps(stores.logPool, stores.postgres, spool),
}
const deliverDeps: DeliverDeps = {
  ...{ ...shared, random: Math.random, circuits },
  prepare: (event, destination, nowMs) => prepareRequest(event, destination, snapshot, keys, nowMs),
  post: (request) => postEvent(agent, request),
  enqueueFallback: (job) => queues.addFallback(job),
}
const fallbackDeps: SendFallbackDeps = {
  ...{ ...shared, sender, publicBaseUrl: config.PUBLIC_BASE_URL, sentUnrecorded: new Set() },
  retryForMs: config.MAIL_RETRY_HOURS * 3_600_000,
}

// Without the configuration every destination would look deleted.
while (!stores.refresh.isLoaded()) {
  if (await Promise.race([sleep(100, false), stopSignal.then(() => true)])) process.exit(0)
}
resources.defer(
  startUpkeep({
    ...{ ...shared, pool: stores.upkeepPool, queues, spool },
    everyMs: config.REQUEUE_EVERY_MS,
    requeueAfterMs: config.REQUEUE_AFTER_MS,
    retentionDays: config.RETENTION_DAYS,
  }),
)
const consumer = { connection: stores.consuming, lockMs: config.WORKER_LOCK_MS, log }
const consumers = [
  startDeliveryConsumer(
    { ...consumer, concurrency: config.WORKER_CONCURRENCY, shards: config.QUEUE_SHARDS },
    (run) => deliver(deliverDeps, run),
  ),
  startFallbackConsumer(
    { ...consumer, concurrency: FALLBACK_CONCURRENCY },
    parseFallbackJob,
    (run) => sendFallback(fallbackDeps, run),
  ),
]
log.info({ ops_port: operations.port, concurrency: config.WORKER_CONCURRENCY }, 'worker.started')

await stopSignal
setTimeout(() => process.exit(1), config.SHUTDOWN_TIMEOUT_MS).unref() // an orderly stop has a deadline
operations.startDraining()
log.info({}, 'worker.stopping')
await Promise.all(consumers.map((one) => one.stop(config.SHUTDOWN_TIMEOUT_MS * 0.8)))
