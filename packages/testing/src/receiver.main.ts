/**
 * A receiver as a process of its own. Prints `{"url":…}` as its first line on stdout and, unless
 * QUIET is set, one line per request on stderr. Env: PORT, HOST, LEDGER_FILE, QUIET.
 *
 * Its own pages: GET / (for people), GET /__received?limit= (JSON, newest first), GET /__count.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ReceivedRequest, type Receiver, startReceiver } from './receiver.ts'
import { describeRequest, sendReceiverPage } from './receiver-page.ts'

const KEPT_REQUESTS = 1_000
const DEFAULT_LIMIT = 50

const { PORT, HOST, LEDGER_FILE, QUIET } = process.env

const receiver = await startReceiver({
  maxReceived: KEPT_REQUESTS,
  serveOwnPage,
  ...(PORT ? { port: Number(PORT) } : {}),
  ...(HOST ? { host: HOST } : {}),
  ...(LEDGER_FILE ? { ledger: LEDGER_FILE } : {}),
  ...(QUIET ? {} : { onRequest: print }),
})
process.once('SIGTERM', stop)
process.once('SIGINT', stop)
process.stdout.write(`${JSON.stringify({ url: receiver.url })}\n`)

function stop(): void {
  void receiver.stop()
}

function print({ method, path, headers, body }: ReceivedRequest): void {
  const webhookId = headers['webhook-id'] ?? '-'
  process.stderr.write(`${method} ${path} webhook-id=${webhookId} ${body.length} bytes\n`)
}

function serveOwnPage(
  request: IncomingMessage,
  response: ServerResponse,
  { received, count }: Receiver,
): boolean {
  if (request.method !== 'GET') return false
  const [pathname, query] = (request.url ?? '/').split('?', 2)
  switch (pathname) {
    case '/':
      sendReceiverPage(response, received, count)
      return true
    case '/__count':
      sendJson(response, { count })
      return true
    case '/__received': {
      const limit = Number(new URLSearchParams(query).get('limit') ?? DEFAULT_LIMIT)
      sendJson(response, [...received].reverse().slice(0, limit).map(describeRequest))
      return true
    }
    default:
      return false
  }
}

function sendJson(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value))
}
