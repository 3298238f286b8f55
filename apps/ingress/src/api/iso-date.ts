import { z } from 'zod'

const DAY_MS = 86_400_000

/**
 * A date or time "in ISO format" as Burki's clients write it: with an offset or without, which is UTC, or a day alone:
 * its first moment, or as the end of a range its last. As milliseconds; an empty text is no filter. A "+" that was not
 * percent-encoded came as a space.
 */
export function isoDate(end: 'from' | 'to') {
  return z
    .string()
    .max(40)
    .transform((text, context): number | undefined => {
      if (text === '') return undefined
      const [, day, time = '', offset = 'Z'] =
        /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[ +-]\d\d:?\d\d)?)?$/i.exec(
          text,
        ) ?? []
      const clean = `${day}T${time || '00:00'}${offset.replace(' ', '+')}`
      const atMs =
        day === undefined || !z.iso.date().safeParse(day).success ? Number.NaN : Date.parse(clean)
      if (Number.isNaN(atMs)) {
        context.addIssue({ code: 'custom', message: 'A time like 2026-01-31T00:00:00Z' })
        return z.NEVER
      }
      return time === '' && end === 'to' ? atMs + DAY_MS - 1 : atMs
    })
    .optional()
    .meta({ type: 'string', description: 'ISO format; a day alone is the whole day, in UTC' })
}
