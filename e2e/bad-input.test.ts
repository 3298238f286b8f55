import { hash } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createEvidence, type Evidence, SMS_PATH } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { exchange, exchangeAgain, type RawAnswer } from './support/raw-http.ts'
import { type Changes, createSignedPost, type SignedPost } from './support/signed-post.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

let product: Product
let tenant: Tenant
let line: Line
let evidence: Evidence

beforeAll(async () => {
  product = await startProduct()
  tenant = await createTenant(product)
  line = await tenant.addLine({ path: '/good' })
  evidence = createEvidence(product, tenant)
})

/** Whatever came before, a genuine message is taken at once. */
afterEach(async () => {
  await evidence.send(line)
})

afterAll(async () => {
  await product?.stop()
})

type PostOptions = Parameters<typeof createSignedPost>[3]

function post(options?: PostOptions): SignedPost {
  return createSignedPost(product, tenant, line.phoneNumber, options)
}

async function send(changes: Changes, options?: PostOptions): Promise<RawAnswer | undefined> {
  const bytes = post(options).toBytes(changes)
  const { answers } = await exchangeAgain(product.ingress().url, bytes)
  return answers[0]
}

function expectDetail(answer: RawAnswer | undefined, status: number): void {
  expect(answer).toMatchObject({
    status,
    headers: { 'content-type': expect.stringMatching(/^application\/json/) },
  })
  expect(JSON.parse(answer?.body ?? '')).toEqual({ detail: expect.stringMatching(/./) })
}

const ENCODINGS = ['gzip', 'deflate', 'br', 'zstd', 'bogus', 'gzip, gzip']

test.each(ENCODINGS)('a body that is encoded with %s is 415', async (encoding) => {
  expectDetail(await send({ headers: { 'content-encoding': encoding } }), 415)
})

const OTHER_TYPES = [
  undefined,
  ';;;',
  'text/plain',
  'application/json',
  'multipart/form-data; boundary=x',
  'application/x-www-form-urlencodedx',
]

test.each(OTHER_TYPES)('a body of the type %s is 415', async (type) => {
  expectDetail(await send({ headers: { 'content-type': type } }), 415)
})

const SAME_TYPES = [
  'application/x-www-form-urlencoded',
  'Application/X-WWW-Form-Urlencoded;charset=utf-8',
  'application/x-www-form-urlencoded; charset=bogus',
]

test.each(SAME_TYPES)('a genuine form of the type %s is taken', async (type) => {
  expect(await send({ headers: { 'content-type': type } })).toMatchObject({ status: 200 })
})

test('an empty body is 403: nobody signed it', async () => {
  expectDetail(await send({ body: '' }), 403)
  expectDetail(await send({ body: '', headers: { 'content-length': undefined } }), 403)
})

const SIGNATURES: readonly (readonly [string, string | undefined])[] = [
  ['none', undefined],
  ['an empty one', ''],
  ['one of another message', 'n4HLxXqNmcJ5tPzZtL3ZlYs3gHw='],
  ['one of zeros', 'AAAAAAAAAAAAAAAAAAAAAAAAAAA='],
  ['one that is no base64', '!!!!'],
  ['one of 27 characters', 'A'.repeat(27)],
  ['one in base64url without padding', 'n4HLxXqNmcJ5tPzZtL3ZlYs3gH_'],
  ['one of 10 kB', 'A'.repeat(10_000)],
  ['one in hex', 'a'.repeat(40)],
]

test.each(SIGNATURES)('with %s for a signature it is 403', async (_name, signature) => {
  expectDetail(await send({ headers: { 'x-twilio-signature': signature } }), 403)
})

test('two signatures are 400, even if one of them holds', async () => {
  expectDetail(await send({ lines: ['X-Twilio-Signature: n4HLxXqNmcJ5tPzZtL3ZlYs3gHw='] }), 400)
})

const PUBLIC_HOST = 'hooks.switchhook.example'
const SIGNED_ELSEWHERE = [
  ['http', `http://${PUBLIC_HOST}${SMS_PATH}`],
  ['another host', `https://evil.example${SMS_PATH}`],
  ['another port', `https://${PUBLIC_HOST}:8443${SMS_PATH}`],
  ['another path', `https://${PUBLIC_HOST}/webhooks/sms/twilio`],
  ['a query that is not there', `https://${PUBLIC_HOST}${SMS_PATH}?a=1`],
  ['a slash at the end', `https://${PUBLIC_HOST}${SMS_PATH}/`],
] as const

test.each(SIGNED_ELSEWHERE)('signed for %s it is 403', async (_name, signedUrl) => {
  expectDetail(await send({}, { signedUrl }), 403)
})

test('signed for the same URL with its port it holds', async () => {
  const signedUrl = `https://${PUBLIC_HOST}:443${SMS_PATH}`
  expect(await send({}, { signedUrl })).toMatchObject({ status: 200 })
})

test('a query is part of what is signed', async () => {
  const signedUrl = `https://${PUBLIC_HOST}${SMS_PATH}?b=2&a=1`
  expect(await send({ path: `${SMS_PATH}?b=2&a=1` }, { signedUrl })).toMatchObject({ status: 200 })
  expectDetail(await send({ path: `${SMS_PATH}?a=1&b=2` }, { signedUrl }), 403)
})

test('Host and X-Forwarded headers decide nothing', async () => {
  const lies = {
    host: 'evil.example',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'http',
    'x-http-method-override': 'DELETE',
  }
  expect(await send({ headers: lies })).toMatchObject({ status: 200 })
  const signedUrl = `https://evil.example${SMS_PATH}`
  expectDetail(await send({ headers: lies }, { signedUrl }), 403)
})

test.each([
  ['wrong', 403],
  ['in capitals', 403],
  ['right, but unsigned', 403],
  ['missing', 415],
] as const)('a JSON body with bodySHA256 %s is %i', async (which, status) => {
  const body = '{"AccountSid":"x"}'
  const right = hash('sha256', body, 'hex')
  const stated = {
    wrong: `?bodySHA256=${'0'.repeat(64)}`,
    'in capitals': `?bodySHA256=${right.toUpperCase()}`,
    'right, but unsigned': `?bodySHA256=${right}`,
    missing: '',
  }
  const path = SMS_PATH + stated[which]
  const headers = { 'content-type': 'application/json' }
  expectDetail(await send({ path, body, headers }), status)
})

const FORMS: readonly (readonly [name: string, body: string | Buffer])[] = [
  ['bad percent escapes', 'AccountSid=%zz&Body=%&To=%f'],
  ['bytes that are no UTF-8', Buffer.from('AccountSid=\xff\xfe&Body=\x80', 'latin1')],
  ['escaped bytes that are no UTF-8', 'AccountSid=%ff%fe&Body=%c0%80'],
  ['NULs', 'AccountSid=%00&Body=a%00b&MessageSid=%00'],
  ['names without values', 'AccountSid&Body&&&=&=x'],
  ['the same name a hundred times', Array(100).fill('AccountSid=AC1').join('&')],
  ['a hundred brackets', `a${'[b]'.repeat(100)}=1`],
  ['names of every object', '__proto__=x&constructor=y&toString=z&hasOwnProperty=1'],
  ['JSON', '{"AccountSid":"AC1"}'],
  ['200 kB of brackets', '['.repeat(200_000)],
]

test.each(FORMS)('a form of %s is 403, as nobody signed it', async (_name, body) => {
  expectDetail(await send({ body }), 403)
})

const SIGNED_ODDITIES: readonly (readonly [string, PostOptions])[] = [
  [
    'parameters in another order, some given twice',
    {
      extra: [
        ['b', '2'],
        ['a', '2'],
        ['a', '1'],
        ['a', '2'],
      ],
    },
  ],
  [
    'names of every object',
    {
      extra: [
        ['__proto__', 'x'],
        ['constructor', 'y'],
        ['toString', 'z'],
      ],
    },
  ],
  ['a NUL, half a character and a control', { body: 'a\u0000b\ud800c\u001b[31m' }],
  ['a sender of 300 characters', { from: `+${'1'.repeat(300)}` }],
  ['spaces and plus signs', { body: ' + %2B %20+ ' }],
]

test.each(SIGNED_ODDITIES)('a genuine form with %s is taken', async (_name, options) => {
  expect(await send({}, options)).toMatchObject({ status: 200 })
})

test.each([
  ['an empty id', ''],
  ['digits for an id', '123456'],
  ['colons in its id', 'a:b:c'],
  ['an id of 10 kB', 'S'.repeat(10_000)],
  ['a NUL in its id', 'a\u0000b'],
])('a genuine form with %s is taken and delivered', async (_name, messageSid) => {
  const body = `id ${messageSid.length} ${messageSid.slice(0, 8)}`
  expect(await send({}, { messageSid, body })).toMatchObject({ status: 200 })
  // Without an id it is of no known kind, and its form is passed on as it came.
  const texts = [JSON.stringify(body).slice(1, -1), new URLSearchParams({ Body: body }).toString()]
  await product.receiver.waitFor((one) => texts.some((text) => one.body.includes(text)), {
    timeoutMs: 30_000,
  })
})

test('1,000 parameters are taken, more are 413, and a hundred thousand hold nobody up', async () => {
  const given = post().body.split('&').length
  const fill = (count: number) =>
    Array.from({ length: count }, (_, index): [string, string] => [`p${index}`, '1'])
  expect(await send({}, { extra: fill(1_000 - given) })).toMatchObject({ status: 200 })
  expectDetail(await send({}, { extra: fill(1_001 - given) }), 413)

  const flood = post().toBytes({ body: Array(100_000).fill('a=1').join('&') })
  // The quickest tells what it costs: a machine that stands still makes some of them slow, not all.
  const tookMs: number[] = []
  for (let sent = 0; sent < 10; sent += 1) {
    const exchanged = await exchange(product.ingress().url, flood)
    expectDetail(exchanged.answers[0], 413)
    tookMs.push(exchanged.tookMs)
  }
  expect(Math.min(...tookMs)).toBeLessThan(500)
})

test('eight-bit text in a header is let through, not passed on', async () => {
  expect(await send({ headers: { 'x-latin': 'caf\xe9' } })).toMatchObject({ status: 200 })
})

test('after all of that every good message was delivered once, and nothing ever failed inside', async () => {
  await evidence.waitUntilSettled(40_000)
  await evidence.check()
  expect(product.receiver.received.filter(({ headers }) => 'x-latin' in headers)).toEqual([])
  const failed = product.lines.filter(({ text }) =>
    /request\.failed|uncaught|unhandled/i.test(text),
  )
  expect(failed).toEqual([])
  expect(product.ingresses).toHaveLength(1)
})
