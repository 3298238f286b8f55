import type { AcceptedEvent, EventType } from '../event.ts'
import { contentOf } from '../providers/content-of.ts'

export type CallRow = {
  organizationId: string
  callSid: string
  assistantId: number | null
  toPhoneNumber: string | null
  customerPhoneNumber: string | null
  status: string
  durationSeconds: number | null
  startedAt: Date | null
  endedAt: Date | null
}

const STATUS: Partial<Record<EventType, string>> = {
  call_started: 'initiated',
  call_answered: 'in-progress',
  call_ended: 'completed',
  call_failed: 'failed',
}

const MAX_STATUS_CHARACTERS = 50
const ENDS: ReadonlySet<EventType> = new Set(['call_ended', 'call_failed'])

function wholeSeconds(value: unknown): number | null {
  if (typeof value !== 'number') return null
  const seconds = Math.round(value)
  return seconds >= 0 && seconds < 2 ** 31 ? seconds : null
}

/** A call that was never connected says why: busy, no-answer, … */
function statusOf(type: EventType, stated: unknown): string {
  const says = type === 'call_failed' && typeof stated === 'string' && stated !== ''
  return says ? stated.slice(0, MAX_STATUS_CHARACTERS) : (STATUS[type] ?? 'in-progress')
}

function rowOf(event: AcceptedEvent, callSid: string): CallRow {
  const at = new Date(event.receivedAtMs)
  // Only these say more than their type.
  const data = ENDS.has(event.type) ? contentOf(event).data : {}
  return {
    organizationId: event.organizationId,
    callSid,
    assistantId: event.assistantId,
    toPhoneNumber: event.phoneNumber,
    customerPhoneNumber: event.peerNumber,
    status: statusOf(event.type, data.status),
    durationSeconds: event.type === 'call_ended' ? wholeSeconds(data.duration) : null,
    startedAt: event.type === 'call_started' ? at : null,
    endedAt: ENDS.has(event.type) ? at : null,
  }
}

/** Later events fill what earlier ones left open; an ended call stays ended. */
function merge(known: CallRow, next: CallRow): CallRow {
  return {
    ...known,
    assistantId: known.assistantId ?? next.assistantId,
    toPhoneNumber: known.toPhoneNumber ?? next.toPhoneNumber,
    customerPhoneNumber: known.customerPhoneNumber ?? next.customerPhoneNumber,
    status: known.endedAt === null ? next.status : known.status,
    durationSeconds: known.durationSeconds ?? next.durationSeconds,
    startedAt: known.startedAt ?? next.startedAt,
    endedAt: known.endedAt ?? next.endedAt,
  }
}

/** One row per call of a batch, ordered so that two batches never lock the same calls in opposite order. */
export function callRowsOf(events: readonly AcceptedEvent[]): CallRow[] {
  const rows = new Map<string, CallRow>()
  for (const event of events) {
    if (event.callSid === null) continue
    const key = `${event.organizationId} ${event.callSid}`
    const row = rowOf(event, event.callSid)
    const known = rows.get(key)
    rows.set(key, known === undefined ? row : merge(known, row))
  }
  return [...rows.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
}

/** What else their calls are called, as the first event of a call tells. */
export function callAliasesOf(
  events: readonly AcceptedEvent[],
): { readonly alias: string; readonly organizationId: string; readonly callSid: string }[] {
  return events.flatMap((event) => {
    const { type, callSid, organizationId } = event
    if (type !== 'call_started' || callSid === null) return []
    const { callAliases = [] } = contentOf(event)
    return callAliases.map((alias) => ({ alias, organizationId, callSid }))
  })
}
