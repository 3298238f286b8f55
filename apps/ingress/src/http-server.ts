import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'

/** What Node's parser refuses never reaches Express; it is answered in the same shape all the same. */
const PARSER_ERRORS: Readonly<Record<string, readonly [status: string, detail: string]>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'The headers are too large.'],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: ['413 Payload Too Large', 'The chunk extensions are too large.'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'The request did not arrive in time.'],
}
const MALFORMED = ['400 Bad Request', 'The request is not valid HTTP.'] as const

function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const [status, detail] = PARSER_ERRORS[error.code ?? ''] ?? MALFORMED
  const body = JSON.stringify({ detail })
  socket.end(
    `HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

/** Kudosity's MMS carries base64; every other body, of a provider or of the API, is far below. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024

function answer(response: ServerResponse, status: number, detail: string): void {
  const body = JSON.stringify({ detail })
  response.writeHead(status, {
    connection: 'close',
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}

/** `Expect: 100-continue`: a body that would be refused for its length is not asked for. */
function continueOrRefuse(
  server: Server,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  if (Number(request.headers['content-length'] ?? 0) > MAX_BODY_BYTES) {
    answer(response, 413, 'The body is too large.')
    return
  }
  response.writeContinue()
  server.emit('request', request, response)
}

/** Listens with a bound on every wait of a slow client; resolves when connections are taken. */
export async function listen(
  listener: RequestListener,
  host: string,
  port: number,
): Promise<Server> {
  const server = createServer({
    headersTimeout: 5_000,
    requestTimeout: 10_000,
    connectionsCheckingInterval: 1_000,
    // Longer than a load balancer keeps an idle connection, so that it never sends into one we close.
    keepAliveTimeout: 65_000,
    // Node's own answer has no body; the guard's has.
    requireHostHeader: false,
  })
  // Node drops headers past this count without a word, the signature among them; the guard refuses at 100.
  server.maxHeadersCount = 0
  server.on('request', listener)
  server.on('checkContinue', (request, response) => continueOrRefuse(server, request, response))
  server.on('checkExpectation', (_request, response) => {
    answer(response, 417, 'Only the expectation 100-continue can be met.')
  })
  server.on('clientError', refuse)
  server.listen(port, host)
  await once(server, 'listening')
  return server
}

/** Stops taking connections, lets the requests in hand finish, and after `timeoutMs` cuts what is left. */
export async function closeServer(server: Server, timeoutMs: number): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  const cut = new AbortController()
  await Promise.race([
    closed,
    sleep(timeoutMs, undefined, { signal: cut.signal }).catch(() => undefined),
  ])
  cut.abort()
  server.closeAllConnections()
}
