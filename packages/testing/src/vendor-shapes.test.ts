import { randomBytes } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import {
  checkBurkiMessage,
  checkBurkiVoice,
  checkKudosity,
  checkPbxForm,
  checkSignature,
  checkStandard,
  type Delivered,
} from './vendor-shapes.ts'

const TIMESTAMP = '2026-11-21T01:00:00.123Z'

function json(value: unknown, headers: Record<string, string> = {}): Delivered {
  return {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: Buffer.from(JSON.stringify(value)),
  }
}

const sms = {
  type: 'sms_received',
  timestamp: TIMESTAMP,
  data: {
    ...{ message_id: 'SM1', from: '+17035550630', to: '+14155551234', body: 'Hello' },
    ...{ media_urls: [] as string[], provider: 'twilio' },
  },
}
const AGENT = { 'user-agent': 'Burki-SMS-Webhook/1.0' }

describe('Burki’s message', () => {
  test('has its fields and no other', () => {
    expect(checkBurkiMessage(json(sms, AGENT))).toEqual(sms)
    const { body: _, ...less } = sms.data
    for (const wrong of [
      { ...sms, id: 'evt_1' },
      { ...sms, data: { ...sms.data, extra: 1 } },
      { ...sms, data: less },
      { ...sms, data: { ...sms.data, media_urls: ['no url'] } },
      { ...sms, type: 'mms_received' },
      { ...sms, timestamp: '2026-11-21 01:00' },
    ]) {
      expect(() => checkBurkiMessage(json(wrong, AGENT))).toThrow()
    }
  })

  test('comes from Burki’s agent as a JSON POST', () => {
    expect(() => checkBurkiMessage(json(sms))).toThrow(/user-agent/)
    const charset = { 'content-type': 'application/json; charset=utf-8' }
    expect(() => checkBurkiMessage(json(sms, { ...AGENT, ...charset }))).toThrow(/content-type/)
    expect(() => checkBurkiMessage({ ...json(sms, AGENT), method: 'PUT' })).toThrow(/PUT/)
  })
})

describe('Burki’s voice event', () => {
  const started = {
    ...{ event: 'call_started', call_sid: 'CA1', customer_phone_number: '+17035550630' },
    ...{ assistant_id: 7, timestamp: TIMESTAMP },
  }

  test('is flat, with what its kind needs', () => {
    expect(checkBurkiVoice(json(started))).toEqual(started)
    const ended = { ...started, event: 'call_ended', duration: 5, status: 'completed' }
    expect(checkBurkiVoice(json(ended))).toEqual(ended)
    expect(checkBurkiVoice(json({ ...started, event: 'transcript', text: 'hi' }))).toBeTruthy()
  })

  test('needs the customer’s number at the start, whole seconds at the end', () => {
    const { customer_phone_number: _, ...less } = started
    for (const wrong of [
      less,
      { ...started, event: 'call_ended', duration: '5', status: 'completed' },
      { ...started, event: 'call_ended', duration: 5.5, status: 'completed' },
      { ...started, event: 'sms_received' },
    ]) {
      expect(() => checkBurkiVoice(json(wrong))).toThrow()
    }
  })
})

describe('the PBX’s form', () => {
  const fields = [
    ...[
      ['service_id', 'S'],
      ['from', 'ACME'],
      ['sms_number', '61491570017'],
      ['body', ''],
    ],
    ...[
      ['message_id', 'm1'],
      ['timestamp', '1576391654'],
      ['webhook_url', 'https://a/'],
    ],
    ['webhook_url_fallback', ''],
  ]
  const form = (pairs: readonly string[][]): Delivered => ({
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: Buffer.from(new URLSearchParams(pairs as [string, string][]).toString()),
  })

  test('has eight fields in their order', () => {
    expect(checkPbxForm(form(fields))).toMatchObject({ from: 'ACME', body: '' })
    expect(() => checkPbxForm(form([...fields].reverse()))).toThrow(/fields/)
    expect(() => checkPbxForm(form(fields.slice(1)))).toThrow(/fields/)
    expect(() => checkPbxForm(form([...fields, ['body', 'again']]))).toThrow(/fields/)
  })

  test('counts time in seconds', () => {
    const milliseconds = fields.map(([name = '', value = '']) => [
      name,
      name === 'timestamp' ? `${value}000` : value,
    ])
    expect(() => checkPbxForm(form(milliseconds))).toThrow(/seconds/)
  })
})

describe('Kudosity’s events', () => {
  const numbers = { recipient: '61491570006', sender: '61491570017' }
  const source = { type: 'SMS', id: 'm1', message: 'Hi', message_ref: 'r1', ...numbers }
  const events = [
    { event_type: 'SMS_INBOUND', mo: { type: 'SMS', id: 'm2', message: '', ...numbers } },
    {
      event_type: 'SMS_INBOUND',
      mo: { ...numbers, type: 'SMS', id: 'm2', message: 'YES ', last_message: source },
    },
    {
      event_type: 'MMS_INBOUND',
      mo: {
        ...numbers,
        type: 'MMS',
        id: 'a@b',
        media: [{ name: 'a.png', content: 'iVBORw0KGgo=' }],
      },
    },
    {
      event_type: 'SMS_STATUS',
      status: { ...numbers, type: 'SMS', id: 'm1', message_ref: 'r1', status: 'DELIVERED' },
    },
    {
      event_type: 'MMS_STATUS',
      status: {
        ...numbers,
        type: 'MMS',
        id: 'm1',
        message_ref: '',
        status: 'SENT',
        description: '',
      },
    },
    {
      event_type: 'LINK_HIT',
      link_hit: { hits: 2, url: 'https://e.com/', source_message: source },
    },
    { event_type: 'OPT_OUT', opt_out: { source: 'SMS_INBOUND', source_message: source } },
  ].map((event) => ({ timestamp: '2026-11-21T01:00:00Z', ...event }))

  test.each(events)('of type $event_type hold, and not with a field more', (event) => {
    expect(checkKudosity(json(event))).toEqual(event)
    expect(() => checkKudosity(json({ ...event, provider: 'twilio' }))).toThrow()
    const [name, object] =
      Object.entries(event).find(([, value]) => typeof value === 'object') ?? []
    const more = {
      ...event,
      [String(name)]: { ...(object as unknown as object), provider: 'twilio' },
    }
    expect(() => checkKudosity(json(more))).toThrow()
  })

  test('know no other type and no other status', () => {
    const [, , , status] = events
    expect(() => checkKudosity(json({ ...status, event_type: 'CALL_STARTED' }))).toThrow()
    const wrong = JSON.parse(JSON.stringify(status).replace('DELIVERED', 'delivered'))
    expect(() => checkKudosity(json(wrong))).toThrow()
  })
})

test('a Standard Webhook is {type, timestamp, data}', () => {
  const event = { type: 'sms_received', timestamp: TIMESTAMP, data: { any: ['thing'] } }
  expect(checkStandard(json(event))).toEqual(event)
  expect(() => checkStandard(json({ ...event, id: 1 }))).toThrow()
  expect(() => checkStandard(json({ ...event, data: [] }))).toThrow()
})

test('a signature holds for its secret and its bytes, JSON or not', () => {
  const secret = `whsec_${randomBytes(32).toString('base64')}`
  const body = 'a=1&b=2'
  const now = new Date()
  const headers = {
    'webhook-id': 'evt_1',
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign('evt_1', now, body),
  }
  const delivered = { method: 'POST', headers, body: Buffer.from(body) }
  checkSignature(delivered, secret)
  const changed = { ...delivered, body: Buffer.from(`${body}0`) }
  expect(() => checkSignature(changed, secret)).toThrow()
  const other = `whsec_${randomBytes(32).toString('base64')}`
  expect(() => checkSignature(delivered, other)).toThrow()
})
