import type { CircuitChange } from '@switchhook/core/circuits'
import { withDeadline } from '@switchhook/core/deadline'
import { createDeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent, OperationalEventName } from '@switchhook/core/event'
import { deliveryId, eventId } from '@switchhook/core/ids'
import type { Logger } from '@switchhook/core/log'
import type { PlatformPayload } from '@switchhook/core/providers/platform'
import type { Queues } from '@switchhook/core/queue'
import type { Snapshot } from '@switchhook/core/routing/snapshot'
import type { Spool } from '@switchhook/core/spool'
import type { DeliveryRecord } from '@switchhook/core/store/delivery-log'
import type { JournalEntry, JournalResult } from '@switchhook/core/store/journal'
import type { RecordDelivery } from './recorder.ts'

/** Something that happened to a destination, or to what is owed to it. */
export type OperationalChange = {
  readonly name: OperationalEventName
  readonly destinationId: string
  /** Tells this change from others of its name and destination: whoever sees it too, or again, gives the same. */
  readonly key: string
  readonly atMs: number
  /** One sentence for a person; no phone number, nothing of a payload. */
  readonly message: string
  readonly data?: Readonly<Record<string, unknown>>
}

/** Of what the circuits did; that a probe failed is no news. Each opening has its own time, the same for all workers. */
export function toOperationalChanges(changes: readonly CircuitChange[]): OperationalChange[] {
  return changes.flatMap(
    ({ kind, destinationId, atMs, openedAtMs, nextProbeAtMs }): OperationalChange[] => {
      if (kind === 'probe_failed') return []
      const opened_at = new Date(openedAtMs).toISOString()
      const shared = { destinationId, key: String(openedAtMs), atMs }
      if (kind === 'closed') {
        const message = 'The circuit closed: the destination answers again, deliveries go out.'
        return [{ ...shared, name: 'circuit.closed', message, data: { opened_at } }]
      }
      const message = 'The circuit opened: too many attempts failed. Deliveries wait for a probe.'
      const probe = nextProbeAtMs === null ? null : new Date(nextProbeAtMs).toISOString()
      return [
        { ...shared, name: 'circuit.opened', message, data: { opened_at, next_probe_at: probe } },
      ]
    },
  )
}

/** Never throws, and takes a few seconds at worst: whoever tells has other work to do. */
export type TellOperations = (changes: readonly OperationalChange[]) => Promise<void>

export type OperationalEventsDeps = {
  readonly nowMs: () => number
  readonly snapshot: Pick<Snapshot, 'findOrganization' | 'findDestination'>
  readonly journal: (entries: readonly JournalEntry[]) => Promise<readonly JournalResult[]>
  readonly spool: Pick<Spool, 'takeEvent'>
  readonly queues: Pick<Queues, 'addDelivery'>
  readonly log: Logger
}

const JOURNAL_TIMEOUT_MS = 2_500
const SPOOL_TIMEOUT_MS = 1_000
const ENQUEUE_TIMEOUT_MS = 1_000
const CONTENT_TYPE = 'application/json'

function createEvent(
  organizationId: string,
  change: OperationalChange,
  destinationName: string,
  nowMs: number,
): AcceptedEvent {
  const { name, destinationId, key, atMs, message, data } = change
  const idempotency_key = `${name} ${destinationId} ${key}`
  const about = { message, destination_id: destinationId, destination_name: destinationName }
  const document: PlatformPayload = {
    type: 'operational',
    data: { type: name, ...about, ...data },
    idempotency_key,
    occurred_at: new Date(atMs).toISOString(),
  }
  return {
    // Not of the provider "platform": a tenant, who chooses keys there, cannot take an id of these.
    id: eventId(organizationId, 'operational', idempotency_key),
    organizationId,
    ...{ provider: 'platform', type: 'operational' },
    receivedAtMs: nowMs,
    ...{ phoneNumber: null, peerNumber: null, callSid: null, assistantId: null },
    ...{ order: null, isStale: false },
    contentType: CONTENT_TYPE,
    payload: Buffer.from(JSON.stringify(document)),
  }
}

/**
 * Delivers what happens to an organization's destinations to the one that it named for that, by the same engine:
 * journaled, then enqueued. Nothing is told of that destination's own deliveries, or each failure would make the next.
 */
export function createOperationalEvents(deps: OperationalEventsDeps): TellOperations {
  const { snapshot, log } = deps

  function entryOf(change: OperationalChange): JournalEntry | undefined {
    const subject = snapshot.findDestination(change.destinationId)
    if (subject === undefined) return undefined
    const { organizationId, name } = subject
    const listenerId = snapshot.findOrganization(organizationId)?.operationsDestinationId
    if (!listenerId || listenerId === change.destinationId) return undefined
    const listener = snapshot.findDestination(listenerId)
    if (listener?.organizationId !== organizationId || listener.status === 'disabled') {
      return undefined
    }
    const event = createEvent(organizationId, change, name, deps.nowMs())
    const owed = { deliveryId: deliveryId(event.id, listenerId), destinationId: listenerId }
    return { event, deliveries: [owed] }
  }

  /** Those that were not there before; in Postgres, or for it in Redis. */
  async function makeDurable(entries: readonly JournalEntry[]): Promise<JournalEntry[]> {
    try {
      const written = await withDeadline(deps.journal(entries), JOURNAL_TIMEOUT_MS, 'journal')
      return entries.filter((_, index) => written[index] === 'new')
    } catch (error) {
      log.warn({ error }, 'operational_event.spooled')
    }
    const fresh: JournalEntry[] = []
    for (const entry of entries) {
      const taken = await withDeadline(deps.spool.takeEvent(entry), SPOOL_TIMEOUT_MS, 'spool')
      if (taken === 'full') throw new Error('the spool is full')
      if (taken === 'new') fresh.push(entry)
    }
    return fresh
  }

  /** A failure is no loss: the requeuer finds what is owed. */
  async function enqueue(entries: readonly JournalEntry[]): Promise<void> {
    const jobs = entries.flatMap(({ event, deliveries }) =>
      deliveries.map((owed) =>
        createDeliveryJob(
          { ...owed, createdAtMs: event.receivedAtMs, priorAttempts: 0, requeued: false },
          event,
          'all',
        ),
      ),
    )
    const added = Promise.all(jobs.map((job) => deps.queues.addDelivery(job)))
    await withDeadline(added, ENQUEUE_TIMEOUT_MS, 'queue').catch((error: unknown) => {
      log.warn({ error }, 'operational_event.not_enqueued')
    })
  }

  return async function tellOperations(changes) {
    try {
      const entries = changes.flatMap((change) => entryOf(change) ?? [])
      if (entries.length > 0) await enqueue(await makeDurable(entries))
    } catch (error) {
      const names = [...new Set(changes.map(({ name }) => name))]
      log.error({ error, names }, 'operational_event.lost')
    }
  }
}

/** Nothing of operational events themselves. */
export function toGivenUpChanges(
  delivery: Pick<
    DeliveryRecord,
    'deliveryId' | 'destinationId' | 'eventId' | 'eventType' | 'attempts' | 'reason'
  >,
  atMs: number,
): OperationalChange[] {
  const { deliveryId, destinationId, eventId: event_id, eventType, attempts } = delivery
  if (eventType === 'operational') return []
  const reason = delivery.reason ?? ''
  const data = { delivery_id: deliveryId, event_id, event_type: eventType, attempts, reason }
  const message = `A delivery of ${eventType} was given up after ${attempts} attempts. ${reason}`
  return [{ name: 'delivery.given_up', destinationId, key: deliveryId, atMs, message, data }]
}

/**
 * Records, and tells of each delivery that is given up. Told first: a worker that dies between the two does both again,
 * and the event has the same id.
 */
export function createTellingRecorder(
  record: RecordDelivery,
  tell: TellOperations,
  nowMs: () => number,
): RecordDelivery {
  return async function recordAndTell(entry) {
    const changes = entry.state === 'given_up' ? toGivenUpChanges(entry, nowMs()) : []
    if (changes.length > 0) await tell(changes)
    await record(entry)
  }
}
