import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect as connectHttp2, createSecureServer } from 'node:http2'
import type { RequestOptions } from 'node:https'
import { createServer, request as requestTls, type ServerOptions } from 'node:https'
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createCertificate } from '@switchhook/testing/certificates'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createFanOut, type FaultDelivery, isSettled } from './support/fan-out.ts'
import { type NameServer, startNameServer } from './support/name-server.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant } from './support/tenant.ts'

const HOST = 'shop.example'
const ATTEMPT_MS = 5_000
const TIMEOUT_MS = 60_000
const DAY_MS = 86_400_000

const authority = createCertificate({ hosts: ['authority.example'], isAuthority: true })
const stranger = createCertificate({ hosts: ['stranger.example'], isAuthority: true })
const good = createCertificate({ hosts: [HOST], issuer: authority })
const ours = createCertificate({ hosts: ['client.example'], issuer: stranger })

const days = (from: number, to: number) => ({
  validFrom: new Date(Date.now() + from * DAY_MS),
  validTo: new Date(Date.now() + to * DAY_MS),
})
const issued = (options: { hosts?: string[]; validFrom?: Date; validTo?: Date }) =>
  createCertificate({ hosts: [HOST], issuer: authority, ...options })

const LEGACY = { ciphers: 'DEFAULT@SECLEVEL=0', minVersion: 'TLSv1' } as const

type Speaker = { readonly port: number; readonly stop: () => Promise<unknown> }
type Case = {
  readonly name: string
  readonly start: () => Promise<Speaker>
  readonly outcome: string
  readonly error: RegExp
  /** True for a client that asks for less: what is wrong is the one thing, and the server is there. */
  readonly control: (port: number) => Promise<boolean>
}

const reached = new Map<number, number>()

async function listen(server: Server): Promise<Speaker> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

function startTls(options: ServerOptions): Promise<Speaker> {
  const server = createServer(options, (request, response) => {
    const { localPort = 0 } = request.socket
    if (request.url === '/') reached.set(localPort, (reached.get(localPort) ?? 0) + 1)
    request.resume()
    response.end('reached')
  })
  server.on('tlsClientError', () => undefined)
  return listen(server)
}

/** Whether a client with these options gets its 200. */
function asks(options: RequestOptions) {
  return (port: number): Promise<boolean> =>
    new Promise((resolve) => {
      const all = { host: '127.0.0.1', port, path: '/control', servername: HOST, ...options }
      const asked = requestTls({ ...all, agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode === 200)
      })
      asked.on('error', () => resolve(false))
      asked.end()
    })
}

const unverified = asks({ rejectUnauthorized: false })

/** Whether nothing at all comes, although the connection stands and a byte was sent. */
function staysSilent(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const end = (isSilent: boolean) => {
      socket.destroy()
      resolve(isSilent)
    }
    socket.setTimeout(2 * ATTEMPT_MS, () => end(true))
    socket.once('data', () => end(false))
    socket.once('error', () => end(false))
    socket.once('close', () => end(false))
    socket.write('\u0016')
  })
}

async function speaksPlainly(port: number): Promise<boolean> {
  return (await fetch(`http://127.0.0.1:${port}/`)).status === 400
}

function speaksHttp2(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const session = connectHttp2(`https://127.0.0.1:${port}`, { rejectUnauthorized: false })
    session.on('error', () => resolve(false))
    const stream = session.request({ ':path': '/' })
    stream.on('error', () => undefined)
    stream.on('response', (headers) => {
      resolve(headers[':status'] === 200)
      session.destroy()
    })
    stream.end()
  })
}

function startHttp2(): Promise<Speaker> {
  const server = createSecureServer({ ...good, allowHTTP1: false }, (_request, response) => {
    response.end('reached')
  })
  server.on('tlsClientError', () => undefined)
  server.on('sessionError', () => undefined)
  return listen(server)
}

const certificate = (name: string, options: ServerOptions, error: RegExp): Case => ({
  ...{ name, error, outcome: 'unreachable', control: unverified },
  start: () => startTls(options),
})

const CASES: readonly Case[] = [
  certificate('self-signed', createCertificate({ hosts: [HOST] }), /is self-signed/),
  certificate('unknown CA', createCertificate({ hosts: [HOST], issuer: stranger }), /unknown/),
  certificate('issued by no authority', issuedBy(good), /unknown/),
  certificate('expired', issued(days(-2, -1)), /has expired/),
  certificate('not yet valid', issued(days(1, 2)), /not valid yet/),
  certificate('for another host', issued({ hosts: ['other.example'] }), /for another host/),
  {
    ...certificate('TLS 1.1', { ...good, ...LEGACY, maxVersion: 'TLSv1.1' }, /TLS 1\.2 or newer/),
    control: asks({ ...LEGACY, rejectUnauthorized: false }),
  },
  {
    ...certificate(
      'client certificate wanted',
      { ...good, requestCert: true, ca: [stranger.cert] },
      /^The (destination asks for a client certificate|connection was (reset|closed))/,
    ),
    control: asks({ rejectUnauthorized: false, cert: ours.cert, key: ours.key }),
  },
  {
    name: 'plain HTTP',
    start: () => {
      const answer = 'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'
      return listen(createTcpServer((socket) => socket.once('data', () => socket.end(answer))))
    },
    ...{ outcome: 'unreachable', error: /does not speak TLS/, control: speaksPlainly },
  },
  {
    name: 'handshake that hangs',
    start: () => listen(createTcpServer(() => undefined)),
    ...{ outcome: 'timed_out', error: /^No complete answer in /, control: staysSilent },
  },
  {
    ...{ name: 'HTTP/2 only (D16)', start: startHttp2, outcome: 'unreachable' },
    ...{ error: /HTTP\/1\.1/, control: speaksHttp2 },
  },
]

function issuedBy(issuer: typeof good) {
  return createCertificate({ hosts: [HOST], issuer })
}

let names: NameServer
let folder: string
let product: Product
let speakers: Speaker[]
let deliveries: readonly FaultDelivery[]

beforeAll(async () => {
  names = await startNameServer()
  names.answer(HOST, [['127.0.0.1']])
  folder = await mkdtemp(join(tmpdir(), 'switchhook-tls-'))
  const file = join(folder, 'authority.pem')
  await writeFile(file, authority.cert)
  speakers = await Promise.all([startTls(good), ...CASES.map(({ start }) => start())])
  // As an operator adds an authority.
  product = await startProduct({ env: { ...names.env, NODE_EXTRA_CA_CERTS: file } })
  const tenant = await createTenant(product)
  const settings = speakers.map(({ port }, index) => ({
    ...{ path: `/tls/${index}`, url: `https://${HOST}:${port}/`, maxAttempts: 1 },
    ...{ timeoutMs: ATTEMPT_MS, headers: { 'x-token': 'secret' } },
  }))
  const { meet } = await createFanOut(product, tenant, settings)
  deliveries = await meet(isSettled, TIMEOUT_MS)
})

afterAll(async () => {
  await product?.stop()
  await Promise.all((speakers ?? []).map(({ stop }) => stop()))
  await names.stop()
  await rm(folder, { recursive: true, force: true })
})

test('a destination with a good certificate is delivered to', () => {
  expect(deliveries[0]).toMatchObject({ state: 'delivered' })
  expect(reached.get(speakers[0]?.port ?? 0)).toBe(1)
})

describe('a destination over TLS gets nothing, and its owner the reason (D11):', () => {
  test.each(CASES)(
    '$name',
    async (one) => {
      const index = CASES.indexOf(one) + 1
      const { port } = speakers[index] as Speaker
      const delivery = deliveries[index]
      expect(delivery).toMatchObject({ state: 'given_up', attempts: [{ outcome: one.outcome }] })
      expect(delivery?.attempts[0]?.error_message).toMatch(one.error)
      expect(reached.get(port) ?? 0).toBe(0)
      const holds = () => one.control(port)
      await waitFor(holds, { timeoutMs: TIMEOUT_MS, everyMs: 100, what: 'the positive control' })
    },
    120_000,
  )
})
