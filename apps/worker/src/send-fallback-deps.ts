import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import { writeJournal } from '@switchhook/core/store/journal'
import type { WorkerConfig } from './config.ts'
import type { LookUps } from './look-ups.ts'
import {
  createOperationalEvents,
  createTellingRecorder,
  type TellOperations,
} from './operational-events.ts'
import type { SendFallbackDeps } from './send-fallback.ts'
import { sendFallbackDigest } from './send-fallback-digest.ts'
import { createReplayLinks } from './send-fallback-links.ts'
import { createSlotFinder } from './send-fallback-slot.ts'
import type { MailSender } from './send-mail.ts'
import type { openStores } from './stores.ts'

const MAX_SINGLE_MAILS = 20
const HOUR_MS = 3_600_000

type Stores = ReturnType<typeof openStores>

/** The teller of a worker, and the recorder that makes it tell. */
export function createTelling(
  { snapshot, logPool, spool, queues, record }: Stores,
  log: Logger,
): { readonly tell: TellOperations; readonly record: Stores['record'] } {
  const journal = (entries: Parameters<typeof writeJournal>[1]) => writeJournal(logPool, entries)
  const tell = createOperationalEvents({
    ...{ nowMs: Date.now, snapshot, journal, spool, queues, log },
  })
  return { tell, record: createTellingRecorder(record, tell, Date.now) }
}

/** What the mails of a worker need, put together from its stores. */
export function createFallbackDeps(
  config: WorkerConfig,
  stores: Stores,
  shared: LookUps & {
    readonly record: Stores['record']
    readonly tell: TellOperations
    readonly sender: MailSender
    readonly metrics: Metrics
    readonly log: Logger
  },
): SendFallbackDeps {
  const publicBaseUrl = config.PUBLIC_BASE_URL.replace(/\/+$/, '')
  const { snapshot, findDestination, logPool, upkeepPool, postgres, spool } = stores
  const limits = { windowMs: config.MAIL_DIGEST_WINDOW_MS, maxSingles: MAX_SINGLE_MAILS }
  const common = {
    ...shared,
    ...{ nowMs: Date.now, findDestination, publicBaseUrl },
    links: createReplayLinks(config.ENCRYPTION_KEYS, publicBaseUrl),
    sentUnrecorded: new Set<string>(),
    retryForMs: config.MAIL_RETRY_HOURS * HOUR_MS,
  }
  const leaseMs = 2 * config.WORKER_LOCK_MS
  const digestDeps = { ...common, pool: upkeepPool, spool, random: Math.random, leaseMs }
  return {
    ...{ ...common, snapshot },
    findSlot: createSlotFinder(logPool, postgres, limits, Date.now),
    sendDigest: (slot) => sendFallbackDigest(digestDeps, slot),
  }
}
