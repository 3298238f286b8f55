import { createPublicKey, randomBytes, verify } from 'node:crypto'
import { createSigningPair, createSigningSecret } from '@switchhook/core/delivery/signature'
import type { Destination } from '@switchhook/core/event'
import { encryptSecret, parseKeyRing, UnreadableSecretError } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import { sealHeaders } from '@switchhook/core/store/destination-headers'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import { sampleDestination, sampleEvent } from '../test/sample-delivery.ts'
import { createSecretOpener, prepareRequest, toAttemptRecord } from './prepare-request.ts'

const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
const [secret, previous] = [createSigningSecret(), createSigningSecret()]
const seal = (plain: string) => encryptSecret(ring, plain, sealOf('dst_sample', 'secret'))
const sealed = seal(secret)

function prepare(overrides: Partial<Destination> = {}, nowMs = Date.now()) {
  const destination = sampleDestination({ secret: sealed, ...overrides })
  const snapshot = { findPhoneNumber: () => undefined }
  return prepareRequest(sampleEvent(), destination, snapshot, createSecretOpener(ring), nowMs)
}

describe('the request of an attempt', () => {
  it('verifies with the destination’s secret, over exactly the bytes that are sent', () => {
    const { headers, body } = prepare()
    expect(new Webhook(secret).verify(body.toString('utf8'), headers)).toMatchObject({
      type: 'sms_received',
    })
    expect(() => new Webhook(previous).verify(body.toString('utf8'), headers)).toThrow()
  })

  it('has the event’s id and the attempt’s time, and nothing of the provider', () => {
    const { headers, contentType, url } = prepare({}, 1_795_222_999_999)
    expect(headers).toEqual({
      'content-type': 'application/json',
      'user-agent': 'Burki-SMS-Webhook/1.0',
      'webhook-id': 'evt_sample',
      'webhook-timestamp': '1795222999',
      'webhook-signature': expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/),
    })
    expect(contentType).toBe('application/json')
    expect(url).toBe('https://customer.example/sms')
  })

  it('has the destination’s own headers, which replace none of ours, however spelled', () => {
    const configured = {
      'X-Own': 'a',
      Authorization: 'Bearer b',
      'Webhook-Signature': 'forged',
      'CONTENT-TYPE': 'text/html',
      'Webhook-Id': 'x',
      Host: 'other.example',
      Cookie: 'a=b',
      'X-Forwarded-For': '10.0.0.1',
      'Transfer-Encoding': 'chunked',
      'Proxy-Authorization': 'Basic x',
    }
    const sealedHeaders = sealHeaders(ring, 'dst_sample', configured)
    const { headers } = prepare({ sealedHeaders })
    // From before they were sealed: the same.
    expect(prepare({ headers: configured }, 0).headers['x-own']).toBe('a')
    const names = Object.keys(headers).map((name) => name.toLowerCase())
    expect(new Set(names).size).toBe(names.length)
    expect(headers).toMatchObject({
      'x-own': 'a',
      authorization: 'Bearer b',
      'content-type': 'application/json',
      'webhook-id': 'evt_sample',
    })
    expect(Object.values(headers)).not.toContain('forged')
    const allowed = ['authorization', 'content-type', 'user-agent', 'x-own']
    expect(names.filter((name) => !name.startsWith('webhook-')).sort()).toEqual(allowed)
  })

  it('holds with both secrets during a rotation, and with the new one alone after it', () => {
    const nowMs = Date.now()
    const rotated = (expiresAtMs: number | null) =>
      prepare({ previousSecret: seal(previous), previousSecretExpiresAtMs: expiresAtMs }, nowMs)
    const during = rotated(nowMs + 1)
    for (const one of [secret, previous]) {
      expect(new Webhook(one).verify(during.body.toString('utf8'), during.headers)).toBeTruthy()
    }
    for (const after of [rotated(nowMs), rotated(null)]) {
      expect(after.headers['webhook-signature']).not.toContain(' ')
    }
  })

  it('is signed by its ed25519 pair as well, and by the pair before during a rotation', () => {
    const nowMs = Date.now()
    const [pair, before] = [createSigningPair(), createSigningPair()]
    const sealPair = ({ privateKey }: typeof pair) =>
      encryptSecret(ring, privateKey, sealOf('dst_sample', 'ed25519_key'))
    const { headers, body } = prepare(
      {
        ed25519Key: sealPair(pair),
        previousEd25519Key: sealPair(before),
        previousEd25519KeyExpiresAtMs: nowMs + 1,
      },
      nowMs,
    )
    const signatures = String(headers['webhook-signature']).split(' ')
    expect(signatures.map((one) => one.slice(0, one.indexOf(',')))).toEqual(['v1', 'v1a', 'v1a'])
    const head = `${headers['webhook-id']}.${headers['webhook-timestamp']}.`
    const message = Buffer.concat([Buffer.from(head), body])
    for (const [index, { publicKey }] of [pair, before].entries()) {
      const x = Buffer.from(publicKey.slice('whpk_'.length), 'base64').toString('base64url')
      const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
      const signature = Buffer.from(signatures[index + 1]?.slice('v1a,'.length) ?? '', 'base64')
      expect(verify(null, message, key, signature)).toBe(true)
    }
    // A library that knows the shared secret alone still finds its own.
    expect(new Webhook(secret).verify(body.toString('utf8'), headers)).toBeTruthy()
  })

  it('cannot be made when its secret cannot be opened, and says nothing of it', () => {
    const elsewhere = encryptSecret(ring, secret, sealOf('dst_other', 'secret'))
    for (const unreadable of [elsewhere, 'k9.AAAA.AAAA', secret, '']) {
      const run = () => prepare({ secret: unreadable })
      expect(run).toThrow(UnreadableSecretError)
      expect(run).toThrow('the signing secret cannot be opened')
    }
    const foreign = sealHeaders(ring, 'dst_other', { authorization: 'Bearer b' })
    expect(() => prepare({ sealedHeaders: foreign })).toThrow(UnreadableSecretError)
    expect(() => prepare({ sealedHeaders: foreign })).not.toThrow('Bearer')
  })
})

describe('the log row of an attempt', () => {
  const result = { outcome: 'delivered', statusCode: 200, error: null, retryAfterMs: null } as const
  const facts = { ...result, responseBody: 'ok', responseTimeMs: 1 }
  const rowOf = (bytes: number, type = 'mms_received') =>
    toAttemptRecord(1, 2, type, { url: 'u', contentType: 'c', body: Buffer.alloc(bytes) }, facts)

  it('keeps what was sent up to 64 KB', () => {
    expect(rowOf(65_536).requestBodyBase64).toBe(Buffer.alloc(65_536).toString('base64'))
    expect(rowOf(65_537).requestBodyBase64).toBeNull()
  })

  it('calls a message by Burki’s one name for it', () => {
    expect(rowOf(0).webhookType).toBe('sms_received')
    expect(rowOf(0, 'call_ended').webhookType).toBe('call_ended')
  })
})
