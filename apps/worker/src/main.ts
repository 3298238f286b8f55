import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { openSharedCircuits, subscribeToCircuits } from '@switchhook/core/circuits'
import { createEgressWatch } from '@switchhook/core/delivery/own-fault'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { limitHeapGrowth } from '@switchhook/core/heap-growth'
import { createLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startOperationsServer } from '@switchhook/core/operations-server'
import { createParkedDeliveries } from '@switchhook/core/parked-deliveries'
import { startDeliveryConsumer, startFallbackConsumer } from '@switchhook/core/queue'
import { announceConfigChange } from '@switchhook/core/snapshot-refresh'
import { writeCircuitChanges } from '@switchhook/core/store/circuit-changes'
import { createCircuitBreakers } from './circuit-breakers.ts'
import { startCircuitHistory } from './circuit-history.ts'
import { loadConfig } from './config.ts'
import { type DeliverDeps, deliver } from './deliver.ts'
import { startDisabling } from './disable-destination.ts'
import { createHeeding } from './disable-destination-heed.ts'
import { createOwnerTeller } from './disable-destination-tell.ts'
import { createEgressAgent } from './egress-agent.ts'
import { createSharedLookup } from './egress-lookup.ts'
import { createProxyConnector } from './egress-proxy.ts'
import { joinFleet } from './fleet.ts'
import { createGates } from './gates.ts'
import { createGauges } from './gauges.ts'
import { createLaneRoom } from './lane-room.ts'
import { startLongWork } from './long-work.ts'
import { createLookUps } from './look-ups.ts'
import { toOperationalChanges } from './operational-events.ts'
import { postEvent } from './post-event.ts'
import { createSecretOpener, prepareRequest } from './prepare-request.ts'
import { createRateLimits } from './rate-limits.ts'
import { startResumingParked } from './resume-parked.ts'
import { parseFallbackJob, sendFallback } from './send-fallback.ts'
import { createFallbackDeps, createTelling } from './send-fallback-deps.ts'
import { createMailSender } from './send-mail.ts'
import { startOperatorNotices } from './send-operator-notice.ts'
import { createSlots } from './slots.ts'
import { shareSlowDowns } from './slow-down.ts'
import { createSlowLanePace } from './slow-lane-pace.ts'
import { openStores } from './stores.ts'
import { startUpkeep } from './upkeep.ts'

const FALLBACK_CONCURRENCY = 5
const DISABLING_EVERY_MS = 5_000
/** Longer than an ingress takes to accept. */
const ERASURE_SETTLES_MS = 3_000
limitHeapGrowth()
const config = loadConfig(process.env)
const log = createLogger('worker', config.LOG_LEVEL)
const registry = createRegistry()
const metrics = createMetrics(registry)
const stopSignal = Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')])

// Closed in reverse, on a signal or when starting fails.
await using resources = new AsyncDisposableStack()
const room = createLaneRoom(config.WORKER_CONCURRENCY, config.QUEUE_SHARDS)
const stores = resources.adopt(openStores(config, room, metrics, log), (opened) => opened.close())
const { tell, record } = createTelling(stores, log)
const history = resources.adopt(
  startCircuitHistory(async (changes) => {
    await writeCircuitChanges(stores.logPool, changes)
    await tell(toOperationalChanges(changes))
  }, log),
  (writing) => writing.stop(),
)
const sharedCircuits = openSharedCircuits(stores.connection)
const circuits = resources.adopt(
  createCircuitBreakers({
    shared: sharedCircuits,
    subscribe: (hear) => subscribeToCircuits(stores.circuitSubscriber, hear),
    firstPauseMs: config.CIRCUIT_FIRST_PAUSE_MS,
    maxPauseMs: config.CIRCUIT_MAX_PAUSE_MS,
    onChange: history.note,
    log,
  }),
  (breakers) => breakers.close(),
)
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
const { EGRESS_PROXY_URL: proxyUrl } = config
const resolveHost = createSharedLookup()
const connect =
  proxyUrl === undefined ? undefined : createProxyConnector(proxyUrl, rules, resolveHost)
const agent = resources.adopt(createEgressAgent(rules, resolveHost, connect), (opened) =>
  opened.destroy(),
)
const watch = createEgressWatch()
const sender = resources.adopt(createMailSender(config.SMTP_URL, config.MAIL_FROM), (opened) =>
  opened.close(),
)

const { snapshot, queues, spool, findDestination } = stores
const openSecrets = createSecretOpener(config.ENCRYPTION_KEYS)
const shared = {
  ...{ nowMs: Date.now, snapshot, findDestination, record, metrics, log },
  ...createLookUps(stores.logPool, stores.postgres, spool),
}
const fleet = resources.adopt(joinFleet(stores.connection, log), (joined) => joined.stop())
const parked = createParkedDeliveries(stores.connection, queues)
const chance = { nowMs: Date.now, random: Math.random }
const slots = createSlots({
  ...{ ...chance, concurrency: config.WORKER_CONCURRENCY, shareOf: fleet.shareOf },
  isShared: () => snapshot.countOrganizations() > 1,
})
const slowDowns = shareSlowDowns({
  ...{ slots, connection: stores.connection, subscriber: stores.circuitSubscriber },
  nowMs: Date.now,
})
const rateLimits = createRateLimits(stores.connection, Math.random)
const disabling = resources.adopt(
  startDisabling({
    ...{ database: stores.upkeepDatabase, nowMs: Date.now, everyMs: DISABLING_EVERY_MS, log },
    announce: () => announceConfigChange(stores.connection),
    tellOwner: createOwnerTeller({ sender, tell, publicBaseUrl: config.PUBLIC_BASE_URL }),
  }),
  (started) => started.stop(),
)
const deliverDeps: DeliverDeps = {
  ...{ ...shared, random: Math.random, circuits },
  firstAttemptGraceMs: 2 * config.CIRCUIT_FIRST_PAUSE_MS,
  prepare: (event, destination, nowMs) =>
    prepareRequest(event, destination, snapshot, openSecrets, nowMs),
  post: (request) => postEvent(agent, request, watch),
  heed: createHeeding({ slots: slowDowns, disabling, log }),
  enqueueFallback: (job) => queues.addFallback(job),
  moveToSlowLane: (job) => queues.addDelivery(job, 'slow'),
  gates: createGates({ ...chance, slots, fleet, rateLimits, parked }),
}
const fallbackDeps = createFallbackDeps(config, stores, { ...shared, sender, tell })

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
resources.defer(
  startLongWork({
    ...{ database: stores.upkeepDatabase, queues, spool, log },
    ...{ everyMs: config.REQUEUE_EVERY_MS, settleMs: ERASURE_SETTLES_MS },
  }),
)
resources.defer(
  startResumingParked({
    ...{ parked, circuits, log, queues, probeNow: sharedCircuits.probeNow },
    findDestination: (id) => snapshot.findDestination(id),
  }),
)
const to = config.OPERATOR_EMAIL
if (to !== undefined) {
  const { RETENTION_DAYS: retentionDays } = config
  resources.defer(startOperatorNotices({ pool: stores.upkeepPool, sender, to, retentionDays, log }))
}
await Promise.all([fleet.joined, circuits.waitUntilLoaded()])
const consumer = { connection: stores.consuming, lockMs: config.WORKER_LOCK_MS, log }
const concurrency = config.WORKER_CONCURRENCY
const slowLanePace = createSlowLanePace(concurrency, () => performance.now())
const consumers = [
  startDeliveryConsumer({ ...consumer, concurrency, shards: config.QUEUE_SHARDS }, (run) =>
    room.hold(run, async () => {
      if (run.lane === 'slow') await slowLanePace()
      return await deliver(deliverDeps, run)
    }),
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
