import {
  type AttemptResult,
  CUT_OFF,
  isSuccess,
  truncateBody,
} from '@switchhook/core/delivery/attempt'
import { createEgressWatch, type EgressWatch } from '@switchhook/core/delivery/own-fault'
import { parseRetryAfter } from '@switchhook/core/delivery/retry-policy'
import { type Dispatcher, errors, request } from 'undici'
import { BlockedAddressError } from './egress-agent.ts'
import { trackConnection } from './post-event-connection.ts'

export type EventRequest = {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
  readonly timeoutMs: number
  readonly successRule: '2xx' | 'exact_200'
}

/** Enough for the 10,240 characters that a log keeps; what follows is not read. */
const MAX_RESPONSE_BYTES = 4 * 10_240 + 4

type Failure = Pick<AttemptResult, 'outcome' | 'wasCutOff'> & { readonly error: string }

const UNKNOWN_ISSUER: Failure = {
  outcome: 'unreachable',
  error: 'The certificate cannot be verified: its issuer is unknown.',
}
const OLD_TLS: Failure = {
  outcome: 'unreachable',
  error: 'The destination does not speak TLS 1.2 or newer.',
}
const NO_TLS: Failure = { outcome: 'unreachable', error: 'The destination does not speak TLS.' }
const NO_HANDSHAKE: Failure = {
  outcome: 'unreachable',
  error: 'The destination refused the TLS handshake.',
}
const INVALID_ANSWER: Failure = { outcome: 'refused', error: 'The answer is not valid HTTP.' }

/** What a person can act on, by the code of undici, Node or OpenSSL. Never the error's own text: it may hold an address. */
const FAILURES: Readonly<Record<string, Failure>> = {
  EPROXY: { outcome: 'unreachable', error: 'The egress proxy of the gateway failed.' },
  EPROXIED: { outcome: 'unreachable', error: 'The egress proxy could not connect.' },
  EBLOCKED: { outcome: 'blocked', error: 'The address is not one that deliveries may reach.' },
  ECONNREFUSED: { outcome: 'unreachable', error: 'The connection was refused.' },
  ECONNRESET: { outcome: 'unreachable', error: 'The connection was reset.' },
  EPIPE: { outcome: 'unreachable', error: 'The connection was closed.' },
  ENOTFOUND: { outcome: 'unreachable', error: 'The host name does not resolve.' },
  EAI_AGAIN: { outcome: 'unreachable', error: 'The host name could not be looked up.' },
  EHOSTUNREACH: { outcome: 'unreachable', error: 'There is no route to the host.' },
  ENETUNREACH: { outcome: 'unreachable', error: 'There is no route to the network.' },
  ETIMEDOUT: { outcome: 'timed_out', error: 'The connection timed out.' },
  UND_ERR_CONNECT_TIMEOUT: { outcome: 'timed_out', error: 'The connection timed out.' },
  UND_ERR_HEADERS_TIMEOUT: { outcome: 'timed_out', error: 'No answer in time.' },
  UND_ERR_BODY_TIMEOUT: { outcome: 'timed_out', error: 'The answer did not end in time.' },
  UND_ERR_SOCKET: { outcome: 'unreachable', error: 'The connection was closed without an answer.' },
  // The agent is closed when this worker stops, and never before.
  UND_ERR_DESTROYED: { outcome: 'unreachable', error: CUT_OFF, wasCutOff: true },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: INVALID_ANSWER,
  // What undici throws for a status below 100.
  ERR_ASSERTION: INVALID_ANSWER,
  UND_ERR_HEADERS_OVERFLOW: { outcome: 'refused', error: 'The answer has too many headers.' },
  CERT_HAS_EXPIRED: { outcome: 'unreachable', error: 'The certificate has expired.' },
  CERT_NOT_YET_VALID: { outcome: 'unreachable', error: 'The certificate is not valid yet.' },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    outcome: 'unreachable',
    error: 'The certificate is for another host.',
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: {
    outcome: 'unreachable',
    error: 'The certificate is self-signed.',
  },
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_ISSUER,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_ISSUER,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_ISSUER,
  ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION: OLD_TLS,
  ERR_SSL_UNSUPPORTED_PROTOCOL: OLD_TLS,
  ERR_SSL_WRONG_VERSION_NUMBER: NO_TLS,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: NO_TLS,
  'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE': NO_HANDSHAKE,
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: {
    outcome: 'unreachable',
    error: 'The destination does not speak HTTP/1.1.',
  },
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: {
    outcome: 'unreachable',
    error: 'The destination asks for a client certificate.',
  },
}

/** On a connection that was used before: what its end looks like when it met our request half-way. */
const CLOSED_CODES: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return ''
  if ('code' in error && typeof error.code === 'string') return error.code
  // Several addresses were tried: the first one's failure stands for all.
  if (error instanceof AggregateError) return codeOf(error.errors[0])
  return codeOf(error.cause)
}

function toFailure(error: unknown, signal: AbortSignal, timeoutMs: number): Failure {
  if (error instanceof BlockedAddressError) return FAILURES.EBLOCKED as Failure
  if (signal.aborted)
    return { outcome: 'timed_out', error: `No complete answer in ${timeoutMs} ms.` }
  if (error instanceof errors.HTTPParserError) return INVALID_ANSWER
  const code = codeOf(error)
  const known = FAILURES[code]
  if (known !== undefined) return known
  return { outcome: 'unreachable', error: `The request failed (${code || 'unknown reason'}).` }
}

/** The first bytes of the answer. Beyond the cap the connection is dropped: it may go on for ever. */
async function readBody(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes >= MAX_RESPONSE_BYTES) break // leaving the loop destroys the stream
  }
  return truncateBody(Buffer.concat(chunks).toString('utf8'))
}

/**
 * undici hears of an abort only once it has a connection, and may wait long for one: in its queue, for the resolver, for
 * the handshake. The request is never sent then.
 */
async function untilAborted(
  work: Promise<Dispatcher.ResponseData>,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = () => {
    reject(signal.reason)
    work.then(
      ({ body }) => body.destroy(),
      () => undefined,
    )
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    // The signal lives until its time is up, and would keep the whole answer alive.
    signal.removeEventListener('abort', onAbort)
  }
}

/** Of a request that got no connection: true when that is our own fault, the proxy's, or what the watch says. */
function isOurFault(code: string, watch: EgressWatch, url: string): boolean {
  // Nothing was tried: it tells nothing about our way out.
  if (code === 'EBLOCKED') return false
  return (
    code === 'EPROXY' || watch.isOwnFault(code, URL.parse(url)?.hostname ?? '', performance.now())
  )
}

/**
 * One HTTP POST with a deadline over all of it: connecting, sending, the last byte of the answer. Redirects are not
 * followed, nothing is decompressed. Never throws: whatever happens is an outcome. `watch` sees what came through.
 */
export async function postEvent(
  agent: Dispatcher,
  event: EventRequest,
  watch: EgressWatch = createEgressWatch(),
): Promise<AttemptResult> {
  const startedAtMs = performance.now()
  const elapsedMs = (): number => Math.round(performance.now() - startedAtMs)
  const signal = AbortSignal.timeout(event.timeoutMs)
  const connection = trackConnection(event.body)
  let statusCode: number | null = null
  let retryAfterMs: number | null = null
  try {
    const options = { dispatcher: agent, headers: event.headers, body: event.body, signal }
    const sending = request(event.url, { ...options, method: 'POST' })
    const { headers, body, ...response } = await untilAborted(sending, signal)
    watch.reached()
    statusCode = response.statusCode
    const retryAfter = headers['retry-after']
    if (statusCode === 429 || statusCode === 503) {
      retryAfterMs = parseRetryAfter([retryAfter].flat()[0], Date.now())
    }
    const responseBody = await readBody(body)
    const isDelivered = isSuccess(event.successRule, statusCode)
    return {
      outcome: isDelivered ? 'delivered' : 'refused',
      error: isDelivered ? null : `The destination answered ${statusCode}.`,
      ...{ statusCode, responseBody, retryAfterMs },
      responseTimeMs: elapsedMs(),
    }
  } catch (error) {
    const failure = toFailure(error, signal, event.timeoutMs)
    const facts = { statusCode, retryAfterMs, responseBody: null, responseTimeMs: elapsedMs() }
    // The status line decides: an answer that breaks off, or never ends, after a 200 was a 200.
    if (statusCode !== null && isSuccess(event.successRule, statusCode)) {
      return { outcome: 'delivered', error: null, ...facts }
    }
    const code = codeOf(error)
    if (connection.isMade()) {
      watch.reached()
      const isClosed = statusCode === null && !signal.aborted && CLOSED_CODES.has(code)
      return { ...failure, ...facts, wasClosedUnderUs: isClosed && connection.isReused() }
    }
    const connectCode = signal.aborted ? 'UND_ERR_CONNECT_TIMEOUT' : code
    return { ...failure, ...facts, isOurFault: isOurFault(connectCode, watch, event.url) }
  }
}
