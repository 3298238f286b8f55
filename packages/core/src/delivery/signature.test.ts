import { createSecretKey } from 'node:crypto'
import fc from 'fast-check'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import { createSigningSecret, signatureHeaders, signingKey } from './signature.ts'

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
  })
})
