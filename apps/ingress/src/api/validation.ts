import type { z } from 'zod'
import { ApiError, type ValidationIssue } from './api-error.ts'

const MAX_DEPTH = 32
const MAX_ITEMS = 1000
const MAX_ISSUES = 20
/** In a whole body: 4 MB of small numbers would keep everybody else waiting. */
const MAX_VALUES = 250_000

const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype'])

type Path = readonly (string | number)[]

function issue(loc: Path, msg: string, type: string): ValidationIssue {
  return { loc, msg, type }
}

/** Postgres text holds no NUL, and a lone surrogate is no UTF-8: neither can be stored or sent as it came. */
export function isCleanText(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed()
}

/**
 * What is wrong with a JSON value before its schema is looked at: too deep, too wide, text that cannot be stored,
 * keys that are dangerous on an object. Walks with a list of its own: 128 k nested brackets fit into a body and
 * would overflow the stack.
 */
function findUnsafe(root: unknown, where: string): ValidationIssue | undefined {
  const waiting: { value: unknown; path: Path }[] = [{ value: root, path: [where] }]
  let values = 0
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { value, path } = next
    if (typeof value === 'string' && !isCleanText(value)) {
      return issue(path, 'Text must not contain NUL or lone surrogates', 'string_unicode')
    }
    if (typeof value !== 'object' || value === null) continue
    if (path.length > MAX_DEPTH) {
      return issue([where], `Nested deeper than ${MAX_DEPTH} levels`, 'too_deep')
    }
    const entries: [string | number, unknown][] = Array.isArray(value)
      ? [...value.entries()]
      : Object.entries(value)
    if (entries.length > MAX_ITEMS) {
      return issue(path, `More than ${MAX_ITEMS} items`, 'too_long')
    }
    values += entries.length
    if (values > MAX_VALUES) return issue([where], `More than ${MAX_VALUES} values`, 'too_long')
    for (const [key, item] of entries) {
      if (typeof key === 'string' && (FORBIDDEN_KEYS.has(key) || !isCleanText(key))) {
        return issue(path, 'A key of this name is not allowed', 'extra_forbidden')
      }
      waiting.push({ value: item, path: [...path, key] })
    }
  }
  return undefined
}

/** zod's findings in FastAPI's words; the type names are Pydantic's where there is one. */
function toIssues(found: z.core.$ZodIssue, where: string): ValidationIssue[] {
  const loc = [where, ...found.path.map((part) => (typeof part === 'number' ? part : String(part)))]
  if (found.code === 'unrecognized_keys') {
    return found.keys.map((key) =>
      issue([...loc, key.slice(0, 100)], 'Extra inputs are not permitted', 'extra_forbidden'),
    )
  }
  const isMissing = found.code === 'invalid_type' && found.input === undefined
  if (isMissing) return [issue(loc, 'Field required', 'missing')]
  return [issue(loc, found.message, found.code === 'custom' ? 'value_error' : found.code)]
}

/** The value in the schema's type. Throws `ApiError` 422 with at most 20 findings, none of which repeats a value. */
export function parseInput<T>(
  schema: z.ZodType<T>,
  value: unknown,
  where: 'body' | 'query' | 'path',
): T {
  const unsafe = findUnsafe(value, where)
  if (unsafe !== undefined) throw new ApiError(422, [unsafe])
  const result = schema.safeParse(value, { reportInput: true })
  if (result.success) return result.data
  const issues = result.error.issues.flatMap((found) => toIssues(found, where))
  throw new ApiError(422, issues.slice(0, MAX_ISSUES))
}
