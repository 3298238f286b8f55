import type { Destination } from '@switchhook/core/event'
import type { Logger } from '@switchhook/core/log'
import type { Metrics } from '@switchhook/core/metrics'
import type { JobStep } from '@switchhook/core/queue'
import type { Spool } from '@switchhook/core/spool'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import {
  type DigestLine,
  findDigestLines,
  listDigest,
  settleDigest,
} from '@switchhook/core/store/mail-digest-lines'
import {
  keepDigest,
  type MailSlot,
  putOffDigest,
  type TakenDigest,
  takeDigest,
} from '@switchhook/core/store/mail-digests'
import { createDigestMail, type DigestEntry, toDigestEntry } from './mail-digest.ts'
import { type TellOperations, toGivenUpChanges } from './operational-events.ts'
import type { ReplayLinks } from './send-fallback-links.ts'
import { mailRetryDelayMs } from './send-fallback-retry.ts'
import type { MailSender } from './send-mail.ts'

export type SendDigestDeps = {
  readonly nowMs: () => number
  readonly random: () => number
  readonly pool: DatabaseHandle['pool']
  readonly spool: Pick<Spool, 'length'>
  readonly findDestination: (id: string) => Promise<Destination | undefined>
  readonly sender: Pick<MailSender, 'send'>
  /** Digests of this process that Postgres took no note of yet. */
  readonly sentUnrecorded: Set<string>
  readonly links: ReplayLinks
  readonly tell: TellOperations
  readonly publicBaseUrl: string
  readonly retryForMs: number
  /** How long a worker that sends may be silent before another one sends. */
  readonly leaseMs: number
  readonly metrics: Pick<Metrics, 'fallbackEmails' | 'deliveries'>
  readonly log: Logger
}

const PAGE = 200
/** More is counted, not listed. Mail servers commonly refuse 10 MB, and base64 adds a third. */
const MAX_ENTRIES = 10_000
const MAX_ENTRIES_BYTES = 3_000_000
const LOOK_AGAIN_MS = 2_000
const RECORD_AGAIN_MS = 5_000
/** Of thousands that wait for the same digest one sends it: the others come a little later. */
const SPREAD_MS = 2_000

async function* pagesOf(pool: SendDigestDeps['pool'], id: string): AsyncGenerator<DigestLine[]> {
  let page: DigestLine[] = []
  do {
    page = await findDigestLines(pool, id, page.at(-1), PAGE)
    yield page
  } while (page.length === PAGE)
}

async function readEntries(pool: SendDigestDeps['pool'], id: string): Promise<DigestEntry[]> {
  const entries: DigestEntry[] = []
  let bytes = 0
  for await (const page of pagesOf(pool, id)) {
    for (const line of page) {
      const entry = toDigestEntry(line)
      bytes += Buffer.byteLength(JSON.stringify(entry))
      if (bytes > MAX_ENTRIES_BYTES || entries.length === MAX_ENTRIES) return entries
      entries.push(entry)
    }
  }
  return entries
}

async function settle(
  deps: SendDigestDeps,
  digestId: string,
  state: 'emailed' | 'given_up',
  note?: string,
): Promise<JobStep> {
  const count = await settleDigest(deps.pool, digestId, state, note)
  deps.metrics.deliveries.inc({ state }, count)
  deps.log.info({ digest_id: digestId, count, state }, 'digest.settled')
  return { kind: 'done' }
}

/** A digest that went out is never sent again for want of a place to write that down. */
async function settleSent(deps: SendDigestDeps, digestId: string): Promise<JobStep> {
  deps.sentUnrecorded.add(digestId)
  try {
    const step = await settle(deps, digestId, 'emailed')
    deps.sentUnrecorded.delete(digestId)
    return step
  } catch (error) {
    deps.log.error({ digest_id: digestId, error }, 'fallback.unrecorded')
    return { kind: 'defer', delayMs: RECORD_AGAIN_MS }
  }
}

async function giveUp(
  deps: SendDigestDeps,
  digest: TakenDigest,
  count: number,
  error: string,
): Promise<JobStep> {
  const { id, destinationId } = digest
  const fields = { digest_id: id, destination_id: destinationId, count }
  deps.log.error({ ...fields, error }, 'digest.given_up')
  await deps.tell([
    {
      ...{ name: 'mail.failed', destinationId, key: id, atMs: deps.nowMs() },
      message: `The mail of ${count} deliveries that could not be made failed: ${error} They were given up.`,
      data: { digest_id: id, deliveries: count, reason: error },
    },
  ])
  const note = ` The fallback mail failed: ${error}`
  // Told first, as of every delivery that is given up: a worker that dies between the two does both again.
  for await (const page of pagesOf(deps.pool, id)) {
    const changes = page.flatMap(({ event, ...line }) => {
      const about = { destinationId, eventId: event.id, eventType: event.type }
      const reason = `${line.reason ?? ''}${note}`
      return toGivenUpChanges({ ...line, ...about, reason }, deps.nowMs())
    })
    await deps.tell(changes)
  }
  return settle(deps, id, 'given_up', note)
}

async function send(deps: SendDigestDeps, digest: TakenDigest): Promise<JobStep> {
  const { id, destinationId, recipient } = digest
  const total = await listDigest(deps.pool, id)
  if (total === 0) return settle(deps, id, 'emailed')
  const destination = await deps.findDestination(destinationId)
  const link = deps.links(id, deps.nowMs())
  const mail = createDigestMail({
    ...{ digestId: id, to: recipient, destinationId, total },
    destinationName: destination?.name ?? '',
    entries: await readEntries(deps.pool, id),
    ...{ replayUrl: link.url, replayUntilMs: link.expiresAtMs },
    publicBaseUrl: deps.publicBaseUrl,
  })
  const result = await deps.sender.send(mail)
  deps.metrics.fallbackEmails.inc({ outcome: result.kind })
  if (result.kind === 'sent') return settleSent(deps, id)
  const isTooLate = deps.nowMs() - digest.dueAtMs > deps.retryForMs
  if (result.kind === 'rejected' || isTooLate) return giveUp(deps, digest, total, result.error)
  const delayMs = mailRetryDelayMs(digest.tries)
  deps.log.warn({ digest_id: id, error: result.error }, 'fallback.failed')
  await putOffDigest(deps.pool, digest, delayMs)
  return { kind: 'defer', delayMs: delayMs + 1 }
}

/**
 * What becomes of a delivery that shares a digest: it waits for the digest to be due, and one of those that wait sends
 * it. The one gap is a worker that dies between the mail server's 250 and the commit: there the Message-ID is the same.
 * Throws when a store fails before the mail is sent.
 */
export async function sendFallbackDigest(
  deps: SendDigestDeps,
  slot: Extract<MailSlot, { kind: 'digest' }>,
): Promise<JobStep> {
  const { digestId, dueInMs } = slot
  if (deps.sentUnrecorded.has(digestId)) return settleSent(deps, digestId)
  if (dueInMs > 0) {
    return { kind: 'defer', delayMs: dueInMs + 1 + deps.random() * SPREAD_MS }
  }
  // Some of them may have been mailed singly while Postgres was away, and the spool is where that is known. It drains
  // once Postgres is back; should it not, a digest waits for it no longer than a mail is tried.
  if (-dueInMs < deps.retryForMs && (await deps.spool.length()) > 0) {
    return { kind: 'defer', delayMs: LOOK_AGAIN_MS }
  }
  const digest = await takeDigest(deps.pool, digestId, deps.leaseMs)
  if (digest === undefined) return { kind: 'defer', delayMs: LOOK_AGAIN_MS }
  const keeping = setInterval(() => {
    keepDigest(deps.pool, digest, deps.leaseMs).catch((error: unknown) => {
      deps.log.warn({ digest_id: digestId, error }, 'digest.not_kept')
    })
  }, deps.leaseMs / 3)
  try {
    return await send(deps, digest)
  } finally {
    clearInterval(keeping)
  }
}
