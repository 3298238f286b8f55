import { DeadlineError } from '../deadline.ts'

/**
 * SQLSTATE: connection exceptions, deadlocks, out of resources, cancelled or shut down by an operator, system errors,
 * read-only.
 */
const SERVER_FAULT = /^(08|40|53|57|58|25006$)/

/** What sockets and name look-ups fail with. */
const NETWORK_FAULT = /^(ECONN\w+|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/

/** pg's own errors have no code. */
const PG_FAULT =
  /^(Query read timeout|timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error|Client was closed|The server does not support SSL)/

/** Postgres is away, frozen or shutting down: the same statement may succeed later. */
export function isStoreUnavailable(error: unknown): boolean {
  if (error instanceof DeadlineError) return true
  if (error instanceof AggregateError) return error.errors.some(isStoreUnavailable)
  if (!(error instanceof Error)) return false
  if (PG_FAULT.test(error.message)) return true
  const code = 'code' in error ? String(error.code) : ''
  return SERVER_FAULT.test(code) || NETWORK_FAULT.test(code)
}
