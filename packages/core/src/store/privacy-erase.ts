import { sql } from 'kysely'
import { maskCallSids, type Person } from './privacy-call-sids.ts'
import {
  anyMentions,
  bytesMention,
  nullIfTheirs,
  textMentions,
  withoutNumber,
} from './privacy-mentions.ts'
import type { Queryable, Transaction } from './transaction.ts'

export type EventRef = { readonly id: string; readonly receivedAt: Date }
export type Page<Position, Found> = {
  readonly found: readonly Found[]
  /** Where the next page begins; undefined when this was the last one. */
  readonly next: Position | undefined
}

/** A worker's clock may run behind the ingress that stamped the delivery. */
const CLOCK_SKEW_MS = 3_600_000

/**
 * Events of the person on the next page: those that are theirs, with all of their call, and those that name them.
 * Index: events_by_organization, from the oldest on.
 */
export async function findEventsOf(
  db: Queryable,
  { organizationId, phoneNumber }: Person,
  after: { readonly at: Date; readonly id: string } | undefined,
  until: Date,
  limit: number,
): Promise<Page<{ at: Date; id: string }, EventRef>> {
  const at = after?.at ?? new Date(0)
  const { rows } = await sql<{
    id: string
    received_at: Date
    call_sid: string | null
    is_theirs: boolean
    is_found: boolean
  }>`
    select id, received_at, call_sid,
           ${textMentions('peer_number', phoneNumber)} or ${textMentions('call_sid', phoneNumber)} as is_theirs,
           ${textMentions('call_sid', phoneNumber)}
             or erased_at is null and (${textMentions('peer_number', phoneNumber)}
               or ${textMentions('phone_number', phoneNumber)} or ${bytesMention('payload', phoneNumber)}) as is_found
      from events
     where organization_id = ${organizationId} and received_at >= ${at} and received_at <= ${until}
       and (received_at, id) > (${at}, ${after?.id ?? ''})
     order by received_at, id
     limit ${limit}`.execute(db)
  const found = rows.filter(({ is_found }) => is_found)
  const callSids = found.flatMap(({ is_theirs, call_sid }) =>
    is_theirs && call_sid !== null ? [call_sid] : [],
  )
  const ofCalls = await findEventsOfCalls(db, organizationId, callSids)
  const refs = found.map(({ id, received_at }) => ({ id, receivedAt: received_at }))
  const known = new Set(refs.map(({ id }) => id))
  const last = rows.length === limit ? rows.at(-1) : undefined
  return {
    found: [...refs, ...ofCalls.filter(({ id }) => !known.has(id))],
    next: last && { at: last.received_at, id: last.id },
  }
}

/** Also those that name nobody, like a transcript. Index: events_by_call. */
async function findEventsOfCalls(
  db: Queryable,
  organizationId: string,
  callSids: readonly string[],
): Promise<EventRef[]> {
  if (callSids.length === 0) return []
  const rows = await db
    .selectFrom('events')
    .select(['id', 'received_at'])
    .where('organization_id', '=', organizationId)
    .where('call_sid', '=', sql<string>`any(${[...new Set(callSids)]})`)
    .where('call_sid', 'is not', null)
    .where('erased_at', 'is', null)
    .execute()
  return rows.map(({ id, received_at }) => ({ id, receivedAt: received_at }))
}

/** The person's calls on the next page, with their events. Index: the unique one of calls. */
export async function findCallsOf(
  db: Queryable,
  { organizationId, phoneNumber }: Person,
  afterCallSid: string,
  limit: number,
): Promise<Page<string, string> & { readonly events: readonly EventRef[] }> {
  const { rows } = await sql<{ call_sid: string; is_theirs: boolean }>`
    select call_sid, ${textMentions('customer_phone_number', phoneNumber)}
                  or ${textMentions('to_phone_number', phoneNumber)}
                  or ${textMentions('call_sid', phoneNumber)} as is_theirs
      from calls
     where organization_id = ${organizationId} and call_sid > ${afterCallSid}
     order by call_sid
     limit ${limit}`.execute(db)
  const found = rows.filter(({ is_theirs }) => is_theirs).map(({ call_sid }) => call_sid)
  const events = await findEventsOfCalls(db, organizationId, found)
  return { found, events, next: rows.length === limit ? rows.at(-1)?.call_sid : undefined }
}

export async function eraseCalls(
  tx: Transaction,
  person: Person,
  callSids: readonly string[],
): Promise<void> {
  if (callSids.length === 0) return
  const { organizationId, phoneNumber } = person
  await sql`
    update calls
       set customer_phone_number = ${nullIfTheirs('customer_phone_number', phoneNumber)},
           to_phone_number = ${nullIfTheirs('to_phone_number', phoneNumber)}
     where organization_id = ${organizationId} and call_sid = any(${[...callSids]})`.execute(tx)
  await maskCallSids(tx, person, callSids)
}

export type OwedDelivery = {
  readonly id: string
  readonly createdAt: Date
  readonly destinationId: string
  readonly isPending: boolean
}

/** How long after its end a worker may still be writing down an attempt: its time-out and the wait for a store. */
const SETTLES_SECONDS = 120

/** Deliveries of the events that a worker may have to do with just now. Index: deliveries_by_event. */
export async function findUnsettled(
  db: Queryable,
  events: readonly EventRef[],
): Promise<OwedDelivery[]> {
  if (events.length === 0) return []
  const { rows } = await sql<{
    id: string
    created_at: Date
    destination_id: string
    is_pending: boolean
  }>`
    select id, created_at, destination_id, state = 'pending' as is_pending from deliveries
     where event_id = any(${events.map(({ id }) => id)}) and created_at >= ${oldestOf(events)}
       and (state = 'pending' or updated_at > now() - make_interval(secs => ${SETTLES_SECONDS}))`.execute(
    db,
  )
  return rows.map((row) => ({
    id: row.id,
    createdAt: row.created_at,
    destinationId: row.destination_id,
    isPending: row.is_pending,
  }))
}

/** Returns how many were pending still. */
export async function cancelErased(
  db: Queryable,
  events: readonly EventRef[],
  reason: string,
): Promise<number> {
  if (events.length === 0) return 0
  const { numAffectedRows } = await sql`
    update deliveries set state = 'cancelled', reason = ${reason}, updated_at = now()
     where event_id = any(${events.map(({ id }) => id)}) and created_at >= ${oldestOf(events)}
       and state = 'pending'`.execute(db)
  return Number(numAffectedRows ?? 0n)
}

export function oldestOf(events: readonly EventRef[]): Date {
  return new Date(Math.min(...events.map(({ receivedAt }) => receivedAt.getTime())))
}

/**
 * Takes payload and numbers out of the events, and out of what was logged of their attempts. The rows stay. Returns how
 * many events and attempts that were; one that was erased before is not counted again.
 */
export async function eraseEvents(
  tx: Transaction,
  person: Person,
  events: readonly EventRef[],
): Promise<{ eventsErased: number; attemptsErased: number }> {
  if (events.length === 0) return { eventsErased: 0, attemptsErased: 0 }
  const ids = events.map(({ id }) => id)
  const times = events.map(({ receivedAt }) => receivedAt)
  const { phoneNumber } = person
  const oldest = oldestOf(events)
  const erased = await sql`
    update events
       set payload = '', peer_number = null, erased_at = now(),
           phone_number = ${nullIfTheirs('phone_number', phoneNumber)}
     where id = any(${ids}) and received_at = any(${times}) and erased_at is null`.execute(tx)
  await sql`
    update deliveries
       set phone_number = ${nullIfTheirs('phone_number', phoneNumber)},
           reason = ${withoutNumber('reason', phoneNumber)}
     where event_id = any(${ids}) and created_at >= ${oldest}
       and (${textMentions('phone_number', phoneNumber)} or ${textMentions('reason', phoneNumber)})`.execute(
    tx,
  )
  const logged = await sql`
    update webhook_logs
       set request_body = null, response_body = null,
           webhook_url = ${withoutNumber('webhook_url', phoneNumber)},
           error_message = ${withoutNumber('error_message', phoneNumber)}
     where delivery_id = any(array(select id from deliveries
             where event_id = any(${ids}) and created_at >= ${oldest}))
       and attempted_at >= ${new Date(oldest.getTime() - CLOCK_SKEW_MS)}`.execute(tx)
  const { rows } = await sql<{ call_sid: string }>`
    select distinct call_sid from events
     where id = any(${ids}) and received_at = any(${times})
       and ${textMentions('call_sid', phoneNumber)}`.execute(tx)
  const callSids = rows.map(({ call_sid }) => call_sid)
  await maskCallSids(tx, person, callSids)
  return {
    eventsErased: Number(erased.numAffectedRows ?? 0n),
    attemptsErased: Number(logged.numAffectedRows ?? 0n),
  }
}

/** Of the next page of the log, takes the bodies of attempts that name the person. Index: webhook_logs_by_organization. */
export async function eraseLogs(
  tx: Transaction,
  person: Person,
  after: { readonly at: Date; readonly id: string } | undefined,
  until: Date,
  limit: number,
): Promise<Page<{ at: Date; id: string }, never> & { readonly attemptsErased: number }> {
  const at = after?.at ?? new Date(0)
  const { organizationId, phoneNumber } = person
  const { rows } = await sql<{
    id: number
    attempted_at: Date
    call_sid: string | null
    is_found: boolean
  }>`
    select id, attempted_at,
           case when ${textMentions('call_sid', phoneNumber)} then call_sid end as call_sid,
           ${bytesMention('request_body', phoneNumber)} or ${textMentions('response_body', phoneNumber)}
             or ${textMentions('webhook_url', phoneNumber)}
             or ${textMentions('error_message', phoneNumber)} as is_found
      from webhook_logs
     where organization_id = ${organizationId} and attempted_at >= ${at} and attempted_at <= ${until}
       and (attempted_at, id) > (${at}, ${Number(after?.id ?? 0)})
     order by attempted_at, id
     limit ${limit}`.execute(tx)
  const found = rows.filter(({ is_found }) => is_found)
  if (found.length > 0) {
    await sql`
      update webhook_logs
         set request_body = null, response_body = null,
             webhook_url = ${withoutNumber('webhook_url', phoneNumber)},
             error_message = ${withoutNumber('error_message', phoneNumber)}
       where organization_id = ${organizationId} and id = any(${found.map(({ id }) => id)})
         and attempted_at = any(${found.map(({ attempted_at }) => attempted_at)})`.execute(tx)
  }
  const callSids = rows.flatMap(({ call_sid }) => call_sid ?? [])
  await maskCallSids(tx, person, callSids)
  const last = rows.length === limit ? rows.at(-1) : undefined
  return {
    found: [],
    attemptsErased: found.length,
    next: last && { at: last.attempted_at, id: String(last.id) },
  }
}

/**
 * Deletes webhooks in quarantine that name the person: the organization's own, and those of nobody that claim one of its
 * numbers or accounts. Returns how many; fewer than `limit` when none is left.
 */
export async function deleteQuarantined(
  tx: Transaction,
  { organizationId, phoneNumber }: Person,
  limit: number,
): Promise<number> {
  const { numAffectedRows } = await sql`
    delete from quarantine where id in (
      select id from quarantine
       where (organization_id = ${organizationId}
              or organization_id is null and (
                claimed_numbers && array(select phone_number from phone_numbers
                                          where organization_id = ${organizationId})
                or exists (select from provider_accounts account
                            where account.organization_id = ${organizationId}
                              and account.provider = quarantine.provider
                              and account.account_sid = quarantine.claimed_account_sid)))
         and (${anyMentions('claimed_numbers', phoneNumber)}
              or ${bytesMention('body', phoneNumber)}
              or ${textMentions('target', phoneNumber)})
       limit ${limit})`.execute(tx)
  return Number(numAffectedRows ?? 0n)
}
