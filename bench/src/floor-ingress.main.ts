/**
 * The floor of accepting: the ingress's own Express app, router, verification, metrics and log, with nothing stored.
 * With ENQUEUES=true each event becomes one bare BullMQ job. Env: as the ingress, and ENQUEUES.
 */
import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import { deliveryId } from '@switchhook/core/ids'
import { createLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { createSnapshot } from '@switchhook/core/routing/snapshot'
import { findConfigChanges } from '@switchhook/core/store/config-changes'
import { openDatabase } from '@switchhook/core/store/database'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { createApp } from '../../apps/ingress/src/app.ts'
import { loadConfig } from '../../apps/ingress/src/config.ts'
import { listen } from '../../apps/ingress/src/http-server.ts'
import {
  createWebhookRouter,
  type WebhookRouterDeps,
} from '../../apps/ingress/src/webhook-router.ts'
import { FLOOR_PREFIX, FLOOR_QUEUE } from './floor-queue.ts'
import { TENANT } from './tenant.ts'

const config = loadConfig(process.env)
const log = createLogger('floor-ingress', config.LOG_LEVEL)
const database = openDatabase(
  {
    url: config.DATABASE_URL,
    applicationName: 'switchhook-floor',
    maxConnections: 1,
    queryTimeoutMs: 5_000,
  },
  log,
)
const snapshot = createSnapshot()
snapshot.apply(await findConfigChanges(database.db, 0, config.ENCRYPTION_KEYS, log))
await database.close()

const queue =
  process.env.ENQUEUES === 'true'
    ? new Queue(FLOOR_QUEUE, {
        prefix: FLOOR_PREFIX,
        connection: new Redis(config.REDIS_URL, { maxRetriesPerRequest: 1 }),
        streams: { events: { maxLen: 100 } },
      })
    : undefined

const accept: WebhookRouterDeps['accept'] = async (event) => {
  const { destinationId } = TENANT
  const id = deliveryId(event.id, destinationId)
  if (queue !== undefined) {
    const ref = { deliveryId: id, destinationId, createdAtMs: event.receivedAtMs }
    const job = createDeliveryJob({ ...ref, priorAttempts: 0, requeued: false }, event, 'small')
    await queue.add('d', job, { jobId: id })
  }
  return { kind: 'accepted', deliveryIds: [id] }
}

const router = createWebhookRouter({
  ...{ snapshot, accept, log, publicBaseUrl: config.PUBLIC_BASE_URL },
  ...{ metrics: createMetrics(createRegistry()), isReady: () => true, nowMs: Date.now },
  calls: { findOwner: async () => undefined, findTenants: async () => [] },
  mayFail: () => false,
  mayGuess: () => false,
  quarantine: { hold: async () => undefined, holdAuthentic: async () => false },
})
const app = createApp({ routers: [router], trustedProxies: [], isDraining: () => false, log })
const server = await listen(app, config.INGRESS_HOST, 0)
const address = server.address()
const port = typeof address === 'object' ? address?.port : undefined

process.on('message', () => process.send?.({ port }))
process.once('disconnect', () => process.exit())
process.once('SIGTERM', () => process.exit())
