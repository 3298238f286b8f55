import { sql } from 'kysely'
import type { DeliveryState, Destination, EventType } from '../event.ts'
import { randomId } from '../ids.ts'
import type { NewDelivery } from './replays.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** What a link in a mail is about, as its page tells it. */
export type LinkedDelivery = {
  readonly id: string
  readonly createdAtMs: number
  readonly organizationId: string
  readonly destinationId: string
  readonly eventId: string
  readonly eventType: EventType
  readonly phoneNumber: string | null
  readonly state: DeliveryState
}

/** The delivery of a link. The id alone does not tell the day: one index look-up in each partition. */
export async function findLinkedDelivery(
  db: Queryable,
  id: string,
): Promise<LinkedDelivery | undefined> {
  const row = await db
    .selectFrom('deliveries')
    .selectAll()
    .where('id', '=', id)
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst()
  return (
    row && {
      id: row.id,
      createdAtMs: row.created_at.getTime(),
      organizationId: row.organization_id,
      destinationId: row.destination_id,
      eventId: row.event_id,
      eventType: row.event_type,
      phoneNumber: row.phone_number,
      state: row.state,
    }
  )
}

export type LinkedDigest = {
  readonly id: string
  readonly organizationId: string
  readonly destinationId: string
  /** Deliveries that can be made again: listed in the mail, ended, their events still kept. */
  readonly deliveryCount: number
}

const LISTED = sql`
  fallback_mails mail
  join deliveries delivery on delivery.id = mail.delivery_id and delivery.created_at = mail.delivery_created_at
  join events event on event.id = delivery.event_id and event.received_at = delivery.event_received_at
                   and event.erased_at is null`

export async function findLinkedDigest(
  db: Queryable,
  id: string,
): Promise<LinkedDigest | undefined> {
  const digest = await db
    .selectFrom('mail_digests')
    .select(['id', 'organization_id', 'destination_id'])
    .where('id', '=', id)
    .executeTakeFirst()
  if (digest === undefined) return undefined
  const { rows } = await sql<{ n: number }>`
    select count(*) as n from ${LISTED}
     where mail.digest_id = ${id} and mail.is_listed and delivery.state <> 'pending'`.execute(db)
  return {
    id,
    organizationId: digest.organization_id,
    destinationId: digest.destination_id,
    deliveryCount: rows[0]?.n ?? 0,
  }
}

/** Undefined when it was deleted. */
export async function findLinkedDestination(
  db: Queryable,
  { organizationId, destinationId }: Pick<LinkedDelivery, 'organizationId' | 'destinationId'>,
): Promise<Pick<Destination, 'name' | 'status'> | undefined> {
  return await db
    .selectFrom('destinations')
    .select(['name', 'status'])
    .where('id', '=', destinationId)
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
}

/** When the link of this subject was used; undefined while it was not. */
export async function findLinkUse(db: Queryable, subject: string): Promise<number | undefined> {
  const row = await db
    .selectFrom('used_replay_links')
    .select('used_at')
    .where('subject', '=', subject)
    .executeTakeFirst()
  return row?.used_at.getTime()
}

/** Marks the link as used, in the transaction that makes its deliveries. False when it was used before: of two at once, one waits here. */
export async function useLink(tx: Transaction, subject: string, nowMs: number): Promise<boolean> {
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('used_replay_links')
    .values({ subject, used_at: new Date(nowMs) })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  return (numInsertedOrUpdatedRows ?? 0n) > 0n
}

/** A delivery that was just made again, with what its job needs of the event; the payload is read when it is delivered. */
export type DigestReplay = NewDelivery & {
  readonly eventId: string
  readonly eventReceivedAtMs: number
}

/** More would be a bulk replay, which the API has. */
export const MAX_REPLAYED_BY_LINK = 10_000

/** Every delivery that a digest lists once more, oldest first. `nowMs` is their time. */
export async function insertDigestReplays(
  tx: Transaction,
  digestId: string,
  nowMs: number,
): Promise<DigestReplay[]> {
  const found = await sql<{ id: string; created_at: Date }>`
    select delivery.id, delivery.created_at from ${LISTED}
     where mail.digest_id = ${digestId} and mail.is_listed and delivery.state <> 'pending'
     order by delivery.created_at, delivery.id
     limit ${sql.lit(MAX_REPLAYED_BY_LINK)}`.execute(tx)
  const now = new Date(nowMs)
  const { rows } = await sql<{
    id: string
    destination_id: string
    event_id: string
    event_received_at: Date
  }>`
    insert into deliveries (id, created_at, event_id, event_received_at, organization_id, destination_id, event_type,
                            phone_number, call_sid, state, attempts, due_at, updated_at, replay_of)
    select made.id, ${now}, event_id, event_received_at, organization_id, destination_id, event_type,
           phone_number, call_sid, 'pending', 0, ${now}, ${now}, known.id
      from unnest(${found.rows.map(() => randomId('dlv_'))}::text[], ${found.rows.map(({ id }) => id)}::text[],
                  ${found.rows.map((row) => row.created_at)}::timestamptz[]) as made (id, old_id, old_created_at)
      join deliveries known on known.id = made.old_id and known.created_at = made.old_created_at
    returning id, destination_id, event_id, event_received_at`.execute(tx)
  return rows.map((row) => ({
    deliveryId: row.id,
    destinationId: row.destination_id,
    createdAtMs: nowMs,
    eventId: row.event_id,
    eventReceivedAtMs: row.event_received_at.getTime(),
  }))
}
