import { z } from 'zod'

/** A moment with its offset, as milliseconds. A "+" that was not percent-encoded came as a space. */
const moment = z
  .string()
  .transform((text) => text.replace(' ', '+'))
  .pipe(z.iso.datetime({ offset: true, error: 'A time like 2026-01-31T00:00:00Z' }))
  .transform((text) => Date.parse(text))
  .optional()

/** The filters by time of every list: `since` is included, `until` is not. */
export const timeRange = {
  since: moment.meta({ format: 'date-time', description: 'From this time on' }),
  until: moment.meta({ format: 'date-time', description: 'Before this time' }),
}

type TimeRange = { since?: number | undefined; until?: number | undefined }

/** For `refine`: a range that ends before it begins is a mistake, not an empty list. */
export const isOrdered = ({ since, until }: TimeRange): boolean =>
  since === undefined || until === undefined || since <= until

export const UNORDERED = { path: ['until'], error: 'Must not be before since' }

/** A phone number; "+" may have come as a space. */
export const numberFilter = z
  .string()
  .max(32)
  .transform((text) => text.replace(/^ /, '+'))
  .optional()
  .describe("The tenant's own number, E.164")

/** An id of another thing; one that nothing has matches nothing. */
export const idFilter = z.string().min(1).max(64).optional()

export const callSidFilter = z.string().min(1).max(128).optional()

export const eventIdSchema = z.string().regex(/^evt_\w{1,60}$/)
export const deliveryIdSchema = z.string().regex(/^dlv_\w{1,60}$/)

export const toIso = (atMs: number): string => new Date(atMs).toISOString()
