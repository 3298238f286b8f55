import { type RawBuilder, type SqlBool, sql } from 'kysely'

/** Where a page of a list ended: the time and the id of its last row. */
export type Position<Id extends string | number> = {
  readonly timeMs: number
  readonly id: Id
}

/** One page of a list, newest first. `sinceMs` is included, `untilMs` is not. */
export type PageRequest<Id extends string | number> = {
  readonly limit: number
  readonly after?: Position<Id> | undefined
  readonly sinceMs?: number | undefined
  readonly untilMs?: number | undefined
}

/**
 * The condition for the rows of a page that is ordered by time and id, both descending. The times of the partitioned
 * tables are whole milliseconds, as our own clocks write them, so a position in milliseconds loses and repeats no row.
 * Postgres leaves out partitions by the plain comparisons only, never by the one of the pair. There is no floor but
 * `sinceMs`: what is older than the retention has no partition any more.
 */
export function withinPage<Id extends string | number>(
  timeColumn: string,
  idColumn: string,
  page: PageRequest<Id>,
): RawBuilder<SqlBool> {
  const time = sql.ref(timeColumn)
  const conditions = [sql<SqlBool>`true`]
  if (page.sinceMs !== undefined) conditions.push(sql`${time} >= ${new Date(page.sinceMs)}`)
  if (page.untilMs !== undefined) conditions.push(sql`${time} < ${new Date(page.untilMs)}`)
  if (page.after !== undefined) {
    const at = new Date(page.after.timeMs)
    conditions.push(sql`${time} <= ${at}`)
    conditions.push(sql`(${time}, ${sql.ref(idColumn)}) < (${at}, ${page.after.id})`)
  }
  return sql`${sql.join(conditions, sql` and `)}`
}
