import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type Behaviour, behave, type PlainBehaviour } from './behaviour.ts'
import { type LedgerFile, openLedgerFile } from './ledger.ts'

export type ReceivedRequest = {
  /** As on the request line, with the query. */
  path: string
  method: string
  headers: IncomingHttpHeaders
  /** Names and values in turn, as received. */
  rawHeaders: string[]
  body: Buffer
  /** When the last byte of the request had come, in ms since 1970. */
  receivedAtMs: number
  /** The same for all requests of one connection. */
  connectionId: number
}

export type ReceiverOptions = {
  /** A free one unless given. */
  port?: number
  host?: string
  /** How many requests `received` keeps at most; when full, the oldest tenth goes. */
  maxReceived?: number
  /** The same bound in bytes of bodies. */
  maxReceivedBytes?: number
  /**
   * A ledger file. Each request with a `webhook-id` appends one line before it is answered:
   * `delivered` if the answer is 2xx, otherwise `attempted`.
   */
  ledger?: string
  /** Sees every request first; true when it answers it itself, which then counts nowhere. */
  serveOwnPage?: (request: IncomingMessage, response: ServerResponse, receiver: Receiver) => boolean
  /** Told of every request that counts. */
  onRequest?: (request: ReceivedRequest) => void
}

export type Receiver = {
  /** Without a trailing slash. */
  url: string
  port: number
  /** The newest requests, oldest first. */
  received: readonly ReceivedRequest[]
  /** All requests since the start or the last `clear()`. */
  readonly count: number
  readonly openConnections: number
  /** Behaves so for every path that starts with this one; the longest match wins. */
  on(path: string, behaviour: Behaviour): void
  /** Forgets all requests and all behaviours. Requests held before can still be released. */
  clear(): void
  /** Answers all held requests, and those to come, with 200. Returns how many were held. */
  release(): number
  /** The first request, past or to come, that the predicate accepts; throws after `timeoutMs`. */
  waitFor(
    predicate: (request: ReceivedRequest) => boolean,
    options: { timeoutMs: number },
  ): Promise<ReceivedRequest>
  /** Cuts all connections. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Route = {
  prefix: string
  behaviour: Behaviour
  /** How often each sequence of this route has been asked. */
  asked: Map<Behaviour, number>
  isReleased: boolean
}
type Held = { request: IncomingMessage; response: ServerResponse; webhookId: string | undefined }
type Waiter = { predicate: (r: ReceivedRequest) => boolean; resolve: (r: ReceivedRequest) => void }

const MAX_BODY_BYTES = 16 * 1024 * 1024
const KEEP_ALIVE_TIMEOUT_MS = 60_000
const EMPTY_200: PlainBehaviour = { kind: 'answer', status: 200 }

/** Starts a destination on loopback that answers 200 with an empty body, and misbehaves on request. */
export async function startReceiver(options: ReceiverOptions = {}): Promise<Receiver> {
  const { maxReceived = 200_000, maxReceivedBytes = 256 * 1024 * 1024 } = options
  const ledger: LedgerFile | undefined =
    options.ledger === undefined ? undefined : openLedgerFile(options.ledger)
  const received: ReceivedRequest[] = []
  let receivedBytes = 0
  let count = 0
  let connections = 0
  let openConnections = 0
  const connectionIds = new WeakMap<Socket, number>()
  const waiters = new Set<Waiter>()
  const held: Held[] = []
  let routes: Route[] = []

  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS }, (request, response) => {
    if (options.serveOwnPage?.(request, response, receiver) === true) return
    const chunks: Buffer[] = []
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes > MAX_BODY_BYTES) request.socket.destroy()
      else chunks.push(chunk)
    })
    request.on('error', () => undefined)
    request.on('end', () => {
      const [first] = chunks
      const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks)
      keep({
        path: request.url ?? '/',
        method: request.method ?? 'GET',
        headers: request.headers,
        rawHeaders: request.rawHeaders,
        body,
        receivedAtMs: Date.now(),
        connectionId: connectionIds.get(request.socket) ?? 0,
      })
      answer(request, response)
    })
  })
  server.on('connection', (socket) => {
    connections += 1
    openConnections += 1
    connectionIds.set(socket, connections)
    socket.once('close', () => {
      openConnections -= 1
    })
    socket.setNoDelay(true)
  })
  server.on('clientError', (_error, socket) => socket.destroy())

  function keep(request: ReceivedRequest): void {
    count += 1
    received.push(request)
    receivedBytes += request.body.length
    if (received.length > maxReceived) dropOldest(Math.ceil(maxReceived / 10))
    while (receivedBytes > maxReceivedBytes) dropOldest(Math.ceil(received.length / 10))
    options.onRequest?.(request)
    for (const waiter of waiters) {
      if (waiter.predicate(request)) waiter.resolve(request)
    }
  }

  function dropOldest(howMany: number): void {
    for (const one of received.splice(0, howMany)) receivedBytes -= one.body.length
  }

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const webhookId = ledger === undefined ? undefined : findWebhookId(request)
    const behaviour = nextBehaviour(request.url ?? '/')
    if (behaviour.kind === 'hold') held.push({ request, response, webhookId })
    else behaveAndNote(request, response, behaviour, webhookId)
  }

  function behaveAndNote(
    request: IncomingMessage,
    response: ServerResponse,
    behaviour: PlainBehaviour,
    webhookId: string | undefined,
  ): void {
    behave(request, response, behaviour, (isDelivered) => {
      if (webhookId === undefined) return
      ledger?.append(
        isDelivered
          ? { kind: 'delivered', id: webhookId, webhookId }
          : { kind: 'attempted', id: webhookId },
      )
    })
  }

  function nextBehaviour(path: string): PlainBehaviour | { kind: 'hold' } {
    const route = routes.find((one) => path.startsWith(one.prefix))
    let behaviour: Behaviour | undefined = route?.behaviour
    while (behaviour?.kind === 'sequence') {
      const asked: number = route?.asked.get(behaviour) ?? 0
      route?.asked.set(behaviour, asked + 1)
      behaviour = behaviour.answers[Math.min(asked, behaviour.answers.length - 1)]
    }
    if (behaviour?.kind === 'hold' && route?.isReleased === true) return EMPTY_200
    return behaviour ?? EMPTY_200
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve)
  })
  const { port, address } = server.address() as AddressInfo

  const receiver: Receiver = {
    url: `http://${address.includes(':') ? `[${address}]` : address}:${port}`,
    port,
    received,
    get count() {
      return count
    },
    get openConnections() {
      return openConnections
    },
    on(prefix, behaviour) {
      routes = routes.filter((route) => route.prefix !== prefix)
      routes.push({ prefix, behaviour, asked: new Map(), isReleased: false })
      routes.sort((a, b) => b.prefix.length - a.prefix.length)
    },
    clear() {
      dropOldest(received.length)
      count = 0
      routes = []
    },
    release() {
      for (const route of routes) route.isReleased = true
      const released = held.splice(0)
      for (const { request, response, webhookId } of released) {
        behaveAndNote(request, response, EMPTY_200, webhookId)
      }
      return released.length
    },
    waitFor(predicate, { timeoutMs }) {
      const past = received.find(predicate)
      if (past !== undefined) return Promise.resolve(past)
      return new Promise((resolve, reject) => {
        const waiter: Waiter = {
          predicate,
          resolve(request) {
            clearTimeout(timer)
            waiters.delete(waiter)
            resolve(request)
          },
        }
        const timer = setTimeout(() => {
          waiters.delete(waiter)
          const paths = received.slice(-5).map((one) => `${one.method} ${one.path}`)
          const seen = `${count} requests came, the last: ${paths.join(', ') || 'none'}`
          reject(new Error(`no such request within ${timeoutMs} ms; ${seen}`))
        }, timeoutMs)
        waiters.add(waiter)
      })
    },
    async stop() {
      if (!server.listening) return
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
      ledger?.close()
    },
    [Symbol.asyncDispose]: () => receiver.stop(),
  }
  return receiver
}

function findWebhookId(request: IncomingMessage): string | undefined {
  const value = request.headers['webhook-id']
  return typeof value === 'string' ? value : undefined
}
