import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { afterAll, describe, expect, it, onTestFinished } from 'vitest'
import { createEgressAgent } from './egress-agent.ts'
import { postEvent } from './post-event.ts'

/** Plenty, for a machine that is busy. */
const AMPLE_MS = 20_000

const rules = createEgressRules({ allowedCidrs: ['127.0.0.0/8'], allowHttp: true })
const agent = createEgressAgent(rules)
afterAll(() => agent.destroy())

type Speak = (socket: Socket, request: number) => void

const BODY = '{"a":1}'
const ANSWER = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'

/** A server that answers each connection's first request well, and does what it likes with the second. */
async function startServer(speak: Speak): Promise<{ url: string; connections: () => number }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let requests = 0
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      // The end of a request; its head comes by itself.
      if (!chunk.includes(BODY)) return
      requests += 1
      speak(socket, requests)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/`, connections: () => sockets.size }
}

async function post(url: string, timeoutMs = AMPLE_MS) {
  // An answer ends a moment before its connection is free.
  await setImmediate()
  const request = { url, headers: {}, body: Buffer.from(BODY), timeoutMs }
  return postEvent(agent, { ...request, successRule: '2xx' })
}

const CLOSED: readonly (readonly [string, (socket: Socket) => void])[] = [
  ['closed', (socket) => socket.end()],
  ['reset', (socket) => socket.resetAndDestroy()],
]

describe('a kept-alive connection', () => {
  it.each(CLOSED)('that is %s under a request is told apart from others', async (_what, close) => {
    const { url, connections } = await startServer((socket, request) => {
      if (request === 1) socket.write(ANSWER)
      else close(socket)
    })
    const first = await post(url)
    expect(first).toMatchObject({ outcome: 'delivered' })
    expect(await post(url)).toMatchObject({ outcome: 'unreachable', wasClosedUnderUs: true })
    expect(connections()).toBe(1)
    // The next one has a connection of its own.
    expect(await post(url)).toMatchObject({ outcome: 'delivered' })
    expect(connections()).toBe(2)
  })

  it.each(CLOSED)('is not one that is %s at its first request', async (_what, close) => {
    const { url } = await startServer(close)
    expect(await post(url)).toMatchObject({ outcome: 'unreachable', wasClosedUnderUs: false })
  })

  it('is not one whose answer breaks off, is no HTTP or does not come in time', async () => {
    for (const [answer, outcome] of [
      ['HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc', 'unreachable'],
      ['SSH-2.0-OpenSSH_9.2\r\n', 'refused'],
      ['', 'timed_out'],
    ] as const) {
      const { url } = await startServer((socket, request) => {
        if (request === 1) socket.write(ANSWER)
        else if (answer !== '') socket.end(answer)
      })
      expect(await post(url)).toMatchObject({ outcome: 'delivered' })
      const result = await post(url, answer === '' ? 1_000 : AMPLE_MS)
      expect(result).toMatchObject({ outcome, wasClosedUnderUs: false })
    }
  })
})

describe('a request that is under way when the agent is destroyed', () => {
  it('was cut off by us, which is not the same as a destination that closes', async () => {
    const ours = createEgressAgent(rules)
    const { url } = await startServer(() => void ours.destroy())
    const request = { url, headers: {}, body: Buffer.from(BODY), timeoutMs: AMPLE_MS }
    const result = await postEvent(ours, { ...request, successRule: '2xx' })
    expect(result).toMatchObject({
      ...{ outcome: 'unreachable', statusCode: null, wasCutOff: true },
      error: expect.stringContaining('The worker stopped'),
    })
    const closing = await startServer((socket) => socket.end())
    expect(await post(closing.url)).not.toHaveProperty('wasCutOff')
  })
})
