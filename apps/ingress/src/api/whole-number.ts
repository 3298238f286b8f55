import { z } from 'zod'

/** A whole number in a query, in digits alone: `fallback` when it is absent. */
export function wholeNumber(min: number, max: number, fallback: number) {
  return z
    .string()
    .transform((text, context): number => {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : -1
      if (value >= min && value <= max) return value
      context.addIssue({ code: 'custom', message: `A whole number from ${min} to ${max}` })
      return z.NEVER
    })
    .default(fallback)
    .meta({ type: 'integer', minimum: min, maximum: max })
}
