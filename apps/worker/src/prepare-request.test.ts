import { randomBytes } from 'node:crypto'
import { createSigningSecret } from '@switchhook/core/delivery/signature'
import type { Destination } from '@switchhook/core/event'
import { encryptSecret, parseKeyRing } from '@switchhook/core/secrets'
import { sealOf } from '@switchhook/core/store/config-changes'
import { Webhook } from 'standardwebhooks'
import { describe, expect, it } from 'vitest'
import { sampleDestination, sampleEvent } from '../test/sample-delivery.ts'
import {
  createSigningKeys,
  prepareRequest,
  toAttemptRecord,
  UnreadableSecretError,
} from './prepare-request.ts'

const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
const [secret, previous] = [createSigningSecret(), createSigningSecret()]
const seal = (plain: string) => encryptSecret(ring, plain, sealOf('dst_sample', 'secret'))
const sealed = seal(secret)

function prepare(overrides: Partial<Destination> = {}, nowMs = Date.now()) {
  const destination = sampleDestination({ secret: sealed, ...overrides })
  const snapshot = { findPhoneNumber: () => undefined }
  return prepareRequest(sampleEvent(), destination, snapshot, createSigningKeys(ring), nowMs)
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
    }
    const { headers } = prepare({ headers: configured })
    const names = Object.keys(headers).map((name) => name.toLowerCase())
    expect(new Set(names).size).toBe(names.length)
    expect(headers).toMatchObject({
      'x-own': 'a',
      authorization: 'Bearer b',
      'content-type': 'application/json',
      'webhook-id': 'evt_sample',
    })
    expect(Object.values(headers)).not.toContain('forged')
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

  it('cannot be made when its secret cannot be opened, and says nothing of it', () => {
    const elsewhere = encryptSecret(ring, secret, sealOf('dst_other', 'secret'))
    for (const unreadable of [elsewhere, 'k9.AAAA.AAAA', secret, '']) {
      const run = () => prepare({ secret: unreadable })
      expect(run).toThrow(UnreadableSecretError)
      expect(run).toThrow('the signing secret cannot be opened')
    }
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
