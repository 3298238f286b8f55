import { z } from 'zod'
import { wholeNumber } from './whole-number.ts'

/** Rows per page in Burki's lists. */
export const limitQuery = wholeNumber(1, 500, 50)

/** Rows to leave out. */
export const skipQuery = wholeNumber(0, 1_000_000, 0)

/** A filter by a text; an empty one filters nothing. */
export const textFilter = z
  .string()
  .max(200)
  .transform((text) => text || undefined)
  .optional()

/** A filter by a number that Burki gave; one that nothing has matches nothing. */
export const integerFilter = z
  .string()
  .regex(/^(-?\d{1,15})?$/, 'A whole number')
  .transform((text) => (text === '' ? undefined : Number(text)))
  .optional()
  .meta({ type: 'integer' })

/** A filter by a phone number. A "+" that was not percent-encoded came as a space. */
export const phoneFilter = z
  .string()
  .max(32)
  .transform((text) => text.replace(/^ /, '+') || undefined)
  .optional()
