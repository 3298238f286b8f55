import type pg from 'pg'
import { digestId } from '../ids.ts'

/** Which mail stands for a delivery. `dueInMs`: until a digest may be sent, or tried again; negative: since then. */
export type MailSlot =
  | { readonly kind: 'single'; readonly recipient: string }
  | { readonly kind: 'digest'; readonly digestId: string; readonly dueInMs: number }

export type MailClaim = {
  readonly deliveryId: string
  readonly createdAtMs: number
  readonly organizationId: string
  readonly destinationId: string
  /** As configured when the delivery was exhausted; what was claimed first counts. */
  readonly recipient: string
}

export type MailLimits = { readonly windowMs: number; readonly maxSingles: number }

const LOCK_WINDOW = `
insert into mail_windows (destination_id, recipient, started_at, mails)
values ($1, $2, date_trunc('milliseconds', now()), 0)
on conflict (destination_id, recipient) do update set mails = mail_windows.mails
returning started_at, mails, date_trunc('milliseconds', now()) as now`

const FIND_CLAIM = `
select mail.recipient, mail.digest_id, mail.is_listed, digest.state,
       (extract(epoch from digest.next_try_at - now()) * 1000)::float8 as due_in_ms
  from fallback_mails mail left join mail_digests digest on digest.id = mail.digest_id
 where mail.delivery_id = $1`

const SAVE_CLAIM = `
insert into fallback_mails (delivery_id, delivery_created_at, recipient, digest_id, claimed_at)
values ($1, $2, $3, $4, now())
on conflict (delivery_id) do update set digest_id = excluded.digest_id, is_listed = false`

const OPEN_DIGEST = `
insert into mail_digests (id, organization_id, destination_id, recipient, state, due_at, next_try_at)
values ($1, $2, $3, $4, 'gathering', $5, $5)
on conflict (id) do nothing`

async function findClaim(client: pg.PoolClient, deliveryId: string): Promise<MailSlot | undefined> {
  const { rows } = await client.query(FIND_CLAIM, [deliveryId])
  const [row] = rows
  if (row === undefined) return undefined
  if (row.digest_id === null) return { kind: 'single', recipient: row.recipient }
  // Joined too late, or while its row still waited in the spool: that mail went without it.
  const isOver = row.state !== 'gathering' && row.state !== 'sending'
  if (isOver && !row.is_listed) return undefined
  return { kind: 'digest', digestId: row.digest_id, dueInMs: row.due_in_ms }
}

/** The digest of this window, unless it is being sent already. */
async function joinDigest(
  client: pg.PoolClient,
  claim: MailClaim,
  startedAtMs: number,
  dueAtMs: number,
): Promise<string | undefined> {
  const { organizationId, destinationId, recipient } = claim
  const id = digestId(destinationId, recipient, startedAtMs)
  const digest = [id, organizationId, destinationId, recipient, new Date(dueAtMs)]
  await client.query(OPEN_DIGEST, digest)
  // Held until commit: whoever takes the digest meanwhile waits, and then finds this delivery in it.
  const { rows } = await client.query(`select state from mail_digests where id = $1 for share`, [
    id,
  ])
  return rows[0]?.state === 'gathering' ? id : undefined
}

async function claimIn(
  client: pg.PoolClient,
  claim: MailClaim,
  { windowMs, maxSingles }: MailLimits,
): Promise<MailSlot> {
  const { deliveryId, createdAtMs, destinationId, recipient } = claim
  const window = (await client.query(LOCK_WINDOW, [destinationId, recipient])).rows[0]
  const known = await findClaim(client, deliveryId)
  if (known !== undefined) return known

  const nowMs = window.now.getTime()
  const isOver = nowMs - window.started_at.getTime() >= windowMs
  let startedAtMs = isOver ? nowMs : window.started_at.getTime()
  let mails = isOver ? 1 : window.mails + 1
  let digest: string | undefined
  if (mails > maxSingles) {
    digest = await joinDigest(client, claim, startedAtMs, startedAtMs + windowMs)
    if (digest === undefined) [startedAtMs, mails] = [nowMs, 1]
  }
  await client.query(
    `update mail_windows set started_at = $3, mails = $4 where destination_id = $1 and recipient = $2`,
    [destinationId, recipient, new Date(startedAtMs), mails],
  )
  const row = [deliveryId, new Date(createdAtMs), recipient, digest ?? null]
  await client.query(SAVE_CLAIM, row)
  if (digest === undefined) return { kind: 'single', recipient }
  return { kind: 'digest', digestId: digest, dueInMs: startedAtMs + windowMs - nowMs }
}

/**
 * Decides, once for all workers, which mail stands for an exhausted delivery: the first `maxSingles` to an address in a
 * window get their own, the rest share the digest that is sent when the window ends. Asked again, it answers the same,
 * but for a delivery that its digest could not list: that one gets another slot.
 */
export async function claimMailSlot(
  pool: pg.Pool,
  claim: MailClaim,
  limits: MailLimits,
): Promise<MailSlot> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    const slot = await claimIn(client, claim, limits)
    await client.query('commit')
    client.release()
    return slot
  } catch (error) {
    client.release(true)
    throw error
  }
}

/** A digest that this worker may send now. `tries` counts this one. */
export type TakenDigest = {
  readonly id: string
  readonly organizationId: string
  readonly destinationId: string
  readonly recipient: string
  readonly dueAtMs: number
  readonly tries: number
}

/**
 * Takes a due digest for `leaseMs`; from then on it gathers no more. Undefined when it is not due, another worker has it,
 * or it is settled.
 */
export async function takeDigest(
  pool: pg.Pool,
  id: string,
  leaseMs: number,
): Promise<TakenDigest | undefined> {
  const { rows } = await pool.query(
    `update mail_digests set state = 'sending', tries = tries + 1, next_try_at = now() + $2 * interval '1 ms'
      where id = $1 and state in ('gathering', 'sending') and next_try_at <= now()
      returning id, organization_id, destination_id, recipient, due_at, tries`,
    [id, leaseMs],
  )
  const [row] = rows
  if (row === undefined) return undefined
  return {
    id: row.id,
    organizationId: row.organization_id,
    destinationId: row.destination_id,
    recipient: row.recipient,
    dueAtMs: row.due_at.getTime(),
    tries: row.tries,
  }
}

/** Keeps a taken digest for `leaseMs` from now. Nothing happens once another worker has it. */
export async function keepDigest(
  pool: pg.Pool,
  { id, tries }: Pick<TakenDigest, 'id' | 'tries'>,
  leaseMs: number,
): Promise<void> {
  await pool.query(
    `update mail_digests set next_try_at = now() + $3 * interval '1 ms'
      where id = $1 and tries = $2 and state = 'sending'`,
    [id, tries, leaseMs],
  )
}

/** After a try that failed: lets a taken digest go until `delayMs` from now, and lists nobody until it is listed anew. */
export async function putOffDigest(
  pool: pg.Pool,
  { id, tries }: Pick<TakenDigest, 'id' | 'tries'>,
  delayMs: number,
): Promise<void> {
  await pool.query(
    `with put_off as (
       update mail_digests set next_try_at = now() + $3 * interval '1 ms'
        where id = $1 and tries = $2 and state = 'sending'
        returning id
     )
     update fallback_mails mail set is_listed = false from put_off
      where mail.digest_id = put_off.id and mail.is_listed`,
    [id, tries, delayMs],
  )
}
