import { DelayedError, type Job, Queue, Worker } from 'bullmq'
import { type DeliveryJob, parseDeliveryJob } from './delivery/delivery-job.ts'
import { LANES, type Lane, laneOf, slotsOfShardLanes } from './delivery/lanes.ts'
import type { Logger } from './log.ts'
import { FALLBACK_QUEUE, LANE_QUEUES, shardOf, shardPrefix } from './queue-names.ts'
import type { RedisConnection } from './redis.ts'
import { StacklessError } from './stackless-error.ts'
import { takeAwayJob } from './take-away-job.ts'

/** One more than anybody would set: whether to go on is decided by delivery/next-step.ts, never by BullMQ. */
const UNBOUNDED = 1_000_000

const JOB_OPTIONS = {
  attempts: UNBOUNDED,
  backoff: { type: 'custom' },
  stackTraceLimit: 0,
} as const

export type FallbackJob = {
  readonly deliveryId: string
  readonly to: string
  readonly reason: string
  readonly attempts: number
  readonly delivery: DeliveryJob
}

export type QueueCounts = Readonly<Record<'waiting' | 'active' | 'delayed', number>>

export type WaitingDelivery = { readonly deliveryId: string; readonly lane: Lane }

export type Queues = {
  /** Adding the id of a job that is still in the lane changes nothing. Its type decides the lane unless told. */
  addDelivery(job: DeliveryJob, lane?: Lane): Promise<void>
  addFallback(job: FallbackJob): Promise<void>
  /**
   * Takes away what is to be done for a delivery, attempt or mail. What a worker has in hand just now is not stopped,
   * but before it would try again it asks Postgres what became of the delivery.
   */
  removeDelivery(deliveryId: string, destinationId: string): Promise<void>
  /** What waits for a later moment is due now, in the order given; what does not wait is left as it is. */
  promote(destinationId: string, waiting: readonly WaitingDelivery[]): Promise<void>
  /** Which of these deliveries have no job in any lane, and no mail: one pipeline per shard. */
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
  const lanes = Array.from({ length: shards }, (_, shard) => {
    const open = (lane: Lane): Queue =>
      openQueue(LANE_QUEUES[lane], shardPrefix(shard), connection, log)
    const [calls, messages, records, slow] = LANES.map(open) as [Queue, Queue, Queue, Queue]
    return { calls, messages, records, slow }
  })
  const fallback = openQueue(FALLBACK_QUEUE.name, FALLBACK_QUEUE.prefix, connection, log)
  const lanesOf = (destinationId: string): Readonly<Record<Lane, Queue>> =>
    lanes[shardOf(destinationId, shards)] as Readonly<Record<Lane, Queue>>

  async function jobExists(id: string, destinationId: string): Promise<boolean> {
    const keys = Object.values(lanesOf(destinationId)).map((queue) => queue.toKey(id))
    const found = await Promise.all([
      connection.exists(...keys),
      connection.exists(fallback.toKey(id)),
    ])
    return found.some((count) => count > 0)
  }

  const removed = (job: DeliveryJob): DeliveryJob => ({ ...job, requeued: true, removed: true })

  return {
    async addDelivery(job, lane = laneOf(job.event.type)) {
      await lanesOf(job.destinationId)[lane].add('d', job, { jobId: job.deliveryId })
    },
    async addFallback(job) {
      await fallback.add('f', job, { jobId: job.deliveryId })
    },
    async removeDelivery(deliveryId, destinationId) {
      const markMail = (job: FallbackJob) => ({ ...job, delivery: removed(job.delivery) })
      await takeAwayJob(fallback, deliveryId, markMail)
      const queues = Object.values(lanesOf(destinationId))
      await Promise.all(queues.map((queue) => takeAwayJob(queue, deliveryId, removed)))
    },
    async promote(destinationId, waiting) {
      const queues = lanesOf(destinationId)
      // Sent together and in order. What is at work, or done, is not in the delayed set, which BullMQ calls an error.
      await Promise.allSettled(
        waiting.map(({ deliveryId, lane }) => queues[lane].getBackend().promote(deliveryId)),
      )
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
      const named = lanes.flatMap((queues, shard) =>
        LANES.map((lane) => [`${LANE_QUEUES[lane]}-${shard}`, queues[lane]] as const),
      )
      const all = [...named, [FALLBACK_QUEUE.name, fallback] as const]
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
      const all = [...lanes.flatMap((queues) => Object.values(queues)), fallback]
      await Promise.allSettled(all.map((queue) => queue.close()))
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

type CountedRun<Data> = JobRun<Data> & {
  /** How often the job was put off without an attempt. */
  readonly waits: number
  /** Of the earlier runs, those that were interrupted since the last one that ended in a known way. */
  readonly lostRuns: number
}

export type DeliveryRun = CountedRun<DeliveryJob> & { readonly lane: Lane; readonly shard: number }

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

/** Carries the delay to the backoff function; a stack would also cost room in Redis. */
class RetryLater extends StacklessError {
  readonly delayMs: number
  constructor(delayMs: number, message: string) {
    super(message)
    this.delayMs = delayMs
  }
}

/** Tells BullMQ that the job was moved; one is enough. */
const DELAYED = new DelayedError()

/** BullMQ keeps the message of the last failure with the job, here with the deaths until then: the next run looks. */
const RETRY = 'retry'
const UNCERTAIN = 'uncertain'

function readPast({ stalledCounter, failedReason = '' }: Job) {
  const isUncertain = failedReason.startsWith(UNCERTAIN)
  const known = Number(/ (\d+)$/.exec(failedReason)?.[1] ?? 0)
  const lostRuns = Math.max(0, stalledCounter - known) + (isUncertain ? 1 : 0)
  return { interrupted: stalledCounter > 0 || isUncertain, lostRuns }
}

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
  handle: (run: CountedRun<Data>) => Promise<JobStep>,
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
    try {
      const runs = job.attemptsMade + job.stalledCounter
      const waits = Math.max(0, job.attemptsStarted - runs - 1)
      return await handle({ data, run: runs + 1, waits, ...readPast(job) })
    } catch (error) {
      log.error({ job_id: job.id, error }, 'job.failed')
      return { kind: 'defer', delayMs: DEFER_AFTER_FAULT_MS }
    }
  }

  async function process(job: Job, token?: string): Promise<void> {
    const step = await findStep(job)
    if (step.kind === 'done') return
    if (step.kind === 'retry') {
      const ended = step.uncertain === true ? UNCERTAIN : RETRY
      throw new RetryLater(step.delayMs, `${ended} ${job.stalledCounter}`)
    }
    await job.moveToDelayed(Date.now() + Math.max(1, Math.floor(step.delayMs)), token)
    throw DELAYED
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

/** Works on the deliveries of all shards; each lane has its own share of the concurrency. */
export function startDeliveryConsumer(
  options: ConsumerOptions & { readonly shards: number },
  handle: (run: DeliveryRun) => Promise<JobStep>,
): Consumer {
  const { shards } = options
  const slots = slotsOfShardLanes(options.concurrency, shards)
  const workers = Array.from({ length: shards }, (_, shard) =>
    LANES.map((lane) => {
      const inLane = (run: CountedRun<DeliveryJob>): Promise<JobStep> =>
        handle({ ...run, lane, shard })
      const ofLane = { ...options, concurrency: slots[lane] }
      return startWorker(LANE_QUEUES[lane], shardPrefix(shard), ofLane, parseDeliveryJob, inLane)
    }),
  ).flat()
  return { stop: (timeoutMs) => stopWorkers(workers, timeoutMs) }
}

export function startFallbackConsumer(
  options: ConsumerOptions,
  parse: (data: unknown) => FallbackJob,
  handle: (run: JobRun<FallbackJob>) => Promise<JobStep>,
): Consumer {
  const worker = startWorker(FALLBACK_QUEUE.name, FALLBACK_QUEUE.prefix, options, parse, handle)
  return { stop: (timeoutMs) => stopWorkers([worker], timeoutMs) }
}
