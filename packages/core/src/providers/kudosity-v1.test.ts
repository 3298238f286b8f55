import { createHmac, createSecretKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { stringify } from 'node:querystring'
import { describe, expect, it } from 'vitest'
import { kudosity } from './kudosity.ts'
import type { EventContent, Webhook } from './provider.ts'
import { MalformedPayloadError } from './provider.ts'

type Vector = {
  id: string
  secret: string
  url: string
  canonical_json: string
  signature: string
  expect: boolean
}

const fixture = new URL('./fixtures/kudosity-v1-vectors.json', import.meta.url)
const { kudosity_v1: vectors } = JSON.parse(readFileSync(fixture, 'utf8')) as {
  kudosity_v1: Vector[]
}

const SECRET = 'test_api_secret_0123456789'
const BASE = 'https://hooks.example.com/webhooks/kudosity-v1/token'

function get(query: string, signature?: string): Webhook {
  const headers = signature === undefined ? {} : { 'x-transmitsms-signature': signature }
  return { method: 'GET', url: `${BASE}?${query}`, headers, body: Buffer.alloc(0) }
}

function verify(webhook: Webhook, ...secrets: string[]) {
  const verifyKeys = secrets.map((secret) => createSecretKey(Buffer.from(secret)))
  return kudosity.open(webhook).verify({ verifyKeys }, 0)
}

const sign = (json: string): string => createHmac('sha256', SECRET).update(json).digest('hex')

function readAll(fields: Record<string, string>): readonly EventContent[] {
  return kudosity.read(Buffer.from(stringify(fields)), 'application/x-www-form-urlencoded')
}

describe('every known answer', () => {
  it.each(vectors)('$id', ({ secret, url, signature, canonical_json, expect: expected }) => {
    expect(createHmac('sha256', secret).update(canonical_json).digest('hex')).toBe(signature)
    const headers = { 'x-transmitsms-signature': signature }
    const webhook = { method: 'GET', url, headers, body: Buffer.alloc(0) }
    expect(verify(webhook, secret).ok).toBe(expected)
    expect(verify(webhook, `${secret}x`).ok).toBe(false)
    expect(verify({ ...webhook, url: `${url}&x=1` }, secret).ok).toBe(false)
  })
})

describe('what PHP makes of a query', () => {
  it.each([
    ['a.b=1&c%20d=2&+e=3', '{"a_b":"1","c_d":"2","e":"3"}'],
    ['a=1&b=2&a=3', '{"a":"3","b":"2"}'],
    ['a&b=&=c&&d=e=f', '{"a":"","b":"","d":"e=f"}'],
    ['a=%zz+%4&b=100%25', '{"a":"%zz %4","b":"100%"}'],
    ['a=%2F%22%5C%0A%1F%7F', '{"a":"\\/\\"\\\\\\n\\u001f\u007f"}'],
    ['a=%E2%80%A8%F0%9F%91%8B%C3%A9', '{"a":"\\u2028\\ud83d\\udc4b\\u00e9"}'],
    ['__proto__=a&constructor=b', '{"__proto__":"a","constructor":"b"}'],
    ['', '[]'],
  ])('%s is %s', (query, json) => {
    expect(verify(get(query, sign(json)), SECRET)).toEqual({ ok: true })
  })

  it('is nothing that we can verify for a nested array', () => {
    expect(verify(get('a[]=1', sign('{"a":["1"]}')), SECRET)).toMatchObject({
      reason: 'wrong_signature',
    })
  })
})

describe('the signature', () => {
  const query = 'message_id=1&status=delivered'
  const right = sign('{"message_id":"1","status":"delivered"}')

  it('is asked for only when the account has a secret', () => {
    expect(verify(get(query))).toEqual({ ok: true })
    expect(verify(get(query), SECRET)).toMatchObject({ reason: 'missing_signature' })
    expect(verify(get(query, right), SECRET)).toEqual({ ok: true })
    expect(verify(get(query, right), 'old', SECRET)).toEqual({ ok: true })
  })

  it('is malformed when it is no lower-case hex of 32 bytes', () => {
    for (const wrong of [right.toUpperCase(), right.slice(1), `${right} `, 'WRONG']) {
      expect(verify(get(query, wrong), SECRET)).toMatchObject({ reason: 'malformed_signature' })
    }
  })

  it('is wrong when the parameters stand in another order', () => {
    const sorted = get('status=delivered&message_id=1', right)
    expect(verify(sorted, SECRET)).toMatchObject({
      reason: 'wrong_signature',
      detail: expect.stringContaining('sorts, adds or removes query parameters'),
    })
  })
})

describe('a delivery report', () => {
  const report = {
    message_id: '331694668',
    mobile: '61400000001',
    datetime: '2020-05-16 12:10:00',
    status: 'delivered',
    user_id: '123456',
  }

  it('is a status of one receiver’s message, at a time in UTC', () => {
    expect(readAll(report)).toMatchObject([
      {
        type: 'sms_status',
        dedupeKey: 'status.331694668.61400000001.delivered',
        messageId: '331694668',
        to: '61400000001',
        phoneNumber: null,
        peerNumber: '+61400000001',
        status: 'delivered',
        messageStatus: 'DELIVERED',
        order: { subject: 'message.331694668.61400000001', rank: 5 },
        occurredAt: '2020-05-16T12:10:00.000Z',
      },
    ])
  })

  it.each([
    ['pending', 'SENT', 1],
    ['soft-bounce', 'SOFT_BOUNCE', 4],
    ['hard-bounce', 'HARD_BOUNCE', 5],
  ])('%s is %s', (word, messageStatus, rank) => {
    expect(readAll({ ...report, status: word })).toMatchObject([{ messageStatus, order: { rank } }])
  })
})

describe('a reply', () => {
  const reply = {
    user_id: '54911',
    message_id: '331695745',
    response: 'see https://x.y/z "ok" Olá 👋',
    response_id: '35566670',
    mobile: '61400000001',
    longcode: '61429997672',
    datetime_entry: '2020-05-16 12:10:00',
    is_optout: 'no',
  }

  it('is a message to the long code, with the message that it answers', () => {
    expect(readAll(reply)).toMatchObject([
      {
        type: 'sms_received',
        dedupeKey: 'reply.35566670',
        messageId: '35566670',
        from: '61400000001',
        to: '61429997672',
        body: 'see https://x.y/z "ok" Olá 👋',
        phoneNumber: '+61429997672',
        occurredAt: '2020-05-16T12:10:00.000Z',
        data: { last_message: { id: '331695745' } },
      },
    ])
  })

  it('that opts out is an opt-out besides', () => {
    expect(readAll({ ...reply, response: 'STOP', is_optout: 'yes' })).toMatchObject([
      { type: 'sms_received', dedupeKey: 'reply.35566670' },
      { type: 'opt_out', dedupeKey: 'opt_out.35566670', data: { source: 'SMS_INBOUND' } },
    ])
  })
})

describe('any other callback', () => {
  it('of a hit link is one', () => {
    const hit = { message_id: '1', mobile: '61400000001', url: 'https://e.example/', hits: '2' }
    expect(readAll(hit)).toMatchObject([
      { type: 'link_hit', messageId: '1', data: { url: 'https://e.example/', hits: 2 } },
    ])
  })

  it('is kept: a contact that was added to a list', () => {
    expect(readAll({ list_id: '7', mobile: '61400000001', status: 'added' })).toMatchObject([
      { type: 'unknown', peerNumber: '+61400000001' },
    ])
  })

  it('without any parameter is malformed', () => {
    expect(() => kudosity.open(get('')).contents()).toThrow(MalformedPayloadError)
  })
})

describe('what is kept', () => {
  it('is the query, byte for byte, as a form', () => {
    const opened = kudosity.open(get('response_id=1&response=a%2fb+c&longcode=61429997672'))
    expect(opened.payload.toString()).toBe('response_id=1&response=a%2fb+c&longcode=61429997672')
    expect(opened.contentType).toBe('application/x-www-form-urlencoded')
    expect(opened.claimedNumbers).toEqual(['+61429997672'])
    expect(kudosity.read(opened.payload, opened.contentType)).toEqual(opened.contents())
  })
})
