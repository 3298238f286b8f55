import type pg from 'pg'

/** Deliveries of one destination whose mail failed for good. */
export type LostMails = {
  readonly organizationId: string
  readonly destinationId: string
  readonly count: number
  readonly reason: string
}

/** Older deliveries cannot be given up: no schedule and no mail is tried that long. */
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

/** A statement that was begun before may still commit: what it gives up is told with the next notice. */
const SETTLES_SECONDS = 60

/** What the next notice is about, both in Postgres's time. */
export type NoticePeriod = { readonly since: Date; readonly until: Date }

/** From the end of what was told last, however long ago; when none is known, from `maxAgeDays` ago. */
export async function findNoticePeriod(pool: pg.Pool, maxAgeDays: number): Promise<NoticePeriod> {
  const { rows } = await pool.query(
    `select coalesce((select max(sent_at) from operator_notices), now() - $1 * interval '1 day') as since,
            now() - interval '${SETTLES_SECONDS} s' as until`,
    [maxAgeDays],
  )
  return { since: rows[0].since, until: rows[0].until }
}

/** Those given up in this time, the most first; of at most 50 destinations. */
export async function findLostMails(
  pool: pg.Pool,
  { since, until }: NoticePeriod,
): Promise<LostMails[]> {
  const { rows } = await pool.query(
    `select organization_id, destination_id, count(*) as count, max(reason) as reason from deliveries
      where state = 'given_up' and fallback_at is not null and updated_at > $1 and updated_at <= $2
        and created_at > $1::timestamptz - interval '${MAX_AGE_DAYS} days'
      group by 1, 2 order by 3 desc, 2 limit ${MAX_DESTINATIONS}`,
    [since, until],
  )
  return rows.map((row) => ({
    organizationId: row.organization_id,
    destinationId: row.destination_id,
    count: row.count,
    reason: row.reason ?? '',
  }))
}

/** The notice of this day told all until then. */
export async function noteNotice(pool: pg.Pool, day: string, until: Date): Promise<void> {
  await pool.query(
    `insert into operator_notices (day, sent_at) values ($1, $2) on conflict (day) do nothing`,
    [day, until],
  )
}
