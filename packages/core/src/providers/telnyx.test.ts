import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import Telnyx from 'telnyx'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Webhook } from './provider.ts'
import { telnyx } from './telnyx.ts'
import { parseTelnyxPublicKey } from './telnyx-key.ts'

type Vector = {
  id: string
  now: number
  headers: Record<string, string>
  body: string
  public_key: string
  expect: boolean
}

const fixture = new URL('./fixtures/telnyx-vectors.json', import.meta.url)
const {
  telnyx: vectors,
  seed_hex,
  public_key: PUBLIC_KEY,
} = JSON.parse(readFileSync(fixture, 'utf8')) as {
  telnyx: Vector[]
  seed_hex: string
  public_key: string
}

const NOW_SECONDS = 1_795_222_800
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const privateKey = createPrivateKey({
  key: Buffer.concat([PKCS8_PREFIX, Buffer.from(seed_hex, 'hex')]),
  format: 'der',
  type: 'pkcs8',
})
const { webhooks: official } = new Telnyx({ apiKey: 'unused' })

function keysOf(publicKey: string) {
  const key = parseTelnyxPublicKey(publicKey)
  return key === undefined ? [] : [key]
}

function post(body: Buffer | string, headers: Webhook['headers']): Webhook {
  return {
    method: 'POST',
    url: 'https://hooks.example.com/telnyx-webhook',
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(body),
  }
}

function signedHeaders(body: Buffer | string, timestamp: string, separator = '|') {
  const signed = Buffer.concat([Buffer.from(timestamp + separator), Buffer.from(body)])
  return {
    'telnyx-signature-ed25519': sign(null, signed, privateKey).toString('base64'),
    'telnyx-timestamp': timestamp,
  }
}

function verify(webhook: Webhook, nowSeconds = NOW_SECONDS, publicKey = PUBLIC_KEY) {
  return telnyx.open(webhook).verify({ verifyKeys: keysOf(publicKey) }, nowSeconds * 1000)
}

/** The verdict of Telnyx's own package, whose clock is the system's. */
async function officialVerdict(body: string, headers: Webhook['headers'], key = PUBLIC_KEY) {
  const plain = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, String(value)]),
  )
  try {
    await official.unwrap(body, { headers: plain, key })
    return true
  } catch (error) {
    // It parses what it has verified.
    return error instanceof SyntaxError
  }
}

beforeEach(() => {
  vi.useFakeTimers({ now: NOW_SECONDS * 1000, toFake: ['Date'] })
})
afterEach(() => {
  vi.useRealTimers()
})

describe('every known answer', () => {
  it.each(vectors)('$id', async ({ now, headers, body, public_key, expect: expected }) => {
    vi.setSystemTime(now * 1000)
    expect(verify(post(body, headers), now, public_key).ok).toBe(expected)
    expect(await officialVerdict(body, headers, public_key)).toBe(expected)
  })

  it('is in the fixture, accepted ones and refused ones', () => {
    expect(vectors.filter((vector) => vector.expect).length).toBeGreaterThan(5)
    expect(vectors.filter((vector) => !vector.expect).length).toBeGreaterThan(5)
  })
})

describe('our verdict is that of Telnyx’s own package', () => {
  const timestamps = fc.oneof(
    fc.integer({ min: -310, max: 310 }).map((offset) => String(NOW_SECONDS + offset)),
    fc.constantFrom(
      `${NOW_SECONDS}000`,
      `0${NOW_SECONDS}`,
      ` ${NOW_SECONDS}`,
      `${NOW_SECONDS}.0`,
      `+${NOW_SECONDS}`,
      `${NOW_SECONDS}abc`,
      '9'.repeat(400),
      '1e9',
      '',
    ),
  )
  const respell = fc.constantFrom(
    (text: string) => text,
    (text: string) => text,
    (text: string) => text.replaceAll('+', '-').replaceAll('/', '_'),
    (text: string) => text.replaceAll('=', ''),
    (text: string) => `${text} `,
    (text: string) => `${text}, ${text}`,
    (text: string) => text.slice(4),
    () => 'WRONG',
  )

  it('for any body, time, separator and spelling of the signature', async () => {
    const bodies = fc.oneof(fc.json(), fc.string({ unit: 'grapheme', maxLength: 40 }))
    const separators = fc.constantFrom('|', '|', '|', '', '.')
    let accepted = 0
    let refused = 0
    await fc.assert(
      fc.asyncProperty(bodies, timestamps, respell, separators, async (body, at, spell, by) => {
        const made = signedHeaders(body, at, by)
        const signature = spell(made['telnyx-signature-ed25519'])
        const headers = { ...made, 'telnyx-signature-ed25519': signature }
        const ours = verify(post(body, headers)).ok
        expect(ours).toBe(await officialVerdict(body, headers))
        if (ours) accepted += 1
        else refused += 1
      }),
      { numRuns: 400 },
    )
    expect(accepted).toBeGreaterThan(5)
    expect(refused).toBeGreaterThan(100)
  })

  it('for a key of somebody else', async () => {
    const other = generateKeyPairSync('ed25519').publicKey.export({ format: 'der', type: 'spki' })
    const key = other.subarray(-32).toString('base64')
    const headers = signedHeaders('{}', String(NOW_SECONDS))
    expect(verify(post('{}', headers), NOW_SECONDS, key).ok).toBe(false)
    expect(await officialVerdict('{}', headers, key)).toBe(false)
  })
})

describe('a tampered webhook', () => {
  const body = Buffer.from('{"data":{"event_type":"message.received"}}')
  const headers = signedHeaders(body, String(NOW_SECONDS))

  it('is refused whichever bit of the body or the signature is flipped', () => {
    expect(verify(post(body, headers))).toEqual({ ok: true })
    const signature = Buffer.from(headers['telnyx-signature-ed25519'], 'base64')
    const flip = (bytes: Buffer, bit: number) => {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      return flipped
    }
    for (let bit = 0; bit < body.length * 8; bit += 1) {
      expect(verify(post(flip(body, bit), headers)).ok).toBe(false)
    }
    for (let bit = 0; bit < signature.length * 8; bit += 1) {
      const forged = flip(signature, bit).toString('base64')
      expect(verify(post(body, { ...headers, 'telnyx-signature-ed25519': forged })).ok).toBe(false)
    }
  })

  it('with bytes that are no text is verified as bytes', () => {
    const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x80])
    const own = signedHeaders(bytes, String(NOW_SECONDS))
    expect(verify(post(bytes, own)).ok).toBe(true)
    expect(verify(post(bytes.toString('utf8'), own)).ok).toBe(false)
  })
})

describe('a refusal says what to do', () => {
  const body = '{"data":{}}'
  const headers = signedHeaders(body, String(NOW_SECONDS))

  it('when the headers are missing or malformed', () => {
    expect(verify(post(body, {}))).toEqual({
      ok: false,
      reason: 'missing_signature',
      detail: 'The telnyx-signature-ed25519 header is missing: this did not come from Telnyx.',
    })
    const { 'telnyx-timestamp': _, ...untimed } = headers
    expect(verify(post(body, untimed))).toMatchObject({
      reason: 'missing_signature',
      detail: 'The telnyx-timestamp header is missing: this did not come from Telnyx.',
    })
    const iso = { ...headers, 'telnyx-timestamp': '2026-11-21T00:00:00Z' }
    expect(verify(post(body, iso))).toMatchObject({ reason: 'malformed_signature' })
    const twice = { ...headers, 'telnyx-timestamp': ['1', '2'] as unknown as string }
    expect(verify(post(body, twice))).toMatchObject({ reason: 'malformed_signature' })
    const list = { ...headers, 'telnyx-signature-ed25519': ['a'] as unknown as string }
    expect(verify(post(body, list))).toMatchObject({ reason: 'malformed_signature' })
  })

  it('when Telnyx signed it, but too long ago or in the future, and whose clock is wrong', () => {
    expect(verify(post(body, headers), NOW_SECONDS + 300)).toEqual({ ok: true })
    expect(verify(post(body, headers), NOW_SECONDS - 300)).toEqual({ ok: true })
    expect(verify(post(body, headers), NOW_SECONDS + 301)).toEqual({
      ok: false,
      reason: 'stale_timestamp',
      detail:
        'Signed by Telnyx, but 301 s ago, and more than 300 s is refused: the clock of this server is ahead, or somebody sent an old webhook again.',
    })
    expect(verify(post(body, headers), NOW_SECONDS - 301)).toMatchObject({
      reason: 'stale_timestamp',
      detail: expect.stringContaining('the clock of this server is behind'),
    })
  })

  it('when the key is another, whatever the time', () => {
    const late = verify(post('{}', headers), NOW_SECONDS + 9_999)
    expect(late).toMatchObject({
      reason: 'wrong_signature',
      detail: expect.stringContaining('public_key'),
    })
    const none = telnyx.open(post(body, headers)).verify({ verifyKeys: [] }, NOW_SECONDS * 1000)
    expect(none).toMatchObject({ reason: 'wrong_signature' })
  })

  it('and a key of another kind is only a key that does not fit', () => {
    const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const opened = telnyx.open(post(body, headers))
    expect(opened.verify({ verifyKeys: [publicKey] }, NOW_SECONDS * 1000).ok).toBe(false)
    const keys = [publicKey, ...keysOf(PUBLIC_KEY)]
    expect(opened.verify({ verifyKeys: keys }, NOW_SECONDS * 1000).ok).toBe(true)
  })
})
