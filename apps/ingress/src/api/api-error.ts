/** One finding of a 422, in FastAPI's shape. `loc` starts with `body`, `query` or `path`. */
export type ValidationIssue = {
  readonly loc: readonly (string | number)[]
  readonly msg: string
  readonly type: string
}

/** A request that ends with this status and `{"detail": …}`; thrown by handlers, answered by api-router.ts. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number
  readonly detail: string | readonly ValidationIssue[]
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    detail: string | readonly ValidationIssue[],
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(typeof detail === 'string' ? detail : 'the request is not valid')
    this.status = status
    this.detail = detail
    this.headers = headers
  }
}

/** Another tenant's row, a malformed id and an unknown one look the same. `what` begins with a capital: `Destination`. */
export function notFound(what: string): ApiError {
  return new ApiError(404, `${what} not found`)
}

/** A 422 about one field, for what a schema alone cannot tell. `path` is within the body: `['retry', 'max_attempts']`. */
export function invalidField(path: readonly (string | number)[], msg: string): ApiError {
  return new ApiError(422, [{ loc: ['body', ...path], msg, type: 'value_error' }])
}
