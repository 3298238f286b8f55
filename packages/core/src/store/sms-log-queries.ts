import { type Kysely, type Selectable, sql } from 'kysely'
import type { AcceptedEvent, EventType, ProviderName } from '../event.ts'
import type { Database } from './database.ts'

export type MessageDirection = 'inbound' | 'outbound'

/** The events that are about one message, by the way it goes. */
const EVENT_TYPES_OF: Readonly<Record<MessageDirection, readonly EventType[]>> = {
  inbound: ['sms_received', 'mms_received'],
  outbound: ['sms_status', 'mms_status'],
}

export function directionOf(type: EventType): MessageDirection {
  return EVENT_TYPES_OF.inbound.includes(type) ? 'inbound' : 'outbound'
}

/** An event about a message, with its payload. */
export type MessageEvent = Omit<AcceptedEvent, 'order' | 'callSid'>

export type MessageFilter = {
  readonly provider?: ProviderName | undefined
  readonly direction?: MessageDirection | undefined
  readonly fromNumber?: string | undefined
  readonly toNumber?: string | undefined
  readonly assistantId?: number | undefined
  /** Both ends are included. */
  readonly fromMs: number
  readonly toMs: number
}

export type ReadBounds = {
  readonly maxEvents: number
  /** Of all payloads together; the newest event is there however large it is. */
  readonly maxPayloadBytes: number
  /** Postgres itself gives up after this time: SQLSTATE 57014. */
  readonly timeoutMs: number
}

/** The sender of what comes in is the other side, of what goes out the tenant's own number. */
function numberIs(end: 'from' | 'to', direction: MessageDirection | undefined, number: string) {
  const is = (one: MessageDirection) => {
    const column = (end === 'from') === (one === 'inbound') ? 'peer_number' : 'phone_number'
    return sql<boolean>`(type = any(${EVENT_TYPES_OF[one]}) and ${sql.ref(column)} = ${number})`
  }
  return direction === undefined
    ? sql<boolean>`(${is('inbound')} or ${is('outbound')})`
    : is(direction)
}

type Row = Pick<
  Selectable<Database['events']>,
  | 'id'
  | 'received_at'
  | 'provider'
  | 'type'
  | 'phone_number'
  | 'peer_number'
  | 'assistant_id'
  | 'content_type'
  | 'payload'
  | 'is_stale'
> & { readonly found: number }

/**
 * The organization's newest events about messages, newest first, and whether there are more than the bounds let through.
 * Index: events_by_organization, from the newest on.
 */
export async function findMessageEvents(
  db: Kysely<Database>,
  organizationId: string,
  filter: MessageFilter,
  bounds: ReadBounds,
): Promise<{ events: MessageEvent[]; isCut: boolean }> {
  const { provider, direction, fromNumber, toNumber, assistantId } = filter
  const types =
    direction === undefined ? Object.values(EVENT_TYPES_OF).flat() : EVENT_TYPES_OF[direction]
  const conditions = [
    sql<boolean>`organization_id = ${organizationId}`,
    sql<boolean>`type = any(${types})`,
    sql<boolean>`received_at >= ${new Date(filter.fromMs)}`,
    sql<boolean>`received_at <= ${new Date(filter.toMs)}`,
    sql<boolean>`erased_at is null`,
  ]
  if (provider !== undefined) conditions.push(sql`provider = ${provider}`)
  if (fromNumber !== undefined) conditions.push(numberIs('from', direction, fromNumber))
  if (toNumber !== undefined) conditions.push(numberIs('to', direction, toNumber))
  if (assistantId !== undefined) conditions.push(sql`assistant_id = ${assistantId}`)
  const rows = await db
    .transaction()
    .setAccessMode('read only')
    .execute(async (tx) => {
      await sql`set local statement_timeout = ${sql.lit(bounds.timeoutMs)}`.execute(tx)
      // The length of a large payload is known without reading it; the sum says how many are read.
      const { rows: found } = await sql<Row>`
        select * from (
          select newest.*,
                 count(*) over () as found,
                 row_number() over (order by received_at desc, id desc) as place,
                 sum(octet_length(payload)) over (order by received_at desc, id desc) as bytes
            from (
              select id, received_at, provider, type, phone_number, peer_number, assistant_id, content_type, payload,
                     is_stale
                from events
               where ${sql.join(conditions, sql` and `)}
               order by received_at desc, id desc
               limit ${bounds.maxEvents + 1}
            ) as newest
        ) as summed
         where place <= ${bounds.maxEvents} and (place = 1 or bytes <= ${bounds.maxPayloadBytes})
         order by place`.execute(tx)
      return found
    })
  const events = rows.map((row) => ({
    id: row.id,
    organizationId,
    provider: row.provider,
    type: row.type,
    receivedAtMs: row.received_at.getTime(),
    phoneNumber: row.phone_number,
    peerNumber: row.peer_number,
    assistantId: row.assistant_id,
    isStale: row.is_stale,
    contentType: row.content_type,
    payload: row.payload,
  }))
  return { events, isCut: (rows[0]?.found ?? 0) > rows.length }
}

/** Of those of the assistants that the organization has or had. */
export async function findAssistantNames(
  db: Kysely<Database>,
  organizationId: string,
  ids: readonly number[],
): Promise<Map<number, string>> {
  if (ids.length === 0) return new Map()
  const rows = await db
    .selectFrom('assistants')
    .select(['id', 'name'])
    .where('organization_id', '=', organizationId)
    .where('id', 'in', [...ids])
    .execute()
  return new Map(rows.map(({ id, name }) => [id, name]))
}
