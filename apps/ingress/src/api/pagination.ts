import { hash } from 'node:crypto'
import type { Position } from '@switchhook/core/store/keyset'
import { z } from 'zod'
import { wholeNumber } from './whole-number.ts'

const MAX_LIMIT = 200
const DEFAULT_LIMIT = 50
const MAX_CURSOR_CHARACTERS = 300
const CHECK_CHARACTERS = 12

/** Tells an altered cursor from a whole one. No secret: every query is scoped to the organization anyway. */
function checkOf(kind: string, position: readonly unknown[]): string {
  return hash('sha256', JSON.stringify([kind, ...position]), 'base64url').slice(0, CHECK_CHARACTERS)
}

/** The last moment that Date can hold, and Postgres with it. */
const MAX_TIME_MS = 8.64e15

/** An opaque text for the position where a page of `kind` ended: base64url of a JSON array. */
export function encodeCursor(kind: string, { timeMs, id }: Position<string | number>): string {
  const text = JSON.stringify([timeMs, id, checkOf(kind, [timeMs, id])])
  return Buffer.from(text).toString('base64url')
}

/** The inverse; undefined for any text that `encodeCursor` did not make for this kind. Never throws. */
export function decodeCursor<Id extends string | number>(
  kind: string,
  id: z.ZodType<Id>,
  cursor: string,
): Position<Id> | undefined {
  if (cursor.length > MAX_CURSOR_CHARACTERS || !/^[\w-]+$/.test(cursor)) return undefined
  const shape = z.tuple([z.int().nonnegative().max(MAX_TIME_MS), id, z.string()])
  const parsed = shape.safeParse(parseJson(Buffer.from(cursor, 'base64url').toString('utf8')))
  if (!parsed.success) return undefined
  const position = { timeMs: parsed.data[0], id: parsed.data[1] }
  // One text per position: base64url leaves unused bits in its last character, JSON allows spaces.
  return encodeCursor(kind, position) === cursor ? position : undefined
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * The two query parameters of every list, to be spread into its query schema: `limit` (1 to 200, 50 when absent) and
 * `cursor`, bound to this kind of list. `id` is what the list's ids look like.
 */
export function pageQuery<Id extends string | number>(kind: string, id: z.ZodType<Id>) {
  return {
    limit: wholeNumber(1, MAX_LIMIT, DEFAULT_LIMIT).describe('Rows per page'),
    cursor: z
      .string()
      .transform((text, context): Position<Id> => {
        const position = decodeCursor(kind, id, text)
        if (position !== undefined) return position
        context.addIssue({ code: 'custom', message: 'Not a next_cursor of this list' })
        return z.NEVER
      })
      .optional()
      .describe('next_cursor of the page before'),
  }
}

/** How many rows to read for a page of `limit`: one more tells whether another page follows. */
export const rowsToRead = (limit: number): number => limit + 1

/** The answer of a list. `rows` are up to `rowsToRead(limit)`, in the list's order. */
export function pageOf<Row>(
  kind: string,
  limit: number,
  rows: readonly Row[],
  positionOf: (row: Row) => Position<string | number>,
  show: (row: Row) => unknown,
): { items: unknown[]; next_cursor: string | null } {
  const shown = rows.slice(0, limit)
  const last = shown.at(-1)
  const isMore = rows.length > shown.length && last !== undefined
  return {
    items: shown.map(show),
    next_cursor: isMore ? encodeCursor(kind, positionOf(last)) : null,
  }
}

/** The schema of such an answer, for the API's document. */
export function pageSchema(item: z.ZodType): z.ZodType {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() })
}
