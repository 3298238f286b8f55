import { createSecretKey } from 'node:crypto'
import { stringify } from 'node:querystring'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { EventContent, OpenedWebhook, Webhook, WebhookProvider } from './provider.ts'
import { MalformedPayloadError } from './provider.ts'
import { WEBHOOK_PROVIDERS } from './registry.ts'
import { parseTelnyxPublicKey } from './telnyx-key.ts'

const FORM = 'application/x-www-form-urlencoded'
const keys = [
  createSecretKey(Buffer.from('token')),
  parseTelnyxPublicKey('ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ='),
].filter((key) => key !== undefined)

/** Every name that a provider's payload is asked for, so that any of them may hold anything. */
const NAMES = [
  ...['AccountSid', 'MessageSid', 'SmsSid', 'MessageStatus', 'From', 'To', 'Body', 'NumMedia'],
  ...['MediaUrl0', 'OptOutType', 'CallSid', 'CallStatus', 'SequenceNumber', 'CallDuration'],
  ...['Timestamp', 'Direction', 'RecordingSid', 'RecordingStatus', 'RecordingUrl'],
  ...['data', 'id', 'event_type', 'payload', 'occurred_at', 'from', 'to', 'cc', 'text', 'media'],
  ...['phone_number', 'status', 'errors', 'autoresponse_type', 'hangup_cause', 'start_time'],
  ...['recording_urls', 'channels', 'direction', 'type', 'timestamp', 'mo', 'link_hit', 'opt_out'],
  ...['source_message', 'last_message', 'sender', 'recipient', 'message', 'hits', 'url', 'source'],
  ...['message_id', 'sms_number', 'service_id', 'webhook_url', 'response_id', 'is_optout'],
  ...['mobile', 'datetime', '__proto__', 'constructor', 'toString', 'length'],
]
const WORDS = [
  ...['message.received', 'message.sent', 'call.initiated', 'call.hangup', 'call.recording.saved'],
  ...['SMS_INBOUND', 'MMS_INBOUND', 'SMS_STATUS', 'LINK_HIT', 'OPT_OUT', 'RCS_STATUS', 'STOP'],
  ...['completed', 'in-progress', 'delivered', 'yes', '+14155551234', '0491570006', 'SM1', '7'],
  ...['2026-11-21T01:00:00Z', '9999-99-99T99:99:99Z', '-271821-04-20T00:00:00Z', '1e400', '\0'],
]

const scalar = fc.oneof(
  fc.constantFrom(...WORDS),
  fc.constantFrom(null, true, 0, -1, 1e308, Number.MAX_SAFE_INTEGER, ''),
  fc.string({ unit: 'binary', maxLength: 20 }),
)
const { json } = fc.letrec((tie) => ({
  json: fc.oneof({ depthSize: 'small' }, scalar, tie('list'), tie('object')),
  list: fc.array(tie('json'), { maxLength: 3 }),
  object: fc.dictionary(fc.constantFrom(...NAMES), tie('json'), { maxKeys: 12 }),
}))

/** The shapes in which the vendors nest theirs, with anything inside. */
const document = fc.oneof(
  json,
  fc.record({
    data: fc.record({
      id: json,
      event_type: fc.constantFrom(...WORDS),
      occurred_at: json,
      payload: fc.dictionary(fc.constantFrom(...NAMES), json, { maxKeys: 14 }),
    }),
  }),
  fc.record({
    event_type: fc.constantFrom(...WORDS),
    timestamp: json,
    mo: fc.record({ id: scalar, recipient: scalar, sender: json, media: json, last_message: json }),
    status: fc.record({ id: scalar, status: json, sender: json, recipient: json }),
    link_hit: fc.record({ hits: json, url: json, source_message: fc.record({ id: scalar }) }),
    opt_out: fc.record({ source: json, source_message: fc.record({ id: scalar, sender: json }) }),
  }),
)
const pairs = fc.array(fc.tuple(fc.constantFrom(...NAMES), scalar), { maxLength: 16 })
/** Some with what a message cannot do without. */
const start = fc.constantFrom('', 'sms_number=0491570006&message_id=m&', 'MessageSid=SM1&To=%2B1&')
const form = fc
  .tuple(start, pairs)
  .map(
    ([first, some]) =>
      first + some.map(([name, value]) => stringify({ [name]: String(value) })).join('&'),
  )
const bytes = fc.uint8Array({ maxLength: 60 }).map((some) => Buffer.from(some))
const body = fc.oneof(
  document.map((value) => Buffer.from(JSON.stringify(value))),
  form.map((text) => Buffer.from(text)),
  bytes,
)
const header = fc.oneof(
  fc.constantFrom('', 'WRONG', FORM, 'application/json', '1795222800', '-1', 'é', '\0'),
  fc.string({ maxLength: 90 }),
  fc.uint8Array({ minLength: 20, maxLength: 64 }).map((b) => Buffer.from(b).toString('base64')),
)

function webhookOf(
  provider: WebhookProvider,
  method: string,
  sent: Buffer,
  value: string,
): Webhook {
  const named = provider.verifyHeaders.map((name) => [name, value] as const)
  const query = method === 'GET' ? sent.toString('latin1') : ''
  return {
    method,
    url: `https://hooks.example.com/${query === '' ? '' : `?${query}`}`,
    headers: { ...Object.fromEntries(named), 'content-type': provider.mediaTypes[0] },
    body: sent,
  }
}

function contentsOf(opened: OpenedWebhook): readonly EventContent[] {
  try {
    return opened.contents()
  } catch (error) {
    expect(error).toBeInstanceOf(MalformedPayloadError)
    return []
  }
}

function expectWellFormed(content: EventContent): void {
  for (const name of [
    ...(['dedupeKey', 'messageId', 'from', 'to', 'body', 'status', 'errorCode'] as const),
    ...(['messageRef', 'campaignId'] as const),
  ]) {
    expect(content[name]).toBeTypeOf('string')
  }
  expect(content.dedupeKey).not.toBe('')
  for (const number of [content.phoneNumber, content.peerNumber, content.callSid]) {
    expect(number === null || (typeof number === 'string' && number !== '')).toBe(true)
  }
  expect(content.mediaUrls.every((url) => typeof url === 'string')).toBe(true)
  expect(content.occurredAt ?? '2026-11-21T01:00:00.000Z').toMatch(/^\d{4}-.*Z$/)
  expect(JSON.parse(JSON.stringify(content.data))).toEqual(content.data)
}

describe.each(WEBHOOK_PROVIDERS.map((provider) => [provider.name, provider] as const))(
  'whatever is sent to %s',
  (_, provider) => {
    it('is taken apart without a throw, verified as nothing, and read or called malformed', () => {
      let read = 0
      fc.assert(
        fc.property(body, fc.constantFrom('POST', 'GET'), header, (sent, method, value) => {
          const opened = provider.open(webhookOf(provider, method, sent, value))
          const { ok } = opened.verify({ verifyKeys: keys }, 1_795_222_800_000)
          const isSigned = provider.name === 'twilio' || provider.name === 'telnyx'
          if (isSigned) expect(ok).toBe(false)
          expect(opened.claimedNumbers.length).toBeLessThanOrEqual(50)
          const contents = contentsOf(opened)
          for (const content of contents) expectWellFormed(content)
          const dedupeKeys = contents.map(({ dedupeKey }) => dedupeKey)
          expect(new Set(dedupeKeys).size).toBe(dedupeKeys.length)
          if (contents.length > 0) {
            read += 1
            expect(provider.read(opened.payload, opened.contentType)).toEqual(contents)
          }
        }),
        { numRuns: 300 },
      )
      expect(read).toBeGreaterThan(5)
      expect(({} as Record<string, unknown>).Body).toBeUndefined()
    })

    it('may be nested a hundred thousand deep', () => {
      const depth = 100_000
      for (const [open, close] of [
        ['[', ']'],
        ['{"data":', '}'],
      ] as const) {
        const bomb = `${open.repeat(depth)}1${close.repeat(depth)}`
        for (const text of [
          bomb,
          `{"data":{"event_type":"message.received","payload":{"to":"+1","media":${bomb}}}}`,
          `{"event_type":"SMS_INBOUND","mo":{"id":"1","recipient":"1","last_message":${bomb}}}`,
        ]) {
          const opened = provider.open(webhookOf(provider, 'POST', Buffer.from(text), 'x'))
          expect(() => JSON.stringify(contentsOf(opened))).not.toThrow()
        }
      }
    })

    it('may be two MiB of one value, or of many', () => {
      const size = 2 * 1024 * 1024
      const started = performance.now()
      for (const text of [
        `To=${'9'.repeat(size)}&MessageSid=SM1&sms_number=1&message_id=1`,
        'a='.padEnd(size, '&b='),
        `{"data":{"event_type":"message.received","payload":{"to":[${'"+1",'.repeat(size / 5)}"+2"]}}}`,
        `{"event_type":"SMS_STATUS","status":{"id":"1","status":"${'-'.repeat(size)}"}}`,
        `{"data":{"event_type":"x","occurred_at":"${'1'.repeat(size)}","payload":{"from":"${' '.repeat(size / 2)}x"}}}`,
      ]) {
        const webhook = webhookOf(provider, 'POST', Buffer.from(text), 'x')
        const opened = provider.open(webhook)
        expect(opened.verify({ verifyKeys: keys }, 0)).toBeDefined()
        contentsOf(opened)
      }
      // Nothing here takes time that grows faster than the body; a regular expression that did would take minutes.
      expect(performance.now() - started).toBeLessThan(15_000)
    }, 60_000)
  },
)
