import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const MAX_BODY_BYTES = 1024 * 1024
const MAX_CALLS = 10_000
const DRIP_EVERY_MS = 50

/** One request that came, and what it was answered. */
export type RestCall = {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  /** Of a form: text values; of JSON: as they came. */
  readonly body: Readonly<Record<string, unknown>>
  readonly headers: IncomingMessage['headers']
  /** Undefined for one that was left without an answer. */
  readonly status: number | undefined
}

/**
 * - a status: the vendor's error body, and nothing is done; with `isDone` it is done, and the answer lies.
 * - `hang`: nothing is done or answered. `cut`: the connection ends. `drip`: an answer that never ends.
 */
export type RestFault =
  | {
      readonly status: number
      readonly isDone?: boolean
      readonly headers?: Record<string, string>
    }
  | 'hang'
  | 'cut'
  | 'drip'

/** Which requests go wrong: those of this method and path, after `skip` of them, `times` in a row (1 unless given). */
export type RestFaultPlace = {
  readonly method?: string
  readonly path?: RegExp
  readonly skip?: number
  readonly times?: number
}

export type RestAnswer = {
  readonly status: number
  readonly body?: unknown
}

export type RestRequest = Omit<RestCall, 'status'>

export type RestStandIn = {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** The newest 10,000 requests, oldest first. */
  readonly calls: readonly RestCall[]
  /** The requests that change something, as `POST /path`. */
  writes(): string[]
  fail(place: RestFaultPlace, fault: RestFault): void
  /** Forgets the calls and the faults. */
  reset(): void
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export type RestVendor = {
  /** Undefined when the request may pass. */
  authorize(request: RestRequest): RestAnswer | undefined
  handle(request: RestRequest): RestAnswer
  errorBody(status: number): unknown
}

type Planned = { place: RestFaultPlace; fault: RestFault; seen: number }

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > MAX_BODY_BYTES) throw new Error('the body is too large')
    chunks.push(chunk)
  }
  const text = Buffer.concat(chunks).toString('utf8')
  if (text === '') return {}
  const isForm = request.headers['content-type']?.startsWith('application/x-www-form-urlencoded')
  return isForm ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text)
}

function drip(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  const timer = setInterval(() => response.write(' '), DRIP_EVERY_MS)
  response.once('close', () => clearInterval(timer))
}

/** Starts a vendor's REST API on loopback, with a journal of its calls and faults on request. */
export async function startRestStandIn(vendor: RestVendor): Promise<RestStandIn> {
  const calls: RestCall[] = []
  let planned: Planned[] = []

  function faultOf({ method, path }: RestRequest): RestFault | undefined {
    for (const one of planned) {
      const { place } = one
      if (place.method !== undefined && place.method !== method) continue
      if (place.path !== undefined && !place.path.test(path)) continue
      one.seen += 1
      const nth = one.seen - (place.skip ?? 0)
      if (nth >= 1 && nth <= (place.times ?? 1)) return one.fault
    }
    return undefined
  }

  function keep(request: RestRequest, status: number | undefined): void {
    calls.push({ ...request, status })
    if (calls.length > MAX_CALLS) calls.splice(0, MAX_CALLS / 10)
  }

  function send(response: ServerResponse, answer: RestAnswer, headers = {}): void {
    response.writeHead(answer.status, { 'content-type': 'application/json', ...headers })
    response.end(answer.body === undefined ? '' : JSON.stringify(answer.body))
  }

  async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(incoming.url ?? '/', 'http://stand-in')
    const request: RestRequest = {
      ...{ method: incoming.method ?? 'GET', path: pathname, query: searchParams },
      ...{ body: await readBody(incoming), headers: incoming.headers },
    }
    const fault = faultOf(request)
    if (typeof fault === 'string') {
      keep(request, undefined)
      if (fault === 'cut') incoming.socket.destroy()
      if (fault === 'drip') drip(response)
      return
    }
    const refused = vendor.authorize(request)
    if (fault !== undefined && refused === undefined) {
      if (fault.isDone === true) vendor.handle(request)
      keep(request, fault.status)
      send(response, { status: fault.status, body: vendor.errorBody(fault.status) }, fault.headers)
      return
    }
    const result = refused ?? vendor.handle(request)
    keep(request, result.status)
    send(response, result)
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo

  const standIn: RestStandIn = {
    ...{ url: `http://127.0.0.1:${port}`, calls },
    writes: () =>
      calls.filter(({ method }) => method !== 'GET').map(({ method, path }) => `${method} ${path}`),
    fail: (place, fault) => {
      planned.push({ place, fault, seen: 0 })
    },
    reset() {
      calls.length = 0
      planned = []
    },
    async stop() {
      if (!server.listening) return
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      await closed
    },
    [Symbol.asyncDispose]: () => standIn.stop(),
  }
  return standIn
}
