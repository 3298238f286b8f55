import type { IncomingMessage } from 'node:http'
import { ApiError } from './api-error.ts'
import type { ApiAnswer } from './define-route.ts'

const UNAUTHENTICATED = 'Authentication required. Provide a valid API key or login session.'

/** How a client says who it is, and how it is told what went wrong. */
export type Dialect = {
  /** The key as it was sent. Throws `unauthenticated()` when there is none, or more than one. */
  tokenOf(request: IncomingMessage): string
  unauthenticated(): ApiError
  /** An expected failure as it is answered. */
  answerOf(error: ApiError): ApiAnswer
  /** Everything under this path is answered in this dialect, unknown routes and faults of ours included. */
  readonly prefix: string | null
}

/** The management API's own, which is Burki's too: a bearer key, `{"detail": …}`. */
export const bearerDialect: Dialect = {
  tokenOf(request) {
    const [header, ...more] = request.headersDistinct.authorization ?? []
    const token = /^bearer +(\S+) *$/i.exec(header ?? '')?.[1]
    if (token === undefined || more.length > 0) throw this.unauthenticated()
    return token
  },
  unauthenticated: () => new ApiError(401, UNAUTHENTICATED, { 'www-authenticate': 'Bearer' }),
  answerOf: ({ status, detail, headers }) => ({ status, body: { detail }, headers }),
  prefix: null,
}

/** Of a list of findings Kudosity tells the first: `Validation Error: rate_limit: …`. */
function textOf(detail: ApiError['detail']): string {
  if (typeof detail === 'string') return detail
  const [first] = detail
  const [, ...path] = first?.loc ?? []
  return ['Validation Error', ...(path.length > 0 ? [path.join('.')] : []), first?.msg].join(': ')
}

/** Whatever is wrong with a body or query is a 400 there. */
const INVALID: ReadonlySet<number> = new Set([413, 415, 422])

/** Kudosity's, for its drop-in: `x-api-key`, `{"error": "…"}` (developers.kudosity.com, openapi of `/v2/webhook`). */
export const kudosityDialect: Dialect = {
  tokenOf(request) {
    const [token, ...more] = request.headersDistinct['x-api-key'] ?? []
    if (token === undefined || more.length > 0) throw this.unauthenticated()
    return token.trim()
  },
  unauthenticated: () => new ApiError(401, 'Unauthorized: the header x-api-key needs a valid key'),
  answerOf: ({ status, detail, headers }) => ({
    status: INVALID.has(status) ? 400 : status,
    body: { error: textOf(detail) },
    headers,
  }),
  prefix: '/v2/webhook',
}
