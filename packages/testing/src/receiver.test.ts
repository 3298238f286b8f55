import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import { Agent, request } from 'undici'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Behaviour } from './behaviour.ts'
import { readLedgerFile } from './ledger.ts'
import { type Receiver, startReceiver } from './receiver.ts'
import { waitFor } from './wait-for.ts'

vi.setConfig({ testTimeout: 60_000 })

const TIMEOUT_MS = 20_000
let receiver: Receiver
let agent: Agent

beforeEach(async () => {
  receiver = await startReceiver()
  agent = new Agent()
})
afterEach(async () => {
  await receiver.stop()
  await agent.destroy()
})

async function post(path: string, body = '', headers: Record<string, string> = {}) {
  const response = await request(receiver.url + path, {
    method: 'POST',
    body,
    headers,
    dispatcher: agent,
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  return {
    status: response.statusCode,
    headers: response.headers,
    text: await response.body.text(),
  }
}

async function statusOf(path: string): Promise<number> {
  return (await post(path)).status
}

describe('by default', () => {
  test('answers 200 with an empty body and keeps what came, byte for byte', async () => {
    const answer = await post('/hook?a=1', '{"a": 1.0}', { 'X-Mixed-Case': 'yes' })
    expect(answer).toMatchObject({ status: 200, text: '' })
    expect(receiver.received).toHaveLength(1)
    const [seen] = receiver.received
    expect(seen).toMatchObject({ path: '/hook?a=1', method: 'POST', connectionId: 1 })
    expect(seen?.headers['x-mixed-case']).toBe('yes')
    expect(seen?.rawHeaders).toContain('X-Mixed-Case')
    expect(seen?.body.toString()).toBe('{"a": 1.0}')
    expect(Math.abs(Date.now() - (seen?.receivedAtMs ?? 0))).toBeLessThan(5_000)
  })

  test('tells connections apart', async () => {
    await agent.close()
    agent = new Agent({ connections: 1 })
    await post('/')
    await post('/')
    await agent.close()
    agent = new Agent()
    await post('/')
    expect(receiver.received.map((one) => one.connectionId)).toEqual([1, 1, 2])
  })

  test('puts an IPv6 host in brackets', async () => {
    await using other = await startReceiver({ host: '::1' })
    expect(other.url).toBe(`http://[::1]:${other.port}`)
  })

  test('keeps the newest requests and counts all', async () => {
    await using small = await startReceiver({ maxReceived: 10 })
    for (let n = 0; n < 25; n += 1) await request(`${small.url}/${n}`, { dispatcher: agent })
    expect(small.count).toBe(25)
    expect(small.received.length).toBeLessThanOrEqual(10)
    expect(small.received.at(-1)?.path).toBe('/24')
  })

  test('keeps no more bytes of bodies than allowed', async () => {
    await using small = await startReceiver({ maxReceivedBytes: 1_000 })
    for (let n = 0; n < 20; n += 1) {
      await request(small.url, { method: 'POST', body: 'x'.repeat(100), dispatcher: agent })
    }
    expect(small.received.length).toBeLessThanOrEqual(10)
    expect(small.received.length).toBeGreaterThan(5)
  })
})

describe('misbehaves', () => {
  test('answers as told, for paths that start so; the longest match wins', async () => {
    receiver.on('/a', {
      kind: 'answer',
      status: 503,
      body: 'busy',
      headers: { 'retry-after': '7' },
    })
    receiver.on('/a/b', { kind: 'answer', status: 410 })
    expect(await post('/a/x')).toMatchObject({
      status: 503,
      text: 'busy',
      headers: { 'retry-after': '7' },
    })
    expect(await statusOf('/a/b/c')).toBe(410)
    expect(await statusOf('/b')).toBe(200)
    receiver.on('/a', { kind: 'answer', status: 204 })
    expect(await statusOf('/a')).toBe(204)
    receiver.clear()
    expect(receiver.received).toHaveLength(0)
    expect(await statusOf('/a/b')).toBe(200)
  })

  test('delays an answer', async () => {
    receiver.on('/', { kind: 'answer', status: 200, delayMs: 60 })
    const startedAt = performance.now()
    await post('/')
    expect(performance.now() - startedAt).toBeGreaterThan(50)
  })

  test('goes through a sequence and repeats its last', async () => {
    const inner: Behaviour = {
      kind: 'sequence',
      answers: [
        { kind: 'answer', status: 502 },
        { kind: 'answer', status: 200 },
      ],
    }
    receiver.on('/', { kind: 'sequence', answers: [{ kind: 'answer', status: 500 }, inner] })
    const seen: number[] = []
    for (let n = 0; n < 4; n += 1) seen.push(await statusOf('/'))
    expect(seen).toEqual([500, 502, 200, 200])
  })

  test('redirects', async () => {
    receiver.on('/', { kind: 'redirect', to: 'http://169.254.169.254/', status: 307 })
    expect(await post('/')).toMatchObject({
      status: 307,
      headers: { location: 'http://169.254.169.254/' },
    })
  })

  test('hangs without an answer', async () => {
    receiver.on('/', { kind: 'hang' })
    const answer = post('/').catch((error: Error) => error)
    await receiver.waitFor(() => true, { timeoutMs: TIMEOUT_MS })
    expect(await Promise.race([answer, sleep(100, 'silence')])).toBe('silence')
    await receiver.stop()
    expect(await answer).toBeInstanceOf(Error)
  })

  test('resets the connection', async () => {
    receiver.on('/', { kind: 'reset' })
    await expect(post('/')).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  test('closes the connection without an answer', async () => {
    receiver.on('/', { kind: 'close' })
    await expect(post('/')).rejects.toMatchObject({ code: 'UND_ERR_SOCKET' })
  })

  test('trickles a body without end', async () => {
    receiver.on('/', { kind: 'trickle', chunkEveryMs: 5 })
    const { statusCode, body } = await request(receiver.url, { dispatcher: agent })
    expect(statusCode).toBe(200)
    const chunks: string[] = []
    for await (const chunk of body) if (chunks.push(String(chunk)) === 3) break
    expect(chunks.join('')).toMatch(/^\.{3,}$/)
  })

  test('pours a body without end, no faster than it is read', async () => {
    receiver.on('/', { kind: 'infinite' })
    const { body } = await request(receiver.url, { dispatcher: agent })
    let bytes = 0
    for await (const chunk of body) {
      bytes += (chunk as Buffer).length
      if (bytes > 20_000_000) break
    }
    expect(bytes).toBeGreaterThan(20_000_000)
  })

  test('answers with a small body that unpacks to a big one', async () => {
    receiver.on('/', { kind: 'gzip_bomb' })
    const { headers, body } = await request(receiver.url, { dispatcher: agent })
    const packed = Buffer.from(await body.arrayBuffer())
    expect(headers['content-encoding']).toBe('gzip')
    expect(packed.length).toBeLessThan(1_200_000)
    const firstMember = packed.subarray(0, packed.length / 64)
    expect(gunzipSync(firstMember).length * 64).toBe(1024 ** 3)
  })

  test('writes raw bytes instead of HTTP', async () => {
    receiver.on('/', { kind: 'raw', bytes: 'HTTP/1.1 000 ?\r\n\r\n' })
    const socket = connect(receiver.port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    const seen: Buffer[] = []
    for await (const chunk of socket) seen.push(chunk)
    expect(Buffer.concat(seen).toString()).toBe('HTTP/1.1 000 ?\r\n\r\n')
  })

  test('holds answers until it is told to release them, and then no more', async () => {
    receiver.on('/', { kind: 'hold' })
    const answer = statusOf('/held')
    await receiver.waitFor((one) => one.path === '/held', { timeoutMs: TIMEOUT_MS })
    expect(await Promise.race([answer, sleep(50, 'held')])).toBe('held')
    expect(receiver.release()).toBe(1)
    expect(await answer).toBe(200)
    expect(await statusOf('/later')).toBe(200)
  })
})

describe('waitFor', () => {
  test('finds a request of the past and one to come', async () => {
    await post('/past')
    const past = await receiver.waitFor((one) => one.path === '/past', { timeoutMs: TIMEOUT_MS })
    expect(past.path).toBe('/past')
    const coming = receiver.waitFor((one) => one.path === '/coming', { timeoutMs: TIMEOUT_MS })
    await post('/other')
    await post('/coming')
    expect((await coming).path).toBe('/coming')
  })

  test('says what came instead when the time is over', async () => {
    await post('/other')
    const waiting = receiver.waitFor((one) => one.path === '/never', { timeoutMs: 20 })
    await expect(waiting).rejects.toThrow(/within 20 ms; 1 requests came, the last: POST \/other/)
  })
})

describe('with a ledger', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'switchhook-receiver-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  test('notes a webhook as delivered when it answers 2xx and as attempted otherwise', async () => {
    const file = join(directory, 'ledger.jsonl')
    await receiver.stop()
    receiver = await startReceiver({ ledger: file })
    receiver.on('/down', { kind: 'answer', status: 503 })
    await post('/down', '', { 'webhook-id': 'evt_1' })
    await post('/up', '', { 'webhook-id': 'evt_1' })
    await post('/no-id')
    expect(readLedgerFile(file)).toEqual([
      { kind: 'attempted', id: 'evt_1' },
      { kind: 'delivered', id: 'evt_1', webhookId: 'evt_1' },
    ])
  })

  test('notes a held webhook only when its answer leaves, and as attempted if nobody waits', async () => {
    const file = join(directory, 'ledger.jsonl')
    await receiver.stop()
    receiver = await startReceiver({ ledger: file })
    receiver.on('/', { kind: 'hold' })
    const answer = post('/stays', '', { 'webhook-id': 'evt_stays' })
    const gone = new Agent()
    const lost = request(`${receiver.url}/leaves`, {
      dispatcher: gone,
      headers: { 'webhook-id': 'evt_leaves' },
    }).catch(() => undefined)
    await receiver.waitFor((one) => one.path === '/stays', { timeoutMs: TIMEOUT_MS })
    await receiver.waitFor((one) => one.path === '/leaves', { timeoutMs: TIMEOUT_MS })
    expect(readFileSync(file, 'utf8')).toBe('')
    await gone.destroy()
    await lost
    await waitFor(() => receiver.openConnections === 1, {
      timeoutMs: TIMEOUT_MS,
      what: 'the client to go',
    })
    receiver.release()
    await answer
    expect(readLedgerFile(file)).toEqual(
      expect.arrayContaining([
        { kind: 'delivered', id: 'evt_stays', webhookId: 'evt_stays' },
        { kind: 'attempted', id: 'evt_leaves' },
      ]),
    )
  })
})
