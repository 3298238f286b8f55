import { createSecretKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parse, stringify } from 'node:querystring'
import fc from 'fast-check'
import {
  getExpectedBodyHash,
  getExpectedTwilioSignature,
  validateRequest,
  validateRequestWithBody,
} from 'twilio/lib/webhooks/webhooks.js'
import { describe, expect, it } from 'vitest'
import { type Params, parseForm } from './form.ts'
import type { Webhook } from './provider.ts'
import { twilio } from './twilio.ts'

type Vector = {
  id: string
  kind: 'form' | 'body'
  auth_token: string
  url: string
  signature: string
  expect: boolean
  method: string
  params?: Record<string, string | string[]>
  raw_body?: string
  body?: string
}

const fixture = new URL('./fixtures/twilio-vectors.json', import.meta.url)
const { twilio: vectors } = JSON.parse(readFileSync(fixture, 'utf8')) as { twilio: Vector[] }

const FORM = 'application/x-www-form-urlencoded'
const keyOf = (token: string) => createSecretKey(Buffer.from(token))
const URL_SIGNED = 'https://hooks.example.com/twilio-sms-webhook?tenant=a%20b'

function formPost(url: string, body: Buffer, signature: string): Webhook {
  const headers = { 'content-type': FORM, 'x-twilio-signature': signature }
  return { method: 'POST', url, headers, body }
}

function verify(webhook: Webhook, ...tokens: string[]) {
  return twilio.open(webhook).verify({ verifyKeys: tokens.map(keyOf) }, 0)
}

describe('every known answer', () => {
  it.each(vectors)('$id', (vector) => {
    const isFormPost = vector.kind === 'form'
    const text = isFormPost ? (vector.raw_body ?? stringify(vector.params)) : (vector.body ?? '')
    const webhook: Webhook = {
      method: vector.method,
      url: vector.url,
      headers: {
        'content-type': isFormPost ? `${FORM}; charset=UTF-8` : 'application/json',
        'x-twilio-signature': vector.signature,
      },
      body: Buffer.from(text),
    }
    expect(verify(webhook, vector.auth_token).ok).toBe(vector.expect)
  })

  it('is in the fixture, accepted ones and refused ones', () => {
    expect(vectors.filter((vector) => vector.expect).length).toBeGreaterThan(20)
    expect(vectors.filter((vector) => !vector.expect).length).toBeGreaterThan(5)
  })
})

const authority = fc
  .tuple(
    fc.constantFrom('https://', 'http://', 'HTTPS://', 'Http://'),
    fc.constantFrom('', '', 'user@', 'user:pass@', 'us%40er:p:w@', '@'),
    fc.constantFrom(
      'hooks.example.com',
      'HOOKS.Example.com',
      '[2001:db8::1]',
      '192.0.2.7',
      'xn--a',
    ),
    fc.constantFrom('', '', ':443', ':80', ':8443', ':0443', ':'),
  )
  .map((parts) => parts.join(''))

/** What a request target may hold, without the fragment that no client sends. */
const targetText = fc.string({
  unit: fc.constantFrom(...'abB09-._~%!$&\'()*+,;=:@/?[]{}|^`"<> \\é☎', '%20', '%zz', '%3F', '+'),
  maxLength: 24,
})
const url = fc
  .tuple(authority, targetText, fc.option(targetText))
  .map(([start, path, query]) => `${start}/${path}${query === null ? '' : `?${query}`}`)
  .filter((text) => URL.canParse(text))

const text = fc.string({ unit: 'grapheme', maxLength: 12 })
const name = fc.oneof(
  fc.constantFrom('Body', 'A[b]', 'A[]', 'a.b', '__proto__', 'constructor', 'toString', '1', ''),
  text,
)
const fields = fc.array(fc.tuple(name, text), { maxLength: 8 })
const token = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 40 })

const encode = (pairs: readonly (readonly [string, string])[]): Buffer =>
  Buffer.from(
    new URLSearchParams(pairs.map(([key, value]): [string, string] => [key, value])).toString(),
  )

/** The query as Node's `querystring` escapes it: brackets and quotes where URLs have none. */
function legacyQuery(href: string): string {
  const [base = '', ...query] = href.split('?')
  return query.length === 0 ? href : `${base}?${stringify(parse(query.join('?')))}`
}

/** The spellings that Twilio's services are known to have signed. */
function signedUrls(received: string): fc.Arbitrary<string> {
  const normal = new URL(received)
  const ported = new URL(received)
  ported.port = '8443'
  const spellings = [
    received,
    received.replace(/^([^:]+:\/\/[^/]*?):\d*(?=\/)/, '$1'),
    received.replace(/^(https:\/\/[^/]*[^/:\d])(?=\/)/i, '$1:443'),
    normal.href,
    normal.href.replaceAll("'", '%27'),
    ported.href,
    legacyQuery(normal.href),
    legacyQuery(normal.href.replace(normal.host, `${normal.hostname}:443`)),
    `${received}#fragment`,
    received.toLowerCase(),
  ]
  return fc.constantFrom(...spellings)
}

function official(verdict: () => boolean): boolean {
  try {
    return verdict()
  } catch {
    return false
  }
}

describe('our verdict is that of Twilio’s own package', () => {
  it('for any form, URL and spelling of the URL', () => {
    const received = url.chain((one) => fc.tuple(fc.constant(one), signedUrls(one)))
    let accepted = 0
    let refused = 0
    fc.assert(
      fc.property(received, fields, token, fc.boolean(), ([seen, signed], pairs, key, isOurs) => {
        const body = encode(pairs)
        const params = { ...parseForm(body) } as Record<string, unknown>
        Object.setPrototypeOf(params, null)
        const signer = isOurs ? key : `${key}x`
        const signature = getExpectedTwilioSignature(signer, signed, params)
        const ours = verify(formPost(seen, body, signature), key).ok
        expect(ours).toBe(official(() => validateRequest(key, signature, seen, params)))
        if (ours) accepted += 1
        else refused += 1
      }),
      { numRuns: 600 },
    )
    // The property says nothing if one side is never reached.
    expect(accepted).toBeGreaterThan(100)
    expect(refused).toBeGreaterThan(100)
  })

  it('for any other body, with a right, a wrong and no hash in the URL', () => {
    const bytes = fc.uint8Array({ maxLength: 64 }).map((some) => Buffer.from(some))
    const hashes = fc.constantFrom('right', 'upper', 'cut', 'none', 'twice')
    fc.assert(
      fc.property(url, bytes, token, hashes, fc.boolean(), (base, body, key, kind, tampered) => {
        const right = getExpectedBodyHash(body as unknown as string)
        const stated: Record<string, string> = { upper: right.toUpperCase(), cut: right.slice(1) }
        const pair = kind === 'none' ? 'a=b' : `bodySHA256=${stated[kind] ?? right}`
        const joined = `${base}${base.includes('?') ? '&' : '?'}${pair}`
        const seen = kind === 'twice' ? `${joined}&bodySHA256=${'0'.repeat(64)}` : joined
        const signature = getExpectedTwilioSignature(key, seen, {})
        const received = tampered ? Buffer.concat([body, Buffer.from(' ')]) : body
        const headers = { 'content-type': 'application/json', 'x-twilio-signature': signature }
        const webhook = { method: 'POST', url: seen, headers, body: received }
        const theirs = official(() =>
          validateRequestWithBody(key, signature, seen, received as unknown as string),
        )
        expect(verify(webhook, key).ok).toBe(theirs)
      }),
      { numRuns: 200 },
    )
  })
})

describe('a tampered webhook', () => {
  const body = Buffer.from('Body=hi&From=%2B1&To=%2B2&MessageSid=SM1&Repeated=a&Repeated=b')
  const signature = getExpectedTwilioSignature('token', URL_SIGNED, parseForm(body))

  it('is accepted only untouched', () => {
    expect(verify(formPost(URL_SIGNED, body, signature), 'token')).toEqual({ ok: true })
  })

  it('is refused whichever bit of the signature is flipped', () => {
    const bytes = Buffer.from(signature, 'base64')
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const webhook = formPost(URL_SIGNED, body, flipped.toString('base64'))
      expect(verify(webhook, 'token')).toMatchObject({ ok: false, reason: 'wrong_signature' })
    }
  })

  it('is refused whichever bit of the body is flipped', () => {
    for (let bit = 0; bit < body.length * 8; bit += 1) {
      const flipped = Buffer.from(body)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      // Signed are the decoded names and values, joined without a separator: %2b is %2B there.
      const isSameText = joined(flipped) === joined(body)
      expect(verify(formPost(URL_SIGNED, flipped, signature), 'token').ok).toBe(isSameText)
    }
  })

  it('is refused on another URL, and when a parameter was added', () => {
    const elsewhere = formPost(URL_SIGNED.replace('a%20b', 'c'), body, signature)
    expect(verify(elsewhere, 'token').ok).toBe(false)
    const longer = formPost(URL_SIGNED, Buffer.concat([body, Buffer.from('&x=1')]), signature)
    expect(verify(longer, 'token').ok).toBe(false)
  })
})

/** The signed text without the URL. */
function joined(body: Buffer): string {
  const params: Params = parseForm(body)
  const names = Object.keys(params).sort()
  return names.flatMap((key) => [params[key] ?? ''].flat().map((value) => key + value)).join('')
}

describe('the signature header', () => {
  const body = Buffer.from('Body=hi&To=%2B2&MessageSid=SM1')
  const right = getExpectedTwilioSignature('token', URL_SIGNED, parseForm(body))

  it('may hold any bytes without a throw, and only the right one verifies', () => {
    const header = fc.oneof(
      fc.string({ unit: 'binary-ascii', maxLength: 40 }),
      fc.uint8Array({ minLength: 18, maxLength: 22 }).map((b) => Buffer.from(b).toString('base64')),
      fc.uint8Array({ maxLength: 40 }).map((b) => Buffer.from(b).toString('latin1')),
      fc.constantFrom(
        ` ${right}`,
        `${right} `,
        `${right}=`,
        right.slice(0, -1),
        right.toLowerCase(),
      ),
    )
    fc.assert(
      fc.property(header, (value) => {
        expect(verify(formPost(URL_SIGNED, body, value), 'token').ok).toBe(value === right)
      }),
    )
  })

  it('is told apart when it is missing, malformed and wrong', () => {
    const reasonFor = (header: string) => verify(formPost(URL_SIGNED, body, header), 'token')
    expect(reasonFor('')).toMatchObject({ reason: 'missing_signature' })
    expect(reasonFor('WRONG')).toMatchObject({ reason: 'malformed_signature' })
    expect(reasonFor(Buffer.alloc(20).toString('base64'))).toMatchObject({
      reason: 'wrong_signature',
    })
    // The same bytes in base64url, or with bits set beyond the last byte, are not what Twilio sends.
    expect(reasonFor(right.replace('=', ''))).toMatchObject({ reason: 'malformed_signature' })
    const none: Webhook = { method: 'POST', url: URL_SIGNED, headers: {}, body }
    expect(verify(none, 'token')).toMatchObject({ reason: 'missing_signature' })
  })

  it('may be made with the secondary token during a rotation, but not without any', () => {
    const webhook = formPost(URL_SIGNED, body, right)
    expect(verify(webhook, 'primary', 'token').ok).toBe(true)
    expect(verify(webhook, 'token', 'secondary').ok).toBe(true)
    expect(verify(webhook, 'primary', 'secondary').ok).toBe(false)
    expect(verify(webhook).ok).toBe(false)
  })
})

describe('what is signed', () => {
  it('is the URL alone for GET, whose parameters are in it', () => {
    const signature = getExpectedTwilioSignature('token', `${URL_SIGNED}&To=1`, {})
    const headers = { 'content-type': FORM, 'x-twilio-signature': signature }
    const get = { method: 'GET', url: `${URL_SIGNED}&To=1`, headers, body: Buffer.from('To=2') }
    expect(verify(get, 'token').ok).toBe(true)
    expect(twilio.open(get).claimedNumbers).toEqual(['1'])
  })

  it('is refused for another body type when the URL states no hash, even with a right signature', () => {
    const signature = getExpectedTwilioSignature('token', URL_SIGNED, {})
    const headers = { 'content-type': 'application/json', 'x-twilio-signature': signature }
    const webhook = { method: 'POST', url: URL_SIGNED, headers, body: Buffer.from('{}') }
    expect(verify(webhook, 'token')).toMatchObject({ ok: false, reason: 'wrong_signature' })
  })
})
