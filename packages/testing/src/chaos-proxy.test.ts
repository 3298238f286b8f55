import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type ChaosProxy, startChaosProxy } from './chaos-proxy.ts'
import { waitFor } from './wait-for.ts'

vi.setConfig({ testTimeout: 60_000 })

const TIMEOUT_MS = 20_000
let target: Server
let targetSockets: Socket[]
let atTarget: string
let proxy: ChaosProxy
let clients: Client[]

/** A target that answers `ping` with `pong`, and everything else with the same bytes. */
beforeEach(async () => {
  targetSockets = []
  clients = []
  atTarget = ''
  target = createServer({ allowHalfOpen: true }, (socket) => {
    targetSockets.push(socket)
    socket.on('error', () => undefined)
    socket.on('end', () => socket.end('bye'))
    socket.on('data', (chunk) => {
      atTarget += String(chunk)
      socket.write(String(chunk) === 'ping' ? 'pong' : chunk)
    })
  })
  target.listen(0, '127.0.0.1')
  await once(target, 'listening')
  proxy = await startChaosProxy({ targetPort: (target.address() as AddressInfo).port })
})

afterEach(async () => {
  await proxy.stop()
  for (const { socket } of clients) socket.destroy()
  for (const socket of targetSockets) socket.destroy()
  target.close()
})

type Client = { socket: Socket; seen: () => string; ended: Promise<string> }

async function open(): Promise<Client> {
  const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
  let seen = ''
  socket.on('data', (chunk) => {
    seen += String(chunk)
  })
  const ended = new Promise<string>((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
    socket.once('end', () => resolve('end'))
  })
  const client = { socket, seen: () => seen, ended }
  clients.push(client)
  await Promise.race([new Promise((resolve) => socket.once('connect', resolve)), ended])
  return client
}

async function expectReply(client: Client, reply: string): Promise<void> {
  await waitFor(() => client.seen() === reply, {
    timeoutMs: TIMEOUT_MS,
    what: `the reply ${reply}`,
  })
}

/** A client is connected as soon as the kernel says so; the proxy may learn of it later. */
async function waitForConnections(howMany: number): Promise<void> {
  await waitFor(() => proxy.connections === howMany, {
    timeoutMs: TIMEOUT_MS,
    what: `${howMany} connections`,
  })
}

test('passes bytes and ends both ways', async () => {
  const client = await open()
  client.socket.write('ping')
  await expectReply(client, 'pong')
  client.socket.end()
  expect(await client.ended).toBe('end')
  expect(client.seen()).toBe('pongbye')
})

test('passes more than its buffers hold, in order', async () => {
  const client = await open()
  const sent = Array.from({ length: 200_000 }, (_, n) => `${n} `.padStart(64)).join('')
  client.socket.end(sent)
  expect(await client.ended).toBe('end')
  expect(client.seen() === `${sent}bye`).toBe(true)
})

test('refuse resets the connections there are and the new ones', async () => {
  const before = await open()
  before.socket.write('ping')
  await expectReply(before, 'pong')
  proxy.mode('refuse')
  expect(await before.ended).toBe('ECONNRESET')
  const after = await open()
  expect(await after.ended).toBe('ECONNRESET')
  expect(targetSockets).toHaveLength(1)
  proxy.mode('pass')
  const again = await open()
  again.socket.write('ping')
  await expectReply(again, 'pong')
})

test('a target that is down resets the client', async () => {
  await new Promise((resolve) => target.close(resolve))
  const client = await open()
  expect(await client.ended).toBe('ECONNRESET')
})

test('a blackhole keeps connections open and lets nothing through, either way', async () => {
  const before = await open()
  before.socket.write('ping')
  await expectReply(before, 'pong')
  proxy.mode('blackhole')
  before.socket.write('swallowed')
  targetSockets[0]?.write('swallowed too')
  const during = await open()
  during.socket.write('ping')
  expect(await Promise.race([before.ended, during.ended, sleep(100, 'silence')])).toBe('silence')
  expect([before.seen(), during.seen(), atTarget]).toEqual(['pong', '', 'ping'])
  expect(targetSockets).toHaveLength(1)
})

test('in a blackhole the target does not learn that a client has gone', async () => {
  const client = await open()
  client.socket.write('ping')
  await expectReply(client, 'pong')
  proxy.mode('blackhole')
  client.socket.resetAndDestroy()
  const [socket] = targetSockets
  const gone = new Promise((resolve) => socket?.once('close', () => resolve('gone')))
  await waitForConnections(0)
  expect(await Promise.race([gone, sleep(50, 'unaware')])).toBe('unaware')
  proxy.mode('pass')
  expect(await gone).toBe('gone')
})

test('the end of a blackhole resets the connections whose bytes are missing', async () => {
  const before = await open()
  await waitForConnections(1)
  proxy.mode('blackhole')
  const during = await open()
  await waitForConnections(2)
  proxy.mode('pass')
  expect(await before.ended).toBe('ECONNRESET')
  expect(await during.ended).toBe('ECONNRESET')
})

test('latency holds each way, and the order stays when it shrinks', async () => {
  proxy.mode({ latencyMs: 40 })
  const client = await open()
  const startedAt = performance.now()
  client.socket.write('ping')
  await expectReply(client, 'pong')
  expect(performance.now() - startedAt).toBeGreaterThanOrEqual(78)
  client.socket.write('first ')
  await waitFor(() => atTarget.endsWith('first ') || client.socket.bytesWritten === 10, {
    timeoutMs: TIMEOUT_MS,
    what: 'the write',
  })
  proxy.mode('pass')
  client.socket.write('second ')
  await expectReply(client, 'pongfirst second ')
})

test('a reply on its way still arrives when the target has closed', async () => {
  proxy.mode({ latencyMs: 30 })
  const client = await open()
  client.socket.end('late')
  expect(await client.ended).toBe('end')
  expect(client.seen()).toBe('latebye')
})

test('cuts the connection after so many bytes of replies', async () => {
  const client = await open()
  client.socket.write('ping')
  await expectReply(client, 'pong')
  proxy.mode({ cutRepliesAfterBytes: 3 })
  client.socket.write('1234567')
  expect(await client.ended).toBe('ECONNRESET')
  expect(client.seen()).toBe('pong123')
})

test('with zero bytes a request arrives and its reply does not', async () => {
  proxy.mode({ cutRepliesAfterBytes: 0 })
  const client = await open()
  client.socket.write('commit')
  expect(await client.ended).toBe('ECONNRESET')
  expect(client.seen()).toBe('')
  expect(atTarget).toBe('commit')
})

test('cutAll resets what is open and nothing else', async () => {
  const first = await open()
  const second = await open()
  await waitForConnections(2)
  proxy.cutAll()
  expect([await first.ended, await second.ended]).toEqual(['ECONNRESET', 'ECONNRESET'])
  const third = await open()
  third.socket.write('ping')
  await expectReply(third, 'pong')
})

test('silenceAll keeps what is open and lets nothing through it; a new connection passes', async () => {
  const before = await open()
  before.socket.write('ping')
  await expectReply(before, 'pong')
  proxy.silenceAll()
  before.socket.write('lost')
  const after = await open()
  after.socket.write('ping')
  await expectReply(after, 'pong')
  expect([before.seen(), before.socket.destroyed, atTarget]).toEqual(['pong', false, 'pingping'])
})
