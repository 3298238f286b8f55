import { DelayedError, type Job, Queue, Worker } from 'bullmq'
import { type DeliveryJob, parseDeliveryJob } from './delivery/delivery-job.ts'
import type { Logger } from './log.ts'
import type { RedisConnection } from './redis.ts'

/** One more than anybody would set: whether to go on is decided by delivery/next-step.ts, never by BullMQ. */
const UNBOUNDED = 1_000_000
const DELIVERY_QUEUE = 'deliver'
const FALLBACK_QUEUE = 'fallback'
/** A hash tag of its own per queue: on Redis Cluster each queue lives in one slot and the queues spread. */
const shardPrefix = (shard: number): string => `{switchhook:${shard}}`
const FALLBACK_PREFIX = '{switchhook:fallback}'

const JOB_OPTIONS = {
  attempts: UNBOUNDED,
  backoff: { type: 'custom' },
  stackTraceLimit: 0,
} as const

/** FNV-1a, so that a destination is always on the same shard, in every process. */
function shardOf(destinationId: string, shards: number): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < destinationId.length; index += 1) {
    hash = Math.imul(hash ^ destinationId.charCodeAt(index), 0x01000193) >>> 0
  }
  return hash % shards
}

export type FallbackJob = {
  readonly deliveryId: string
  readonly to: string
  readonly reason: string
  readonly attempts: number
  readonly delivery: DeliveryJob
}

export type QueueCounts = Readonly<Record<'waiting' | 'active' | 'delayed', number>>

export type Queues = {
  /** Adding the id of a job that is still there changes nothing. */
  addDelivery(job: DeliveryJob): Promise<void>
  addFallback(job: FallbackJob): Promise<void>
  /**
   * Takes away what is to be done for a delivery, attempt or mail. What a worker has in hand just now is not stopped,
   * but before it would try again it asks Postgres what became of the delivery.
   */
  removeDelivery(deliveryId: string, destinationId: string): Promise<void>
  /** Which of these deliveries have no job of either kind: one pipeline per shard. */
  findMissing(jobs: readonly { deliveryId: string; destinationId: string }[]): Promise<Set<string>>
  counts(): Promise<ReadonlyMap<string, QueueCounts>>
  close(): Promise<void>
}

function openQueue(name: string, prefix: string, connection: RedisConnection, log: Logger): Queue {
  const queue = new Queue(name, {
    connection,
    prefix,
    // A queue made while Redis is away must work when it is back (runtime.md §0.8).
    skipWaitingForReady: true,
    skipVersionCheck: true,
    streams: { events: { maxLen: 100 } },
    defaultJobOptions: JOB_OPTIONS,
  })
  queue.on('error', (error) => log.debug({ error: error.message }, 'queue.connection_failed'))
  return queue
}

/** The sending side. `connection` should be an answering one: every call is awaited by something with a deadline. */
export function openQueues(connection: RedisConnection, shards: number, log: Logger): Queues {
  const deliveries = Array.from({ length: shards }, (_, shard) =>
    openQueue(DELIVERY_QUEUE, shardPrefix(shard), connection, log),
  )
  const fallback = openQueue(FALLBACK_QUEUE, FALLBACK_PREFIX, connection, log)
  const queueOf = (destinationId: string): Queue =>
    deliveries[shardOf(destinationId, shards)] as Queue

  async function jobExists(id: string, destinationId: string): Promise<boolean> {
    const found = await Promise.all([
      connection.exists(queueOf(destinationId).toKey(id)),
      connection.exists(fallback.toKey(id)),
    ])
    return found.some((count) => count > 0)
  }

  return {
    async addDelivery(job) {
      await queueOf(job.destinationId).add('d', job, { jobId: job.deliveryId })
    },
    async addFallback(job) {
      await fallback.add('f', job, { jobId: job.deliveryId })
    },
    async removeDelivery(deliveryId, destinationId) {
      const queue = queueOf(destinationId)
      await fallback.remove(deliveryId)
      if ((await queue.remove(deliveryId)) === 1) return
      const job: Job<DeliveryJob> | undefined = await queue.getJob(deliveryId)
      await job?.updateData({ ...job.data, requeued: true })
    },
    async findMissing(jobs) {
      const missing = new Set<string>()
      // Sent together, so they share the round trip.
      await Promise.all(
        jobs.map(async ({ deliveryId, destinationId }) => {
          if (!(await jobExists(deliveryId, destinationId))) missing.add(deliveryId)
        }),
      )
      return missing
    },
    async counts() {
      const named = [
        ...deliveries.map((queue, shard) => [`${DELIVERY_QUEUE}-${shard}`, queue] as const),
      ]
      const all = [...named, [FALLBACK_QUEUE, fallback] as const]
      return new Map(
        await Promise.all(
          all.map(async ([name, queue]) => {
            const found = await queue.getJobCounts('waiting', 'active', 'delayed')
            const { waiting = 0, active = 0, delayed = 0 } = found
            return [name, { waiting, active, delayed }] as const
          }),
        ),
      )
    },
    async close() {
      await Promise.allSettled([...deliveries, fallback].map((queue) => queue.close()))
    },
  }
}

/** What the consumer does with a job: end it, charge a failed attempt and wait, or wait without a charge. */
export type JobStep =
  | { readonly kind: 'done' }
  /** `uncertain`: what this run did was not recorded, so the next one is told that it was interrupted. */
  | { readonly kind: 'retry'; readonly delayMs: number; readonly uncertain?: boolean }
  | { readonly kind: 'defer'; readonly delayMs: number }

export type JobRun<Data> = {
  readonly data: Data
  /** Which run this is, from 1: a run that ended in `retry`, or in the death of its worker, counts; a deferral does not. */
  readonly run: number
  /** An earlier worker died, lost its lock, or could not record what it did: that is not known here. */
  readonly interrupted: boolean
}

export type ConsumerOptions = {
  readonly connection: RedisConnection
  readonly concurrency: number
  /** After this long without a sign of life from its worker a job is given to another. */
  readonly lockMs: number
  readonly log: Logger
}

export type Consumer = {
  /** Takes no more jobs and waits for those in hand, at most `timeoutMs`; the rest is found by another worker. */
  stop(timeoutMs: number): Promise<void>
}

/** Carries the delay to the backoff function; without a stack, which would cost 60 µs and room in Redis. */
class RetryLater extends Error {
  readonly delayMs: number
  constructor(delayMs: number, message: string) {
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.delayMs = delayMs
  }
}

/** BullMQ keeps the message of the last failure with the job: that is how the next run knows. */
const RETRY = 'retry'
const UNCERTAIN = 'uncertain'

const DEFER_AFTER_FAULT_MS = 5_000

/** Never NaN, never 0: BullMQ would call us in a hot loop (runtime.md §0.5). */
function backoffDelayMs(_attemptsMade: number, _type?: string, error?: Error): number {
  const delayMs = error instanceof RetryLater ? error.delayMs : DEFER_AFTER_FAULT_MS
  return Number.isFinite(delayMs) ? Math.max(1, Math.floor(delayMs)) : DEFER_AFTER_FAULT_MS
}

function startWorker<Data>(
  name: string,
  prefix: string,
  options: ConsumerOptions,
  parse: (data: unknown) => Data,
  handle: (run: JobRun<Data>) => Promise<JobStep>,
): Worker {
  const { log } = options

  async function findStep(job: Job): Promise<JobStep> {
    let data: Data
    try {
      data = parse(job.data)
    } catch (error) {
      // Nothing to work on. If Postgres knows the delivery, the requeuer makes a readable job of it.
      log.error({ job_id: job.id, error }, 'job.unreadable')
      return { kind: 'done' }
    }
    const interrupted = job.stalledCounter > 0 || job.failedReason === UNCERTAIN
    try {
      return await handle({ data, run: job.attemptsMade + job.stalledCounter + 1, interrupted })
    } catch (error) {
      log.error({ job_id: job.id, error }, 'job.failed')
      return { kind: 'defer', delayMs: DEFER_AFTER_FAULT_MS }
    }
  }

  async function process(job: Job, token?: string): Promise<void> {
    const step = await findStep(job)
    if (step.kind === 'done') return
    if (step.kind === 'retry') {
      throw new RetryLater(step.delayMs, step.uncertain === true ? UNCERTAIN : RETRY)
    }
    await job.moveToDelayed(Date.now() + Math.max(1, Math.floor(step.delayMs)), token)
    throw new DelayedError()
  }

  const worker = new Worker(name, process, {
    connection: options.connection,
    prefix,
    concurrency: options.concurrency,
    lockDuration: options.lockMs,
    stalledInterval: Math.ceil(options.lockMs / 2),
    // By default a job whose worker died twice is failed without calling us: no log, no mail (runtime.md §0.4).
    maxStalledCount: UNBOUNDED,
    runRetryDelay: 1_000,
    drainDelay: 5,
    removeOnComplete: { count: 0 },
    // A kept failed job would make every later add of its id a silent no-op.
    removeOnFail: { count: 0 },
    settings: { backoffStrategy: backoffDelayMs },
  })
  worker.on('error', (error) => log.warn({ queue: name, error: error.message }, 'consumer.failed'))
  return worker
}

async function stopWorkers(workers: readonly Worker[], timeoutMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, timeoutMs)
  const closed = Promise.allSettled(workers.map((worker) => worker.close()))
  await Promise.race([closed, promise])
  clearTimeout(timer)
}

/** Works on the deliveries of all shards. */
export function startDeliveryConsumer(
  options: ConsumerOptions & { readonly shards: number },
  handle: (run: JobRun<DeliveryJob>) => Promise<JobStep>,
): Consumer {
  const perShard = { ...options, concurrency: Math.ceil(options.concurrency / options.shards) }
  const workers = Array.from({ length: options.shards }, (_, shard) =>
    startWorker(DELIVERY_QUEUE, shardPrefix(shard), perShard, parseDeliveryJob, handle),
  )
  return { stop: (timeoutMs) => stopWorkers(workers, timeoutMs) }
}

export function startFallbackConsumer(
  options: ConsumerOptions,
  parse: (data: unknown) => FallbackJob,
  handle: (run: JobRun<FallbackJob>) => Promise<JobStep>,
): Consumer {
  const worker = startWorker(FALLBACK_QUEUE, FALLBACK_PREFIX, options, parse, handle)
  return { stop: (timeoutMs) => stopWorkers([worker], timeoutMs) }
}
