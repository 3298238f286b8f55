import type pg from 'pg'

/** Deliveries of one destination whose mail failed for good within a day. */
export type LostMails = {
  readonly organizationId: string
  readonly destinationId: string
  readonly count: number
  readonly reason: string
}

/** Older deliveries cannot be given up now: no schedule and no mail is tried that long. */
const MAX_AGE_DAYS = 16
const MAX_DESTINATIONS = 50

/** Today's date (UTC) by Postgres, unless its notice went out already. */
export async function findNoticeDay(pool: pg.Pool): Promise<string | undefined> {
  const { rows } = await pool.query(
    `select today.day from (select to_char(now() at time zone 'utc', 'YYYY-MM-DD') as day) today
      where not exists (select from operator_notices where operator_notices.day = today.day)`,
  )
  return rows[0]?.day
}

/** Those of the last 24 h, the most first; of at most 50 destinations. */
export async function findLostMails(pool: pg.Pool): Promise<LostMails[]> {
  const { rows } = await pool.query(
    `select organization_id, destination_id, count(*) as count, max(reason) as reason from deliveries
      where state = 'given_up' and fallback_at is not null and updated_at > now() - interval '1 day'
        and created_at > now() - interval '${MAX_AGE_DAYS} days'
      group by 1, 2 order by 3 desc, 2 limit ${MAX_DESTINATIONS}`,
  )
  return rows.map((row) => ({
    organizationId: row.organization_id,
    destinationId: row.destination_id,
    count: row.count,
    reason: row.reason ?? '',
  }))
}

export async function noteNotice(pool: pg.Pool, day: string): Promise<void> {
  await pool.query(
    `insert into operator_notices (day, sent_at) values ($1, now()) on conflict (day) do nothing`,
    [day],
  )
}
