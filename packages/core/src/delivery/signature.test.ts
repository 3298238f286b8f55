import { createPublicKey, createSecretKey, type KeyObject, verify } from 'node:crypto'
import fc from 'fast-check'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import vectors from './fixtures/standard-webhooks-v1a.json' with { type: 'json' }
import {
  createSigningPair,
  createSigningSecret,
  signatureHeaders,
  signingKey,
} from './signature.ts'

describe('our signature', () => {
  it('is the known answer of the Standard Webhooks libraries', () => {
    // standard-webhooks, libraries/javascript/src/webhook.test.ts
    const key = signingKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
    const body = Buffer.from('{"test": 2432232314}')
    const id = 'msg_p5jXN8AQM9LWM0D4loKWxJek'
    expect(signatureHeaders([key], id, 1_614_265_330_999, body)).toEqual({
      'webhook-id': id,
      'webhook-timestamp': '1614265330',
      'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    })
  })

  it('verifies with the standardwebhooks package for any text, and not for another', () => {
    const secret = createSigningSecret()
    const webhook = new Webhook(secret)
    const body = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => ({ text }))
    fc.assert(
      fc.property(body, fc.uuid(), (value, id) => {
        const sent = JSON.stringify(value)
        const headers = signatureHeaders([signingKey(secret)], id, Date.now(), Buffer.from(sent))
        expect(webhook.verify(sent, headers)).toEqual(value)
        expect(() => webhook.verify(`${sent} `, headers)).toThrow()
        expect(() => webhook.verify(sent, { ...headers, 'webhook-id': `${id}x` })).toThrow()
      }),
    )
  })

  it('signs bytes that are no text as they are', () => {
    const key = createSecretKey(Buffer.alloc(32, 1))
    const sign = (bytes: number[]) => signatureHeaders([key], 'evt_1', 0, Buffer.from(bytes))
    // Both would be U+FFFD as text.
    expect(sign([0xff])['webhook-signature']).not.toBe(sign([0xfe])['webhook-signature'])
  })

  it('holds with the new and with the old secret during a rotation', () => {
    const secrets = [createSigningSecret(), createSigningSecret()]
    const keys = secrets.map(signingKey)
    const headers = signatureHeaders(keys, 'evt_1', Date.now(), Buffer.from('{}'))
    for (const secret of secrets) expect(new Webhook(secret).verify('{}', headers)).toEqual({})
    expect(() => new Webhook(createSigningSecret()).verify('{}', headers)).toThrow()
  })
})

type SignedHeaders = ReturnType<typeof signatureHeaders>

function openPublicKey(text: string): KeyObject {
  const x = Buffer.from(text.replace(/^whpk_/, ''), 'base64').toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

/** As a receiver does it that knows the public key: any v1a signature of the list will do. */
function holds(headers: SignedHeaders, body: string, publicKey: string): boolean {
  const message = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
  return headers['webhook-signature'].split(' ').some((one) => {
    const [scheme, signature = ''] = one.split(',')
    const bytes = Buffer.from(signature, 'base64')
    return scheme === 'v1a' && verify(null, Buffer.from(message), openPublicKey(publicKey), bytes)
  })
}

describe('our ed25519 signature', () => {
  it.each(vectors.vectors)('of $id is as published', ({ headers, body, expect: expected }) => {
    expect(holds(headers, body, vectors.public_key)).toBe(expected)
    const id = headers['webhook-id']
    const atMs = Number(headers['webhook-timestamp']) * 1000
    const ours = signatureHeaders([signingKey(vectors.private_key)], id, atMs, Buffer.from(body))
    const published = headers['webhook-signature'].split(' ')
    expect(published.includes(ours['webhook-signature'])).toBe(expected)
  })

  it('is the same from the seed alone', () => {
    const seed = Buffer.from(vectors.seed_hex, 'hex').toString('base64')
    const sign = (secret: string) =>
      signatureHeaders([signingKey(secret)], 'evt_1', 0, Buffer.from('{}'))
    expect(sign(`whsk_${seed}`)).toEqual(sign(vectors.private_key))
  })

  it('holds for any body with the public key of its pair, and not for another body, id or pair', () => {
    const { privateKey, publicKey } = createSigningPair()
    expect(privateKey).toMatch(/^whsk_[A-Za-z0-9+/]{86}==$/)
    expect(publicKey).toMatch(/^whpk_[A-Za-z0-9+/]{43}=$/)
    const other = createSigningPair().publicKey
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.uuid(), (body, id) => {
        const headers = signatureHeaders([signingKey(privateKey)], id, 1, Buffer.from(body))
        expect(holds(headers, body, publicKey)).toBe(true)
        expect(holds(headers, `${body} `, publicKey)).toBe(false)
        expect(holds({ ...headers, 'webhook-id': `${id}x` }, body, publicKey)).toBe(false)
        expect(holds(headers, body, other)).toBe(false)
      }),
      { numRuns: 20 },
    )
  })

  it('stands beside that of the shared secret, which libraries still find', () => {
    const [secret, pair] = [createSigningSecret(), createSigningPair()]
    const keys = [signingKey(secret), signingKey(pair.privateKey)]
    const headers = signatureHeaders(keys, 'evt_1', Date.now(), Buffer.from('{}'))
    expect(headers['webhook-signature']).toMatch(/^v1,\S+ v1a,\S+$/)
    expect(new Webhook(secret).verify('{}', headers)).toEqual({})
    expect(holds(headers, '{}', pair.publicKey)).toBe(true)
  })
})

describe('a signing secret', () => {
  it('is whsec_ and 32 random bytes', () => {
    const secret = createSigningSecret()
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
    expect(createSigningSecret()).not.toBe(secret)
    expect(signingKey(secret).symmetricKeySize).toBe(32)
  })

  it('is refused without its prefix, and not repeated in the error', () => {
    const refuse = () => signingKey('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
    expect(refuse).toThrow('whsec_')
    expect(refuse).not.toThrow('MfKQ9r8G')
    expect(() => signingKey('whsk_AAAA')).toThrow('whsk_')
  })
})
