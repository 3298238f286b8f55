import type pg from 'pg'
import type { AcceptedEvent } from '../event.ts'
import { type EventRef, oldestOf } from './privacy-erase.ts'

/** An exhausted delivery as its digest shows it. */
export type DigestLine = {
  readonly deliveryId: string
  readonly createdAtMs: number
  readonly attempts: number
  readonly reason: string | null
  /** Without its payload when that is large, or no longer kept. */
  readonly event: Pick<AcceptedEvent, 'id' | 'type' | 'phoneNumber' | 'receivedAtMs'> & {
    readonly whole: AcceptedEvent | undefined
  }
}

/** Larger payloads would make a mail that no server takes. */
const MAX_PAYLOAD_BYTES = 16_384

const LIST = `
update fallback_mails mail set is_listed = (delivery.state = 'pending')
  from deliveries delivery
 where mail.digest_id = $1 and delivery.id = mail.delivery_id and delivery.created_at = mail.delivery_created_at`

/** Fixes who is in the mail: those that are still owed one. Returns how many. To be asked anew before each try. */
export async function listDigest(pool: pg.Pool, digestId: string): Promise<number> {
  await pool.query(LIST, [digestId])
  const { rows } = await pool.query(
    `select count(*) as n from fallback_mails where digest_id = $1 and is_listed`,
    [digestId],
  )
  return rows[0]?.n ?? 0
}

const LINES = `
select delivery.id, delivery.created_at, delivery.attempts, delivery.reason, delivery.event_type, delivery.event_id,
       delivery.event_received_at, delivery.phone_number, delivery.call_sid, delivery.organization_id,
       event.provider, event.peer_number, event.assistant_id, event.is_stale, event.content_type,
       case when octet_length(event.payload) <= ${MAX_PAYLOAD_BYTES} then event.payload end as payload
  from fallback_mails mail
  join deliveries delivery on delivery.id = mail.delivery_id and delivery.created_at = mail.delivery_created_at
  left join events event on event.id = delivery.event_id and event.received_at = delivery.event_received_at
 where mail.digest_id = $1 and mail.is_listed and delivery.state = 'pending'
   and (mail.delivery_created_at, mail.delivery_id) > ($2, $3)
 order by mail.delivery_created_at, mail.delivery_id
 limit $4`

/**
 * A page of the listed deliveries that are still owed a mail, oldest first, after the given one. One may have ended while
 * it was being listed.
 */
export async function findDigestLines(
  pool: pg.Pool,
  digestId: string,
  after: Pick<DigestLine, 'deliveryId' | 'createdAtMs'> | undefined,
  limit: number,
): Promise<DigestLine[]> {
  const cursor = [new Date(after?.createdAtMs ?? 0), after?.deliveryId ?? '']
  const { rows } = await pool.query(LINES, [digestId, ...cursor, limit])
  return rows.map((row) => {
    const facts = {
      id: row.event_id,
      type: row.event_type,
      phoneNumber: row.phone_number,
      receivedAtMs: row.event_received_at.getTime(),
    }
    const whole =
      row.payload === null
        ? undefined
        : {
            ...facts,
            organizationId: row.organization_id,
            provider: row.provider,
            peerNumber: row.peer_number,
            callSid: row.call_sid,
            assistantId: row.assistant_id,
            order: null,
            isStale: row.is_stale,
            contentType: row.content_type,
            payload: row.payload,
          }
    return {
      deliveryId: row.id,
      createdAtMs: row.created_at.getTime(),
      attempts: row.attempts,
      reason: row.reason,
      event: { ...facts, whole },
    }
  })
}

const SETTLE = `
with settled as (
  update mail_digests set state = case when $2 = 'emailed' then 'sent' else 'failed' end
   where id = $1 and state in ('sending', 'sent', 'failed')
)
update deliveries delivery set state = $2, reason = coalesce(delivery.reason, '') || $3, updated_at = now()
  from fallback_mails mail
 where mail.digest_id = $1 and mail.is_listed and delivery.id = mail.delivery_id
   and delivery.created_at = mail.delivery_created_at and delivery.state = 'pending'`

/**
 * Ends a digest and every delivery that it lists and that is still owed a mail, in one commit. Returns how many ended
 * so. Running it again changes nothing. `note` is added to each delivery's reason.
 */
export async function settleDigest(
  pool: pg.Pool,
  digestId: string,
  state: 'emailed' | 'given_up',
  note = '',
): Promise<number> {
  const { rowCount } = await pool.query(SETTLE, [digestId, state, note])
  return rowCount ?? 0
}

const ON_THEIR_WAY = `
select exists (
  select from deliveries delivery
    join fallback_mails mail on mail.delivery_id = delivery.id and mail.is_listed
    join mail_digests digest on digest.id = mail.digest_id
   where delivery.event_id = any($1) and delivery.created_at >= $2
     and digest.state = 'sending' and digest.next_try_at > now()) as found`

/**
 * Whether a worker is just sending a digest that names one of these events. Bounded by the time a mail may take, or, when
 * that worker died, by its lease: the next try names only those that are owed a mail then.
 */
export async function areInDigestOnItsWay(
  pool: pg.Pool,
  events: readonly EventRef[],
): Promise<boolean> {
  if (events.length === 0) return false
  const ids = events.map(({ id }) => id)
  const { rows } = await pool.query(ON_THEIR_WAY, [ids, oldestOf(events)])
  return rows[0]?.found === true
}
