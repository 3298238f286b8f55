import { z } from 'zod'

/** A name for people, as they wrote it. */
export const nameSchema = z
  .string()
  .min(1)
  .max(200)
  .refine((text) => text.trim() !== '', 'Must not be blank')

/** Checked by `checkUrl`, which knows what this process may reach. */
export const urlSchema = z.string().min(1).max(2048).meta({ format: 'uri' })

/**
 * One plain address: no list, group, display name or quoted part, so that it can only ever mean one mailbox. A hyphen
 * in front would be an option to some mail programs.
 */
export const emailSchema = z
  .string()
  .max(320)
  .regex(
    /^(?!-)[^\s@<>,;:"()[\]\\\p{Cc}\p{Cf}]{1,64}@(?=[^@]{1,255}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9-]{2,63}$/u,
    'Must be one plain mail address',
  )
  .meta({ examples: ['ops@example.com'] })

export const phoneNumberSchema = z
  .string()
  .regex(/^\+[1-9]\d{4,14}$/, 'Must be in E.164 format, +14155551234 for one')
  .meta({ examples: ['+14155551234'] })

/** Ids of the tables that count: assistants and numbers. */
export const integerIdSchema = z.int().min(1)

/** The same in a path. */
export const integerIdInPath = z
  .string()
  .regex(/^[1-9]\d{0,14}$/)
  .transform(Number)
  .meta({ type: 'integer' })

export const integerIdParams = z.strictObject({ id: integerIdInPath })

/** `dst_…` and the like; whatever else it says names nothing. */
export function idSchema(prefix: 'pac_' | 'dst_') {
  return z.string().regex(new RegExp(`^${prefix}[a-z2-7]{26}$`))
}

export const createdAtSchema = z.iso.datetime()
