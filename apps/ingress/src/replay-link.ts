import { createDeliveryJob, type DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import {
  type OpenedReplayToken,
  openReplayToken,
  type ReplaySubject,
} from '@switchhook/core/delivery/replay-token'
import type { Logger } from '@switchhook/core/log'
import type { KeyRing } from '@switchhook/core/secrets'
import { writeAudit } from '@switchhook/core/store/audit-logs'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import { findEvent } from '@switchhook/core/store/event-queries'
import { findEvents } from '@switchhook/core/store/owed-deliveries'
import {
  type DigestReplay,
  findLinkedDelivery,
  findLinkedDestination,
  findLinkedDigest,
  findLinkUse,
  insertDigestReplays,
  type LinkedDelivery,
  useLink,
} from '@switchhook/core/store/replay-links'
import {
  EventNotKeptError,
  inReplayTransaction,
  insertReplay,
} from '@switchhook/core/store/replays'
import { isStoreUnavailable } from '@switchhook/core/store/unavailable'
import { type Request, type Response, Router } from 'express'
import { LINK_HEADERS, type LinkView, renderLinkPage } from './replay-link-page.ts'

export type ReplayLinkDeps = {
  readonly nowMs: () => number
  readonly database: DatabaseHandle
  readonly ring: KeyRing
  readonly enqueueDelivery: (job: DeliveryJob) => Promise<void>
  readonly log: Logger
}

const STATUS: Readonly<Record<LinkView['kind'], number>> = {
  ...{ offer: 200, done: 200, used: 410, expired: 410 },
  ...{ unknown: 404, unsettled: 409, gone: 409, unavailable: 503 },
}
/** Payloads may be large. */
const EVENTS_AT_ONCE = 20

/** What the link can do now, and whose it is. */
type Looked = {
  readonly view: LinkView
  readonly organizationId?: string
  readonly single?: LinkedDelivery
}

async function lookAtDelivery(deps: ReplayLinkDeps, id: string): Promise<Looked> {
  const { db } = deps.database
  const single = await findLinkedDelivery(db, id)
  if (single === undefined) return { view: { kind: 'gone', what: 'payload' } }
  if (single.state === 'pending') return { view: { kind: 'unsettled' } }
  const { organizationId } = single
  const event = await findEvent(db, organizationId, single.eventId)
  if (event === undefined || event.erasedAtMs !== null) {
    return { view: { kind: 'gone', what: 'payload' } }
  }
  const { type, phoneNumber, receivedAtMs } = event
  const facts = { count: 1, event: { type, phoneNumber, receivedAtMs } }
  const view = await offerTo(deps, single, facts)
  return { view, organizationId, single }
}

async function offerTo(
  { database: { db } }: ReplayLinkDeps,
  owner: Pick<LinkedDelivery, 'organizationId' | 'destinationId'>,
  facts: Omit<Extract<LinkView, { kind: 'offer' }>['facts'], 'destinationName'>,
): Promise<LinkView> {
  const destination = await findLinkedDestination(db, owner)
  if (destination === undefined) return { kind: 'gone', what: 'destination' }
  if (destination.status === 'disabled') return { kind: 'gone', what: 'disabled' }
  const isPaused = destination.status === 'paused'
  return { kind: 'offer', facts: { ...facts, destinationName: destination.name }, isPaused }
}

async function look(deps: ReplayLinkDeps, subject: ReplaySubject): Promise<Looked> {
  const { db } = deps.database
  const usedAtMs = await findLinkUse(db, subject)
  if (usedAtMs !== undefined) return { view: { kind: 'used', usedAtMs } }
  if (subject.startsWith('dlv_')) return await lookAtDelivery(deps, subject)
  const digest = await findLinkedDigest(db, subject)
  if (digest === undefined || digest.deliveryCount === 0) {
    return { view: { kind: 'gone', what: 'payload' } }
  }
  const { organizationId, deliveryCount: count } = digest
  return { view: await offerTo(deps, digest, { count }), organizationId }
}

/** Best effort, a page at a time: what stays out of Redis, the requeuer finds. */
async function enqueueAll(deps: ReplayLinkDeps, made: readonly DigestReplay[]): Promise<void> {
  for (let start = 0; start < made.length; start += EVENTS_AT_ONCE) {
    const page = made.slice(start, start + EVENTS_AT_ONCE)
    const events = await findEvents(deps.database.pool, page)
    const jobs = page.flatMap((owed) => {
      const event = events.get(owed.eventId)
      if (event === undefined) return []
      const { deliveryId, destinationId, createdAtMs } = owed
      // Looked at before it is sent: an erasure may end while the job is on its way.
      const ref = { deliveryId, destinationId, createdAtMs, priorAttempts: 0, requeued: true }
      return [createDeliveryJob(ref, event, 'small')]
    })
    await Promise.all(jobs.map((job) => deps.enqueueDelivery(job)))
  }
}

/**
 * Makes the deliveries and marks the link, in one commit. Undefined when somebody was faster. Throws
 * `EventNotKeptError`, with the link unused, when an erasure was.
 */
async function replay(
  deps: ReplayLinkDeps,
  subject: ReplaySubject,
  { organizationId = '', single }: Looked,
): Promise<readonly DigestReplay[] | undefined> {
  const nowMs = deps.nowMs()
  return await inReplayTransaction(deps.database, nowMs, async (tx) => {
    if (!(await useLink(tx, subject, nowMs))) return undefined
    let made: readonly DigestReplay[]
    if (single === undefined) made = await insertDigestReplays(tx, subject, nowMs)
    else {
      const event = await findEvent(tx, organizationId, single.eventId)
      if (event === undefined) throw new EventNotKeptError('the event was dropped meanwhile')
      const owed = await insertReplay(tx, event, single, nowMs)
      made = [{ ...owed, eventId: event.id, eventReceivedAtMs: event.receivedAtMs }]
    }
    await writeAudit(tx, {
      ...{ organizationId, eventType: 'delivery.replayed', apiKeyId: null },
      ...{ resourceType: 'delivery', resourceId: subject, action: 'replay' },
      details: { through: 'the link of a mail', deliveries: made.length },
    })
    return made
  })
}

async function useToken(deps: ReplayLinkDeps, subject: ReplaySubject): Promise<LinkView> {
  const looked = await look(deps, subject)
  if (looked.view.kind !== 'offer') return looked.view
  const made = await replay(deps, subject, looked).catch((error: unknown) => {
    if (error instanceof EventNotKeptError) return undefined
    throw error
  })
  if (made === undefined) return (await look(deps, subject)).view
  deps.log.info({ subject, count: made.length }, 'replay_link.used')
  await enqueueAll(deps, made).catch((error: unknown) => {
    deps.log.warn({ subject, error }, 'delivery.not_enqueued')
  })
  return { kind: 'done', count: made.length, isPaused: looked.view.isPaused }
}

async function answer(
  deps: ReplayLinkDeps,
  token: OpenedReplayToken,
  method: 'GET' | 'POST',
): Promise<LinkView> {
  if (token.kind === 'forged') return { kind: 'unknown' }
  if (token.kind === 'expired') return { kind: 'expired' }
  try {
    if (method === 'POST') return await useToken(deps, token.subject)
    return (await look(deps, token.subject)).view
  } catch (error) {
    if (!isStoreUnavailable(error)) throw error
    deps.log.warn({ error }, 'replay_link.unavailable')
    return { kind: 'unavailable' }
  }
}

/**
 * `/replay/{token}`: the link in a fallback mail. GET shows what it would do and never does it, since mail scanners
 * follow links; the button's POST does it, once. A token that does not hold asks nothing of the database.
 */
export function createReplayLinkRouter(deps: ReplayLinkDeps): Router {
  const router = Router({ caseSensitive: true })
  const handle = (method: 'GET' | 'POST') => async (request: Request, response: Response) => {
    const token = openReplayToken(deps.ring, String(request.params.token), deps.nowMs())
    const view = await answer(deps, token, method)
    if (view.kind === 'unavailable') response.set('retry-after', '5')
    response.status(STATUS[view.kind]).set(LINK_HEADERS).type('html').send(renderLinkPage(view))
  }
  const route = router.route('/replay/:token')
  route.get(handle('GET'))
  route.post(handle('POST'))
  route.all((_request: Request, response: Response) => {
    response.status(405).set('allow', 'GET, HEAD, POST').json({ detail: 'Method Not Allowed' })
  })
  return router
}
