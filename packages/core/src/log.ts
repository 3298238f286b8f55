import { destination, pino, stdSerializers } from 'pino'

/** The part of pino that the code uses; tests hand in an object of four functions. */
export type Logger = {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** A write costs more than a line: lines gather up to this size or this long. */
const GATHER_BYTES = 8_192
const GATHER_MS = 100

/**
 * JSON lines to stdout, message `noun.verb_past`, fields named like the columns. Phone numbers, bodies, headers and
 * secrets are never handed to it (e2e/secrecy.test.ts looks for them).
 */
export function createLogger(service: string, level: string): Logger {
  const options = {
    level,
    base: { service, pid: process.pid },
    serializers: { error: serializeError },
  }
  // Not in the way of requests; pino flushes it when the process ends in order.
  const output = destination({
    ...{ dest: 1, sync: false, minLength: GATHER_BYTES, periodicFlush: GATHER_MS },
  })
  return pino(options, output)
}

/** Postgres puts values into `detail` and `where`; only what cannot hold a tenant's data is kept. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { type, message, stack } = stdSerializers.err(error)
  const code = 'code' in error ? error.code : undefined
  const cause = error.cause instanceof Error ? error.cause.message : undefined
  return { type, message, stack, code, cause }
}

export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
}
