import type pg from 'pg'
import type { AcceptedEvent } from '../event.ts'
import { statusSubject } from '../ids.ts'
import { callAliasesOf, callRowsOf } from './call-rows.ts'
import { isMissingPartition } from './database.ts'
import { ensurePartitions } from './partitions.ts'

/** A delivery owed by an event that is being accepted: its id and its destination's. */
export type OwedDelivery = { readonly deliveryId: string; readonly destinationId: string }

export type JournalEntry = {
  readonly event: AcceptedEvent
  readonly deliveries: readonly OwedDelivery[]
}

/** `stale`: new, but a later status of the same message, call or recording was accepted before. */
export type JournalResult = 'new' | 'stale' | 'duplicate'

/**
 * One statement for the whole batch. The dedupe keys decide which events are new; events and deliveries follow for
 * those only. Deliveries do nothing on conflict: an attempt of theirs may have been recorded first, when this entry
 * comes late from the spool.
 */
const INSERT = `
with fresh as (
  insert into dedupe_keys (event_id, received_at)
  select * from unnest($1::text[], $2::timestamptz[])
  on conflict (event_id) do nothing
  returning event_id
), ranked as (
  select row.event_id, row.subject, row.rank,
         row.rank < greatest(known.rank, max(row.rank) over (partition by row.subject order by row.position
                                         rows between unbounded preceding and 1 preceding)) as is_stale
    from unnest($30::text[], $31::text[], $32::smallint[]) with ordinality as row (event_id, subject, rank, position)
    join fresh on fresh.event_id = row.event_id
    left join status_ranks known on known.subject = row.subject
), new_ranks as (
  insert into status_ranks (subject, rank, updated_at)
  select subject, max(rank), now() from ranked group by subject order by subject
  on conflict (subject) do update set rank = excluded.rank, updated_at = excluded.updated_at
    where status_ranks.rank < excluded.rank
), new_events as (
  insert into events (id, received_at, organization_id, provider, type, phone_number, peer_number, call_sid,
                      assistant_id, content_type, payload, delivery_count, is_stale)
  select row.*, coalesce(ranked.is_stale, false)
    from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                       $8::text[], $9::bigint[], $10::text[], $11::bytea[], $12::int[])
           as row (id, received_at, organization_id, provider, type, phone_number, peer_number, call_sid,
                   assistant_id, content_type, payload, delivery_count)
    join fresh on fresh.event_id = row.id
    left join ranked on ranked.event_id = row.id
  on conflict do nothing
), new_deliveries as (
  insert into deliveries (id, event_id, created_at, event_received_at, destination_id, organization_id, event_type,
                          phone_number, call_sid, state, attempts, due_at, updated_at)
  select row.id, row.event_id, row.at, row.at, row.destination_id, row.organization_id, row.event_type,
         row.phone_number, row.call_sid, 'pending', 0, row.at, row.at
    from unnest($13::text[], $14::text[], $15::timestamptz[], $16::text[], $17::text[], $18::text[], $19::text[],
                $20::text[])
           as row (id, event_id, at, destination_id, organization_id, event_type, phone_number, call_sid)
    join fresh on fresh.event_id = row.event_id
  on conflict do nothing
), seen_calls as (
  insert into calls (organization_id, call_sid, assistant_id, to_phone_number, customer_phone_number, status,
                     duration_seconds, started_at, ended_at)
  select * from unnest($21::text[], $22::text[], $23::bigint[], $24::text[], $25::text[], $26::text[], $27::int[],
                       $28::timestamptz[], $29::timestamptz[])
  on conflict (organization_id, call_sid) do update set
    assistant_id = coalesce(calls.assistant_id, excluded.assistant_id),
    to_phone_number = coalesce(calls.to_phone_number, excluded.to_phone_number),
    customer_phone_number = coalesce(calls.customer_phone_number, excluded.customer_phone_number),
    status = case when calls.ended_at is null then excluded.status else calls.status end,
    duration_seconds = coalesce(calls.duration_seconds, excluded.duration_seconds),
    started_at = coalesce(calls.started_at, excluded.started_at),
    ended_at = coalesce(calls.ended_at, excluded.ended_at)
), new_aliases as (
  insert into call_aliases (alias, organization_id, call_sid, seen_at)
  select row.alias, row.organization_id, row.call_sid, now()
    from unnest($33::text[], $34::text[], $35::text[]) as row (alias, organization_id, call_sid)
   order by row.alias, row.organization_id
  on conflict do nothing
)
select fresh.event_id, coalesce(ranked.is_stale, false) as is_stale from fresh
  left join ranked on ranked.event_id = fresh.event_id`

/** In the order of arrival: the second of two statuses in one batch may be the stale one. */
function statusesOf(entries: readonly JournalEntry[]) {
  return entries.flatMap(({ event: { id, organizationId, provider, order } }) =>
    order === null
      ? []
      : [{ id, subject: statusSubject(organizationId, provider, order.subject), rank: order.rank }],
  )
}

function parametersOf(
  entries: readonly JournalEntry[],
  statuses: ReturnType<typeof statusesOf>,
): unknown[] {
  const events = entries.map(({ event }) => event)
  const owed = entries.flatMap(({ event, deliveries }) =>
    deliveries.map((delivery) => ({ event, ...delivery })),
  )
  const calls = callRowsOf(events)
  const aliases = callAliasesOf(events)
  const at = (event: AcceptedEvent): Date => new Date(event.receivedAtMs)
  return [
    events.map((event) => event.id),
    events.map(at),
    events.map((event) => event.organizationId),
    events.map((event) => event.provider),
    events.map((event) => event.type),
    events.map((event) => event.phoneNumber),
    events.map((event) => event.peerNumber),
    events.map((event) => event.callSid),
    events.map((event) => event.assistantId),
    events.map((event) => event.contentType),
    events.map((event) => event.payload),
    entries.map(({ deliveries }) => deliveries.length),
    owed.map(({ deliveryId }) => deliveryId),
    owed.map(({ event }) => event.id),
    owed.map(({ event }) => at(event)),
    owed.map(({ destinationId }) => destinationId),
    owed.map(({ event }) => event.organizationId),
    owed.map(({ event }) => event.type),
    owed.map(({ event }) => event.phoneNumber),
    owed.map(({ event }) => event.callSid),
    calls.map((call) => call.organizationId),
    calls.map((call) => call.callSid),
    calls.map((call) => call.assistantId),
    calls.map((call) => call.toPhoneNumber),
    calls.map((call) => call.customerPhoneNumber),
    calls.map((call) => call.status),
    calls.map((call) => call.durationSeconds),
    calls.map((call) => call.startedAt),
    calls.map((call) => call.endedAt),
    statuses.map(({ id }) => id),
    statuses.map(({ subject }) => subject),
    statuses.map(({ rank }) => rank),
    aliases.map(({ alias }) => alias),
    aliases.map(({ organizationId }) => organizationId),
    aliases.map(({ callSid }) => callSid),
  ]
}

/**
 * Makes the entries durable with one commit. For each, in order, what became of it. Entries of one batch may repeat an event: the first counts. Running it again changes nothing.
 */
export async function writeJournal(
  pool: pg.Pool,
  entries: readonly JournalEntry[],
): Promise<JournalResult[]> {
  // Reversed: a Map keeps the last of equal keys.
  const firsts = new Map(entries.toReversed().map((entry) => [entry.event.id, entry]))
  // Sorted, so that two ingresses never wait for each other's keys in opposite order.
  const unique = [...firsts.values()].sort((a, b) => (a.event.id < b.event.id ? -1 : 1))
  const statement = {
    name: 'journal',
    text: INSERT,
    values: parametersOf(unique, statusesOf([...firsts.values()].reverse())),
  }
  const run = () => pool.query<{ event_id: string; is_stale: boolean }>(statement)
  const { rows } = await run().catch(async (error: unknown) => {
    // No worker ran for a week, or a clock is off: make the day and go on.
    if (!isMissingPartition(error)) throw error
    for (const { event } of unique) await ensurePartitions(pool, event.receivedAtMs)
    return run()
  })
  const fresh = new Map(rows.map((row) => [row.event_id, row.is_stale]))
  return entries.map(({ event }) => {
    const isStale = fresh.get(event.id)
    // The first of equal entries counts; the others are duplicates of it.
    fresh.delete(event.id)
    if (isStale === undefined) return 'duplicate'
    return isStale ? 'stale' : 'new'
  })
}
