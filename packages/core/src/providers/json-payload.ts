import { MalformedPayloadError } from './provider.ts'

export type JsonObject = Readonly<Record<string, unknown>>

/** The vendors' events are six levels deep; what is much deeper would overflow whoever writes it again. */
const MAX_DEPTH = 32

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Level by level: JSON.parse takes any depth, and a function that calls itself would not. */
function isDeep(root: unknown): boolean {
  let level: unknown[] = [root]
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_DEPTH) return true
    level = level.flatMap((value) =>
      typeof value === 'object' && value !== null ? Object.values(value) : [],
    )
  }
  return false
}

/** Throws `MalformedPayloadError`, whose message quotes nothing of the payload. */
export function parseJsonObject(payload: Buffer): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(payload.toString('utf8'))
  } catch {
    throw new MalformedPayloadError('the body is not JSON')
  }
  if (!isObject(value)) throw new MalformedPayloadError('the body is not a JSON object')
  if (isDeep(value)) throw new MalformedPayloadError('the JSON is nested too deeply')
  return value
}

/** A text, or a number as text; empty for everything else. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  return typeof value === 'number' && Number.isFinite(value) ? String(value) : ''
}

/** Own fields of an object only; an empty one for everything else. */
export function objectOf(value: unknown): JsonObject {
  return isObject(value) ? value : {}
}

/** A list as it is, one thing as a list of it, nothing as an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  return value === undefined || value === null ? [] : [value]
}
