import type { Request, RequestHandler, Response } from 'express'
import { ipKeyGenerator, rateLimit } from 'express-rate-limit'
import { ApiError } from './api-error.ts'

/** Guessing a key of 256 bits is hopeless; the bound is for the noise. A valid key from the same address still works. */
const FAILED_LOGINS_PER_MINUTE = 300

const DETAIL = 'Too many requests. Try again after the time in Retry-After.'

/** Counts one request; throws `ApiError` 429 when it is one too many. The headers are on the response by then. */
export type RateLimit = (request: Request, response: Response, key: string) => Promise<void>

function createRateLimit(windowMs: number, limit: number): RateLimit {
  const keys = new WeakMap<Request, string>()
  const middleware: RequestHandler = rateLimit({
    windowMs,
    limit,
    standardHeaders: 'draft-8',
    legacyHeaders: false,
    keyGenerator: (request) => keys.get(request) ?? '',
    handler: (_request, _response, next) => next(new ApiError(429, DETAIL)),
    // Its advice is about proxies and addresses, and our keys are no addresses.
    validate: false,
  })
  return async (request, response, key) => {
    keys.set(request, key)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    await middleware(request, response, (error?: unknown) => (error ? reject(error) : resolve()))
    await promise
  }
}

export type RateLimits = {
  /** Per API key. */
  readonly byKey: RateLimit
  /** Per address (IPv6: its /56), for requests that failed to authenticate. */
  readonly failedLogins: RateLimit
}

export function createRateLimits(perSecond: number): RateLimits {
  return {
    byKey: createRateLimit(1_000, perSecond),
    failedLogins: createRateLimit(60_000, FAILED_LOGINS_PER_MINUTE),
  }
}

/** The address that a request is counted for. */
export const addressKey = (request: Request): string =>
  request.ip === undefined ? 'unknown' : ipKeyGenerator(request.ip)
