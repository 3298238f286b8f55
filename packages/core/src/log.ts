import { destination, pino, stdSerializers } from 'pino'

/** The part of pino that the code uses; tests hand in an object of four functions. */
export type Logger = {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/**
 * JSON lines to stdout, message `noun.verb_past`, fields named like the columns. Phone numbers, bodies, headers and
 * secrets are never handed to it; `redact` is the second wall.
 */
export function createLogger(service: string, level: string): Logger {
  const options = {
    level,
    base: { service, pid: process.pid },
    serializers: { error: serializeError },
    redact: {
      paths: ['*.password', '*.secret', '*.token', '*.authorization', '*.body', '*.payload'],
      censor: '[redacted]',
    },
  }
  // Not in the way of requests; pino flushes it when the process ends in order.
  return pino(options, destination({ dest: 1, sync: false }))
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
