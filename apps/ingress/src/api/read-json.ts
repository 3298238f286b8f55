import { isUtf8 } from 'node:buffer'
import express, { type Request, type Response } from 'express'
import { ApiError } from './api-error.ts'

export const MAX_BODY_BYTES = 256 * 1024

const OPTIONS = {
  strict: true,
  type: 'application/json',
  inflate: false,
  verify: (_request: unknown, _response: unknown, body: Buffer) => {
    // The decoder would turn broken bytes into U+FFFD, and nobody would ever know.
    if (!isUtf8(body)) throw Object.assign(new Error('not UTF-8'), { type: 'entity.parse.failed' })
  },
}

const parsers = new Map<number, ReturnType<typeof express.json>>()

function parserOf(limit: number): ReturnType<typeof express.json> {
  const known = parsers.get(limit)
  if (known !== undefined) return known
  const made = express.json({ ...OPTIONS, limit })
  parsers.set(limit, made)
  return made
}

function hasBody({ headers }: Request): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/**
 * The JSON object or list in the body, undefined when there is none. Throws `ApiError` 415 for another type, and
 * body-parser's errors, which app.ts answers with 400, 413 or 415.
 */
export async function readJson(
  request: Request,
  response: Response,
  maxBytes: number,
): Promise<unknown> {
  if (!hasBody(request)) return undefined
  if (!request.is('application/json')) {
    throw new ApiError(415, 'The body must be JSON, with Content-Type: application/json')
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  parserOf(maxBytes)(request, response, (error?: unknown) => (error ? reject(error) : resolve()))
  await promise
  return request.body
}
