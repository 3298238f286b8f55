import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createEvidence, type Evidence, SMS_PATH } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { exchange, exchangeAgain, type RawAnswer, type RawExchange } from './support/raw-http.ts'
import { type Changes, createSignedPost, type SignedPost } from './support/signed-post.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

/** 10 s for a whole request, looked at every second; the rest is for a machine that stands still. */
const SLOW_TIMEOUT_MS = 20_000
const MAX_BODY_BYTES = 2 * 1024 * 1024

let product: Product
let tenant: Tenant
let line: Line
let evidence: Evidence

beforeAll(async () => {
  product = await startProduct()
  tenant = await createTenant(product)
  line = await tenant.addLine({ path: '/good', timeoutMs: 10_000 })
  evidence = createEvidence(product, tenant)
})

/** Whatever came before, a genuine message is taken at once. */
afterEach(async () => {
  await evidence.send(line)
})

afterAll(async () => {
  await product?.stop()
})

function expectDetail(answer: RawAnswer | undefined, status: number): void {
  expect(answer).toMatchObject({
    status,
    headers: { 'content-type': expect.stringMatching(/^application\/json/) },
  })
  expect(JSON.parse(answer?.body ?? '')).toEqual({ detail: expect.stringMatching(/./) })
}

function post(): SignedPost {
  return createSignedPost(product, tenant, line.phoneNumber)
}

function send(bytes: Buffer): Promise<RawExchange> {
  return exchangeAgain(product.ingress().url, bytes)
}

const HOST = 'host: hooks.switchhook.example'
const FORM = 'content-type: application/x-www-form-urlencoded'

function raw(...lines: readonly string[]): string {
  return [`POST ${SMS_PATH} HTTP/1.1`, ...lines, '', ''].join('\r\n')
}

/** Spoilt framing that Node, or the guard behind it, must see: what each request is, its bytes, its status. */
const BROKEN: readonly (readonly [name: string, bytes: string, status: number])[] = [
  ['no Host', raw(FORM, 'content-length: 0'), 400],
  ['two Hosts', raw(HOST, 'host: evil.example', FORM, 'content-length: 0'), 400],
  ['a length and chunks', raw(HOST, 'content-length: 3', 'transfer-encoding: chunked'), 400],
  ['the transfer encoding xchunked', raw(HOST, 'transfer-encoding: xchunked'), 400],
  ['a space before a colon', raw(HOST, 'transfer-encoding : chunked'), 400],
  ['an encoding after chunked', raw(HOST, 'transfer-encoding: chunked, identity'), 400],
  ['two lengths', raw(HOST, 'content-length: 3', 'content-length: 4'), 400],
  ['a negative length', raw(HOST, 'content-length: -1'), 400],
  ['a length with a sign', raw(HOST, 'content-length: +1'), 400],
  ['a length in scientific notation', raw(HOST, 'content-length: 1e3'), 400],
  ['a chunk size that is no number', `${raw(HOST, FORM, 'transfer-encoding: chunked')}zz\r\n`, 400],
  [
    'a chunk size beyond 64 bits',
    `${raw(HOST, FORM, 'transfer-encoding: chunked')}${'f'.repeat(18)}\r\n`,
    400,
  ],
  [
    'a chunk extension of 100 kB',
    `${raw(HOST, FORM, 'transfer-encoding: chunked')}1;${'x'.repeat(100_000)}\r\n`,
    413,
  ],
  ['lines that end without CR', `POST ${SMS_PATH} HTTP/1.1\n${HOST}\ncontent-length: 0\n\n`, 400],
  ['a folded header', raw(HOST, 'x-folded: one', ' two', 'content-length: 0'), 400],
  ['a NUL in a header', raw(HOST, 'x-nul: a\0b', 'content-length: 0'), 400],
  ['a header of 20 kB', raw(HOST, `x-large: ${'x'.repeat(20_000)}`, 'content-length: 0'), 431],
  ['a URL of 20 kB', `POST /${'x'.repeat(20_000)} HTTP/1.1\r\n${HOST}\r\n\r\n`, 431],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
  ['a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
  ['a version that does not exist', `POST ${SMS_PATH} HTTP/3.7\r\n${HOST}\r\n\r\n`, 400],
  ['HTTP/1.0 without Host', `POST ${SMS_PATH} HTTP/1.0\r\n${FORM}\r\n\r\n`, 400],
  ['an unknown method', `FOO ${SMS_PATH} HTTP/1.1\r\n${HOST}\r\n\r\n`, 400],
  ['a method in lower case', `post ${SMS_PATH} HTTP/1.1\r\n${HOST}\r\n\r\n`, 400],
  ['an expectation that nobody can meet', raw(HOST, FORM, 'expect: x', 'content-length: 0'), 417],
]

test.each(BROKEN)('a request with %s is refused as JSON', async (_name, bytes, status) => {
  const { answers } = await send(Buffer.from(bytes, 'latin1'))
  expectDetail(answers[0], status)
})

const fillers = (howMany: number): string[] =>
  Array.from({ length: howMany }, (_, index) => `x-${index}: 1`)

test.each([101, 1_100, 2_000])(
  '%i headers more than a good request has are 431, not a body read as empty',
  async (howMany) => {
    const { answers } = await send(post().toBytes({ lines: fillers(howMany) }))
    expectDetail(answers[0], 431)
  },
)

test('a hundred headers are allowed', async () => {
  const { answers } = await send(
    post().toBytes({ lines: fillers(100 - Object.keys(post().headers).length - 2) }),
  )
  expect(answers[0]?.status).toBe(200)
})

const METHODS = ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'PROPFIND']

test.each(METHODS)('%s of the webhook is 405 and says what is allowed', async (method) => {
  for (const path of [SMS_PATH, '/webhooks/sms/twilio']) {
    const { answers } = await send(Buffer.from(`${method} ${path} HTTP/1.1\r\n${HOST}\r\n\r\n`))
    expectDetail(answers[0], 405)
    expect(answers[0]?.headers.allow).toBe('POST')
  }
})

const UNKNOWN_PATHS = [
  ['a NUL', `${SMS_PATH}%00b`],
  ['an escape upwards', '/%2e%2e%2fadmin'],
  ['a broken escape', '/%E0%A4%A'],
  ['5 kB', `/${'a'.repeat(5_000)}`],
  ['capitals', '/Twilio-Sms-Webhook'],
  ['a double slash', `/${SMS_PATH}`],
  ['a name of every object', '/__proto__/constructor'],
  ['metrics', '/metrics'],
  ['a dot file', '/.env'],
] as const

test.each(UNKNOWN_PATHS)('a path with %s is 404 as JSON', async (_name, path) => {
  const { answers } = await send(post().toBytes({ path }))
  expectDetail(answers[0], 404)
})

test('garbage behind a request is 400 and the end of the connection, never part of a request', async () => {
  const signed = post()
  const messageSid = /MessageSid=(\w+)/.exec(signed.body)?.[1] ?? ''
  const { answers, isClosedByServer } = await exchange(
    product.ingress().url,
    Buffer.concat([signed.toBytes(), Buffer.from('&Body=more\r\n\r\n')]),
    { answers: 2, untilClosed: true },
  )
  expectDetail(answers.at(-1), 400)
  expect(isClosedByServer).toBe(true)
  const isItsOwn = ({ body }: { body: Buffer }) => body.includes(messageSid)
  const { body } = await product.receiver.waitFor(isItsOwn, { timeoutMs: 30_000 })
  expect(JSON.parse(body.toString('utf8')).data.body).toBe('Hello')
})

test('a thousand requests written at once on one connection are answered in order', async () => {
  const howMany = 1_000
  const one = (index: number) =>
    `GET ${index % 2 === 0 ? SMS_PATH : '/nowhere'} HTTP/1.1\r\n${HOST}\r\n\r\n`
  const bytes = Array.from({ length: howMany }, (_, index) => one(index)).join('')
  const { answers } = await exchange(product.ingress().url, bytes, {
    answers: howMany,
    timeoutMs: 60_000,
  })
  expect(answers.map(({ status }) => status)).toEqual(
    Array.from({ length: howMany }, (_, index) => (index % 2 === 0 ? 405 : 404)),
  )
})

/** A form of exactly this many bytes, with one long message. */
function signedOfSize(bytes: number): SignedPost {
  const of = (length: number) =>
    createSignedPost(product, tenant, line.phoneNumber, { body: 'x'.repeat(length) })
  // The form names the number of segments too, so its length is known only when it is made.
  const excess = of(bytes).body.length - bytes
  return of(bytes - excess)
}

function chunked(bytes: Buffer): Buffer {
  const size = 65_536
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size)
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'))
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')])
}

const CHUNKED: NonNullable<Changes['headers']> = {
  'content-length': undefined,
  'transfer-encoding': 'chunked',
}

test.each([
  ['exactly 2 MiB', 0, 200],
  ['one byte more', 1, 413],
  ['8 MiB more', 8 * 1024 * 1024, 413],
])('a body of %s, with its length or in chunks', async (_name, extra, status) => {
  const signed = signedOfSize(MAX_BODY_BYTES + extra)
  const inChunks = chunked(Buffer.from(signed.body))
  for (const changes of [{}, { headers: CHUNKED, body: inChunks }]) {
    const { answers } = await send(signed.toBytes(changes))
    if (status !== 200) expectDetail(answers[0], status)
    expect(answers[0]?.status).toBe(status)
  }
})

test('a body that is too large is refused before it is asked for', async () => {
  const headers = { expect: '100-continue', 'content-length': String(MAX_BODY_BYTES + 1) }
  const { answers, sawContinue } = await send(post().toBytes({ headers, body: '' }))
  expectDetail(answers[0], 413)
  expect(sawContinue).toBe(false)
})

test('a good body that waits to be asked for is asked for, and taken', async () => {
  const { answers, sawContinue } = await send(
    post().toBytes({ headers: { expect: '100-continue' } }),
  )
  expect(answers[0]?.status).toBe(200)
  expect(sawContinue).toBe(true)
})

test.each(['websocket', 'h2c'])('an offer to upgrade to %s is ignored', async (upgrade) => {
  const headers = { connection: 'Upgrade', upgrade, 'sec-websocket-key': 'x' }
  const { answers } = await send(post().toBytes({ headers }))
  expect(answers[0]?.status).toBe(200)
})

test('a body or headers that come too slowly, or stop, end in 408', async () => {
  const { url } = product.ingress()
  const whole = post().toBytes()
  async function* drip(from: number) {
    yield whole.subarray(0, from)
    for (let at = from; at < from + 25; at += 1) {
      await sleep(1_000)
      yield whole.subarray(at, at + 1)
    }
  }
  const options = { timeoutMs: SLOW_TIMEOUT_MS }
  const exchanges = await Promise.all([
    exchange(url, whole.subarray(0, -10), options),
    exchange(url, drip(whole.length - 30), options),
    exchange(url, drip(20), options),
  ])
  for (const { answers } of exchanges) expectDetail(answers[0], 408)
}, 60_000)

test('an upload that is cut off stores nothing', async () => {
  const signed = signedOfSize(100_000)
  const messageSid = /MessageSid=(\w+)/.exec(signed.body)?.[1] ?? ''
  const partly = signed.toBytes().subarray(0, -1_000)
  await exchange(product.ingress().url, partly, { after: 'reset', untilClosed: true })
  await evidence.send(line)
  await evidence.waitUntilSettled(40_000)
  const answer = await tenant.api.send('GET', `/api/v1/events/${tenant.eventIdOf(messageSid)}`)
  expect(answer.status).toBe(404)
})

test('after all of that every good message was delivered once, and nothing ever failed inside', async () => {
  await evidence.waitUntilSettled(40_000)
  await evidence.check()
  const failed = product.lines.filter(({ text }) =>
    /request\.failed|uncaught|unhandled/i.test(text),
  )
  expect(failed).toEqual([])
  expect(product.ingresses).toHaveLength(1)
})
