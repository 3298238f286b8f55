import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { type Receiver, startReceiver } from '@switchhook/testing/receiver'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { createEgressAgent } from './egress-agent.ts'
import { type EventRequest, postEvent } from './post-event.ts'

vi.setConfig({ testTimeout: 60_000 })
const rules = createEgressRules({ allowedCidrs: ['127.0.0.0/8'], allowHttp: true })
const agent = createEgressAgent(rules)
let receiver: Receiver

beforeAll(async () => {
  receiver = await startReceiver()
})
beforeEach(() => receiver.clear())
afterAll(async () => {
  await agent.destroy()
  await receiver.stop()
})

const TIMEOUT_MS = 250 // for what is to run into it; the others have plenty
const HEAD_MS = 2_500 // for what is to run into it after the head of the answer
const AMPLE_MS = 20_000

function post(url: string, overrides: Partial<EventRequest> = {}) {
  const headers = { 'content-type': 'application/json', 'webhook-id': 'evt_1' }
  return postEvent(agent, {
    ...{ url, headers, body: Buffer.from('{"a":1}'), timeoutMs: AMPLE_MS, successRule: '2xx' },
    ...overrides,
  })
}

/** A server that speaks TCP as it likes, once it has seen the end of the request's head. */
async function startRawServer(speak: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', () => speak(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const rawAnswer = (bytes: string | Buffer) => startRawServer((socket) => socket.end(bytes))

describe('a destination that answers', () => {
  it('gets the request as it was prepared, once', async () => {
    const body = Buffer.from([0, 0xff, 0x0a])
    const result = await post(`${receiver.url}/hook?x=1`, {
      body,
      headers: { 'content-type': 'text/x', 'user-agent': 'Switchhook/1.0', 'x-own': 'a' },
    })
    expect(result).toEqual({
      outcome: 'delivered',
      statusCode: 200,
      responseBody: '',
      responseTimeMs: expect.any(Number),
      error: null,
      retryAfterMs: null,
    })
    expect(receiver.received).toHaveLength(1)
    const [request] = receiver.received
    expect(request?.body.equals(body)).toBe(true)
    expect(request).toMatchObject({ method: 'POST', path: '/hook?x=1' })
    // Nothing is sent but what was asked for: no cookie, no X-Forwarded, no Accept-Encoding.
    expect(Object.keys(request?.headers ?? {}).sort()).toEqual(
      ['connection', 'content-length', 'content-type', 'host', 'user-agent', 'x-own'].sort(),
    )
  })

  it.each([
    [200, 'delivered', 'delivered'],
    [201, 'delivered', 'refused'],
    [204, 'delivered', 'refused'],
    [299, 'delivered', 'refused'],
    [301, 'refused', 'refused'],
    [400, 'refused', 'refused'],
    [410, 'refused', 'refused'],
    [429, 'refused', 'refused'],
    [500, 'refused', 'refused'],
    [503, 'refused', 'refused'],
    [999, 'refused', 'refused'],
  ] as const)('with %i has %s by the rule 2xx and %s by exact_200', async (status, any, exact) => {
    receiver.on('/', { kind: 'answer', status })
    const [byAny, byExact] = await Promise.all([
      post(receiver.url),
      post(receiver.url, { successRule: 'exact_200' }),
    ])
    expect(byAny).toMatchObject({ outcome: any, statusCode: status })
    expect(byExact).toMatchObject({ outcome: exact, statusCode: status })
    const error = `The destination answered ${status}.`
    expect(byExact.error).toBe(exact === 'delivered' ? null : error)
  })

  it('is asked once: a redirect is not followed', async () => {
    const other = await startReceiver()
    onTestFinished(() => other.stop())
    for (const status of [301, 302, 303, 307, 308]) {
      receiver.on('/', { kind: 'redirect', to: `${other.url}/stolen`, status })
      expect(await post(receiver.url)).toMatchObject({ outcome: 'refused', statusCode: status })
    }
    expect(other.count).toBe(0)
    expect(receiver.count).toBe(5)
  })

  it('may ask for time with 429 or 503, and with no other status', async () => {
    const asked = async (status: number, value: string) => {
      receiver.on('/', { kind: 'answer', status, headers: { 'retry-after': value } })
      return (await post(receiver.url)).retryAfterMs
    }
    expect(await asked(429, '120')).toBe(120_000)
    expect(await asked(503, '7')).toBe(7_000)
    expect(await asked(503, 'soon')).toBeNull()
    expect(await asked(500, '120')).toBeNull()
    expect(await asked(200, '120')).toBeNull()
  })
})

describe('the logged body', () => {
  const bodyOf = async (body: string | Uint8Array) => {
    receiver.on('/', { kind: 'answer', status: 200, body })
    return (await post(receiver.url)).responseBody
  }

  it('is cut at 10,240 characters, never within one, however large the answer', async () => {
    const cut = `${'☎'.repeat(10_240)}... [TRUNCATED]`
    expect(await bodyOf('☎'.repeat(10_240))).toBe('☎'.repeat(10_240))
    expect(await bodyOf('☎'.repeat(10_241))).toBe(cut)
    expect(await bodyOf('☎'.repeat(400_000))).toBe(cut)
  })

  it('holds no NUL and no half character', async () => {
    expect(await bodyOf('a\0b')).toBe('a\uFFFDb')
    expect(await bodyOf(Buffer.from([0x61, 0xff, 0xed, 0xa0, 0x80]))).toMatch(/^a\uFFFD+$/)
  })

  it('is not unpacked: a gzip bomb stays what it is', async () => {
    receiver.on('/', { kind: 'gzip_bomb' })
    const before = process.memoryUsage().rss
    const result = await post(receiver.url)
    expect(result).toMatchObject({ outcome: 'delivered', statusCode: 200 })
    expect(result.responseBody?.length).toBeLessThanOrEqual(10_240 + 20)
    // The first byte of every gzip file.
    expect(result.responseBody?.charCodeAt(0)).toBe(0x1f)
    expect(process.memoryUsage().rss - before).toBeLessThan(100e6)
  })

  it('ends although the answer never does, without reading on', async () => {
    receiver.on('/', { kind: 'infinite' })
    const result = await post(receiver.url)
    expect(result).toMatchObject({ outcome: 'delivered', statusCode: 200 })
    expect(result.responseBody).toMatch(/^x{10240}\.\.\. \[TRUNCATED\]$/)
    expect(result.responseTimeMs).toBeLessThan(AMPLE_MS / 2)
  })
})

describe('a destination that takes its time', () => {
  const expectDeadline = (responseTimeMs: number, timeoutMs = TIMEOUT_MS) => {
    expect(responseTimeMs).toBeGreaterThanOrEqual(timeoutMs - 20)
    expect(responseTimeMs).toBeLessThan(AMPLE_MS / 2)
  }

  it('and never answers is left after the deadline', async () => {
    receiver.on('/', { kind: 'hang' })
    const result = await post(receiver.url, { timeoutMs: TIMEOUT_MS })
    expect(result).toMatchObject({
      outcome: 'timed_out',
      statusCode: null,
      error: `No complete answer in ${TIMEOUT_MS} ms.`,
    })
    expectDeadline(result.responseTimeMs)
  })

  it('with its body is left after the deadline too; its 200 counts, its 500 does not', async () => {
    receiver.on('/', { kind: 'trickle', chunkEveryMs: 20 })
    const delivered = await post(receiver.url, { timeoutMs: HEAD_MS })
    expect(delivered).toMatchObject({ outcome: 'delivered', statusCode: 200, error: null })
    expectDeadline(delivered.responseTimeMs, HEAD_MS)
    const url = await startRawServer((socket) => {
      socket.write('HTTP/1.1 500 Oops\r\ncontent-length: 1000\r\n\r\n')
    })
    const failed = await post(url, { timeoutMs: HEAD_MS })
    expect(failed).toMatchObject({ outcome: 'timed_out', statusCode: 500 })
    expectDeadline(failed.responseTimeMs, HEAD_MS)
  })

  it('one header byte after the other is left after the deadline', async () => {
    const url = await startRawServer((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nx: ')
      const timer = setInterval(() => socket.write('y'), 10)
      socket.once('close', () => clearInterval(timer))
    })
    const result = await post(url, { timeoutMs: TIMEOUT_MS })
    expect(result.outcome).toBe('timed_out')
    expectDeadline(result.responseTimeMs)
  })

  it('with endless early hints is left after the deadline', async () => {
    const url = await startRawServer((socket) => {
      const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'), 5)
      socket.once('close', () => clearInterval(timer))
    })
    const result = await post(url, { timeoutMs: TIMEOUT_MS })
    expect(result).toMatchObject({ outcome: 'timed_out', statusCode: null })
    expectDeadline(result.responseTimeMs)
  })

  it('to read the request is left after the deadline', async () => {
    const url = await startRawServer((socket) => socket.pause())
    const result = await post(url, { timeoutMs: TIMEOUT_MS, body: Buffer.alloc(16 * 1024 * 1024) })
    expect(result.outcome).toBe('timed_out')
    expectDeadline(result.responseTimeMs)
  })
})

describe('a connection that breaks', () => {
  it('by a reset or a close before the status line is unreachable', async () => {
    receiver.on('/reset', { kind: 'reset' })
    receiver.on('/close', { kind: 'close' })
    for (const path of ['/reset', '/close']) {
      const result = await post(receiver.url + path)
      expect(result).toMatchObject({ outcome: 'unreachable', statusCode: null })
      expect(result.error).toMatch(/^The connection was (reset|closed)/)
    }
  })

  it('within the head is unreachable, within the body after a 200 delivered', async () => {
    const head = await rawAnswer('HTTP/1.1 200 OK\r\ncontent-le')
    expect(await post(head)).toMatchObject({ outcome: 'unreachable', statusCode: null })
    const body = await rawAnswer('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc')
    expect(await post(body)).toMatchObject({ outcome: 'delivered', statusCode: 200, error: null })
    const failed = await rawAnswer('HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nabc')
    expect(await post(failed)).toMatchObject({ outcome: 'unreachable', statusCode: 500 })
  })

  it('before it was made is unreachable', async () => {
    const gone = await startReceiver()
    await gone.stop()
    expect(await post(gone.url)).toMatchObject({
      outcome: 'unreachable',
      error: 'The connection was refused.',
    })
  })

  it('because the name does not exist is unreachable', async () => {
    const result = await post('http://nowhere.invalid/')
    expect(result.outcome).toBe('unreachable')
    expect(result.error).toMatch(/^The host name (does not resolve|could not be looked up)\.$/)
  })

  it('is not reused: the next attempt has another', async () => {
    const good = { kind: 'answer', status: 200 } as const
    receiver.on('/', { kind: 'sequence', answers: [{ kind: 'reset' }, good] })
    expect(await post(receiver.url)).toMatchObject({ outcome: 'unreachable' })
    expect(await post(receiver.url)).toMatchObject({ outcome: 'delivered' })
    const ids = new Set(receiver.received.map(({ connectionId }) => connectionId))
    expect(ids.size).toBe(2)
  })
})

describe('what is no HTTP answer', () => {
  it.each([
    ['garbage', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['HTTP/0.9', '<html>hello</html>'],
    ['status 000', 'HTTP/1.1 000 Nothing\r\ncontent-length: 0\r\n\r\n'],
    ['status 99', 'HTTP/1.1 99 Odd\r\ncontent-length: 0\r\n\r\n'],
    ['a NUL in a header', 'HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab'],
    ['huge headers', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`],
    ['3,000 headers', `HTTP/1.1 200 OK\r\n${'x-some: header\r\n'.repeat(3_000)}\r\n`],
    ['TLS', Buffer.from('15030300020228', 'hex')],
  ])('is refused: %s', async (_what, bytes) => {
    const result = await post(await rawAnswer(bytes))
    expect(result).toMatchObject({ outcome: 'refused', responseBody: null })
    expect(result.error).toMatch(/^The answer (is not valid HTTP|has too many headers)\.$/)
  })

  it('breaks nothing for the next attempt at the same destination', async () => {
    const answers = ['HTTP/1.1 000 Nothing\r\n\r\n', 'HTTP/1.1 204 Fine\r\n\r\n']
    const url = await startRawServer((socket) => socket.end(answers.shift() ?? ''))
    expect(await post(url)).toMatchObject({ outcome: 'refused', statusCode: null })
    expect(await post(url)).toMatchObject({ outcome: 'delivered', statusCode: 204 })
  })

  it('is refused as well when it switches to a protocol that nobody asked for', async () => {
    const result = await post(
      await rawAnswer('HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    )
    expect(result.outcome).not.toBe('delivered')
    expect(result.error).not.toBeNull()
  })
})
