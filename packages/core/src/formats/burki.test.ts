import { describe, expect, it } from 'vitest'
import { sampleInput } from '../../test/golden/sample-input.ts'
import { burki } from './burki.ts'
import type { RenderInput } from './format.ts'

function render(input: RenderInput) {
  const request = burki(input)
  return { ...request, body: request.body.toString('utf8') }
}

const sms = { messageId: 'SM99649d01253fc588396cd1eec8377273', body: "It's working!!!" }

describe('a message', () => {
  it('is {type, timestamp, data}, byte for byte as Burki documents it', () => {
    expect(render(sampleInput(sms))).toEqual({
      contentType: 'application/json',
      userAgent: 'Burki-SMS-Webhook/1.0',
      body: '{"type":"sms_received","timestamp":"2026-11-21T01:02:03.456Z","data":{"message_id":"SM99649d01253fc588396cd1eec8377273","from":"+17035550630","to":"+14155551234","body":"It\'s working!!!","media_urls":[],"provider":"twilio"}}',
    })
  })

  it('with media is an sms_received too, with the media’s URLs', () => {
    const mediaUrls = ['https://m.example/0']
    expect(render(sampleInput({ type: 'mms_received', body: '', mediaUrls })).body).toBe(
      '{"type":"sms_received","timestamp":"2026-11-21T01:02:03.456Z","data":{"message_id":"SM1","from":"+17035550630","to":"+14155551234","body":"","media_urls":["https://m.example/0"],"provider":"twilio"}}',
    )
  })

  it('whose media came without URLs keeps them beside the documented fields', () => {
    const media = [{ name: 'cute.png', content: 'iVBORw0KGgo=' }]
    const { body } = render(
      sampleInput({ type: 'mms_received', data: { media } }, { provider: 'kudosity' }),
    )
    expect(JSON.parse(body).data).toMatchObject({ media_urls: [], provider: 'kudosity', media })
  })

  it('published with more than a message has is still exactly a message', () => {
    const data = { message_id: 'm1', from: '+1', note: 'inner', provider: 'forged' }
    const { body } = render(sampleInput({ data }, { provider: 'platform' }))
    expect(Object.keys(JSON.parse(body).data)).toEqual([
      'message_id',
      'from',
      'to',
      'body',
      'media_urls',
      'provider',
    ])
    expect(JSON.parse(body).data.provider).toBe('platform')
  })
})

describe('a status', () => {
  it('keeps its own type and says what is known of it, nothing empty', () => {
    const status = { status: 'undelivered', errorCode: '30003', messageStatus: 'FAILED' } as const
    expect(render(sampleInput({ type: 'sms_status', ...status }))).toEqual({
      contentType: 'application/json',
      userAgent: 'Burki-SMS-Webhook/1.0',
      body: '{"type":"sms_status","timestamp":"2026-11-21T01:02:03.456Z","data":{"message_id":"SM1","from":"+17035550630","to":"+14155551234","status":"undelivered","error_code":"30003","provider":"twilio"}}',
    })
  })

  it('cannot be forged by its data: the fixed names win', () => {
    const data = { status: 'delivered', message_id: 'other', provider: 'other', routed_via: '61' }
    const { body } = render(sampleInput({ type: 'mms_status', status: 'failed', data }))
    expect(JSON.parse(body).data).toMatchObject({
      message_id: 'SM1',
      status: 'failed',
      provider: 'twilio',
      routed_via: '61',
    })
  })
})

describe('a voice event', () => {
  const published = { provider: 'platform', callSid: 'CA1' } as const

  it('has its data at the top level, and a user agent that names no SMS', () => {
    const data = { customer_phone_number: '+17035550630', duration: 42, status: 'completed' }
    const content = { type: 'call_ended', data, occurredAt: '2026-11-21T01:00:00Z' } as const
    expect(render(sampleInput(content, published))).toEqual({
      contentType: 'application/json',
      userAgent: 'Switchhook/1.0',
      body: '{"event":"call_ended","call_sid":"CA1","customer_phone_number":"+17035550630","duration":42,"status":"completed","assistant_id":7,"timestamp":"2026-11-21T01:00:00Z"}',
    })
  })

  it('says when it was received if nobody said when it happened', () => {
    const { body } = render(sampleInput({ type: 'call_started' }, published))
    expect(JSON.parse(body).timestamp).toBe('2026-11-21T01:02:03.456Z')
  })

  it('of a telephony provider names the customer, also when its data do not', () => {
    const { body } = render(sampleInput({ type: 'call_started', callSid: 'CA1' }))
    expect(body).toBe(
      '{"event":"call_started","call_sid":"CA1","customer_phone_number":"+17035550630","assistant_id":7,"timestamp":"2026-11-21T01:02:03.456Z"}',
    )
  })

  it('published without a customer stays without one', () => {
    const { body } = render(sampleInput({ type: 'transcript', data: { text: 'hi' } }, published))
    expect(Object.keys(JSON.parse(body))).toEqual([
      'event',
      'call_sid',
      'text',
      'assistant_id',
      'timestamp',
    ])
  })

  it('cannot be forged by its data: the fixed names win', () => {
    const data = { event: 'call_ended', call_sid: 'CA9', assistant_id: 99, timestamp: 'never' }
    const { body } = render(sampleInput({ type: 'transcript', data }, published))
    expect(JSON.parse(body)).toEqual({
      event: 'transcript',
      call_sid: 'CA1',
      assistant_id: 7,
      timestamp: '2026-11-21T01:02:03.456Z',
    })
  })
})

describe('an event of an unknown type', () => {
  it('brings the webhook as it came', () => {
    const payload = Buffer.from('{"event_type":"RCS_STATUS"}')
    const input = sampleInput(
      { type: 'unknown' },
      { provider: 'kudosity', contentType: 'application/json', payload },
    )
    expect(render(input)).toEqual({
      contentType: 'application/json',
      userAgent: 'Switchhook/1.0',
      body: '{"type":"unknown","timestamp":"2026-11-21T01:02:03.456Z","data":{"provider":"kudosity","content_type":"application/json","payload":"{\\"event_type\\":\\"RCS_STATUS\\"}"}}',
    })
  })

  it('brings bytes that are no text as base64', () => {
    const { body } = render(sampleInput({ type: 'unknown' }, { payload: Buffer.from([0xff, 0]) }))
    expect(JSON.parse(body).data).toMatchObject({ payload_base64: '/wA=' })
  })

  it('published on the platform is its data', () => {
    const event = { provider: 'platform' } as const
    const { body } = render(sampleInput({ type: 'unknown', data: { mood: 'good' } }, event))
    expect(JSON.parse(body).data).toEqual({ mood: 'good', provider: 'platform' })
  })
})
