import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { request } from 'undici'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createFanOut, type FaultDelivery, isSettled } from './support/fan-out.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Tenant } from './support/tenant.ts'

const ATTEMPT_MS = 4_000
const DRIP_MS = 50
const TIMEOUT_MS = 60_000

type Case = {
  readonly name: string
  readonly speak: (socket: Socket) => void
  readonly outcome: 'delivered' | 'refused' | 'unreachable' | 'timed_out'
  /** What a client without our deadline makes of it. */
  readonly naive: 'breaks' | 'waits' | 'accepts'
}

const OK = 'HTTP/1.1 200 OK\r\n'
const CUT_BODY = 'content-length: 9\r\n\r\nabc'

const say = (bytes: string) => (socket: Socket) => void socket.end(bytes, 'latin1')

/** Late enough for the other side to have read what came before. */
const sayAndReset = (bytes: string) => (socket: Socket) => {
  socket.write(bytes)
  setTimeout(() => socket.resetAndDestroy(), 200).unref()
}

const drip = (head: string, piece: string) => (socket: Socket) => {
  socket.write(head)
  const timer = setInterval(() => socket.write(piece), DRIP_MS)
  socket.once('close', () => clearInterval(timer))
}

const CASES: readonly Case[] = [
  {
    name: 'is reset before the status line (D12)',
    speak: (socket) => socket.resetAndDestroy(),
    outcome: 'unreachable',
    naive: 'breaks',
  },
  {
    name: 'is closed before the status line (D12)',
    speak: (socket) => void socket.end(),
    outcome: 'unreachable',
    naive: 'breaks',
  },
  {
    name: 'is reset within the head (D12)',
    speak: sayAndReset(`${OK}content-le`),
    outcome: 'unreachable',
    naive: 'breaks',
  },
  {
    name: 'is closed within the head (D12)',
    speak: say(`${OK}content-le`),
    outcome: 'unreachable',
    naive: 'breaks',
  },
  {
    name: 'is reset within the body of a 200 (D12)',
    speak: sayAndReset(OK + CUT_BODY),
    outcome: 'delivered',
    naive: 'breaks',
  },
  {
    name: 'is closed within the body of a 200 (D12)',
    speak: say(OK + CUT_BODY),
    outcome: 'delivered',
    naive: 'breaks',
  },
  {
    name: 'is closed within the body of a 500 (D12)',
    speak: say(`HTTP/1.1 500 No\r\n${CUT_BODY}`),
    outcome: 'unreachable',
    naive: 'breaks',
  },
  {
    name: 'is HTTP/0.9 (D13)',
    speak: say('<html>hello</html>'),
    outcome: 'refused',
    naive: 'breaks',
  },
  {
    name: 'has two lengths (D13)',
    speak: say(`${OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab`),
    outcome: 'refused',
    naive: 'breaks',
  },
  {
    name: 'has a length and is chunked (D13)',
    speak: say(`${OK}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`),
    outcome: 'refused',
    naive: 'breaks',
  },
  {
    name: 'has a NUL in a header (D13)',
    speak: say(`${OK}x: a\0b\r\ncontent-length: 0\r\n\r\n`),
    outcome: 'refused',
    naive: 'breaks',
  },
  {
    name: 'has a folded header (D13)',
    speak: say(`${OK}x: a\r\n b\r\ncontent-length: 0\r\n\r\n`),
    outcome: 'refused',
    naive: 'breaks',
  },
  {
    name: 'has a chunk of no length (D13)',
    speak: say(`${OK}transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n`),
    outcome: 'delivered',
    naive: 'breaks',
  },
  {
    name: 'drips its headers (D2)',
    speak: drip(OK, 'x-some: header\r\n'),
    outcome: 'timed_out',
    naive: 'waits',
  },
  {
    name: 'drips the characters of one header (D2)',
    speak: drip(`${OK}x-some: `, 'x'),
    outcome: 'timed_out',
    naive: 'waits',
  },
  {
    name: 'drips the body of a 500 (D2)',
    speak: drip('HTTP/1.1 500 No\r\n\r\n', 'x'),
    outcome: 'timed_out',
    naive: 'waits',
  },
]

let product: Product
let tenant: Tenant
let server: Server
let url: string
const sockets = new Set<Socket>()
/** Requests by path. */
const asked = new Map<string, number>()
let deliveries: readonly FaultDelivery[]
/** Requests by path, for the deliveries alone. */
let askedByUs: ReadonlyMap<string, number>
/** For each case. */
let naive: readonly Case['naive'][]

const pathOf = (one: Case): string => `/broken/${CASES.indexOf(one)}`

/** Answers each request on a connection of its own, by its path. */
async function startBrokenServer(): Promise<void> {
  server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => sockets.delete(socket))
    let head = ''
    socket.on('data', (chunk) => {
      if (head.includes('\r\n\r\n')) return
      head += chunk.toString('latin1')
      if (!head.includes('\r\n\r\n')) return
      const path = /^POST (\S+)/.exec(head)?.[1] ?? ''
      asked.set(path, (asked.get(path) ?? 0) + 1)
      CASES.find((one) => pathOf(one) === path)?.speak(socket)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

beforeAll(async () => {
  await startBrokenServer()
  product = await startProduct()
  tenant = await createTenant(product)
  const { pid } = product.worker()
  const settings = CASES.map((one) => {
    const path = pathOf(one)
    return { path, url: url + path, maxAttempts: 2, timeoutMs: ATTEMPT_MS }
  })
  const { meet } = await createFanOut(product, tenant, settings)
  deliveries = await meet(isSettled, TIMEOUT_MS)
  expect(product.worker().pid).toBe(pid)
  askedByUs = new Map(asked)
  naive = await Promise.all(CASES.map((one) => askNaively(pathOf(one))))
})

afterAll(async () => {
  await product?.stop()
  for (const socket of sockets) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
})

/** What becomes of a request without our limits in three times our deadline. */
async function askNaively(path: string): Promise<Case['naive']> {
  const signal = AbortSignal.timeout(3 * ATTEMPT_MS)
  try {
    const { body } = await request(url + path, { method: 'POST', body: '{}', signal })
    await body.text()
    return 'accepts'
  } catch (error) {
    return (error as Error).name === 'TimeoutError' ? 'waits' : 'breaks'
  }
}

describe('an answer that', () => {
  test.each(CASES)(
    '$name is one outcome, known by the deadline, and the status line decides',
    (one) => {
      const delivery = deliveries[CASES.indexOf(one)]
      const isDelivered = one.outcome === 'delivered'
      expect(delivery?.state).toBe(isDelivered ? 'delivered' : 'given_up')
      expect(delivery?.attempts).toHaveLength(isDelivered ? 1 : 2)
      for (const attempt of delivery?.attempts ?? []) {
        expect(attempt.outcome).toBe(one.outcome)
        expect(attempt.response_time_ms).toBeLessThan(2 * ATTEMPT_MS)
        if (!isDelivered) expect(attempt.error_message).toMatch(/^[A-Z][^\d]+( \d+ ms)?\.$/)
      }
      // A request for each attempt: nothing is asked again behind the log's back.
      expect(askedByUs.get(pathOf(one))).toBe(isDelivered ? 1 : 2)
      // Positive control: it is as broken as its name says.
      expect(naive[CASES.indexOf(one)]).toBe(one.naive)
    },
  )
})
