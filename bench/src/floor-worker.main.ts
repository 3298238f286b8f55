/**
 * The floor of delivering: a bare BullMQ worker that makes one `undici.request` per job, with the concurrency, the locks
 * and the connections of ours. Env: REDIS_URL, URL, BODY_BYTES.
 */
import { Worker } from 'bullmq'
import { Redis } from 'ioredis'
import { Agent, request } from 'undici'
import { FLOOR_PREFIX, FLOOR_QUEUE } from './floor-queue.ts'

// The worker's defaults: apps/worker/src/config.ts, egress-agent.ts and packages/core/src/queue.ts.
const CONCURRENCY = 200
const LOCK_MS = 30_000
const MAX_CONNECTIONS = 256
const REQUEST_TIMEOUT_MS = 5_000

const { REDIS_URL = '', URL: url = '', BODY_BYTES } = process.env
const body = Buffer.alloc(Number(BODY_BYTES), 'x')
const headers = { 'content-type': 'application/json' }
const dispatcher = new Agent({
  connections: MAX_CONNECTIONS,
  headersTimeout: REQUEST_TIMEOUT_MS,
  bodyTimeout: REQUEST_TIMEOUT_MS,
})

const worker = new Worker(
  FLOOR_QUEUE,
  async (job) => {
    // The id lets the receiver's times be matched to what was sent.
    const { event } = job.data as { event: { id: string } }
    const response = await request(url, {
      ...{ dispatcher, body, method: 'POST' },
      headers: { ...headers, 'webhook-id': event.id },
    })
    await response.body.dump()
    if (response.statusCode !== 200) throw new Error(`answered ${response.statusCode}`)
  },
  {
    connection: new Redis(REDIS_URL, { maxRetriesPerRequest: null }),
    prefix: FLOOR_PREFIX,
    concurrency: CONCURRENCY,
    lockDuration: LOCK_MS,
    stalledInterval: LOCK_MS / 2,
    drainDelay: 5,
    removeOnComplete: { count: 0 },
    removeOnFail: { count: 0 },
  },
)
worker.on('error', (error) => process.stderr.write(`${error.message}\n`))

process.on('message', () => undefined) // Keeps the channel open: without its parent it ends.
process.once('disconnect', () => process.exit())
process.once('SIGTERM', () => process.exit())
