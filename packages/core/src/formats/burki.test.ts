import { describe, expect, it } from 'vitest'
import { sampleEvent } from '../../test/sample-event.ts'
import type { AcceptedEvent } from '../event.ts'
import { adapterOf } from '../providers/registry.ts'
import { burki } from './burki.ts'

function render(event: AcceptedEvent) {
  const content = adapterOf(event.provider).read(event.payload, event.contentType)
  const destination = { url: 'https://customer.example/', fallbackEmail: null }
  const request = burki({ event, content, destination, serviceId: '' })
  return { ...request, body: request.body.toString('utf8') }
}

function platformEvent(type: AcceptedEvent['type'], payload: object, callSid: string | null) {
  return sampleEvent({
    provider: 'platform',
    type,
    callSid,
    contentType: 'application/json',
    payload: Buffer.from(JSON.stringify({ type, idempotency_key: 'k', ...payload })),
  })
}

describe('a message', () => {
  it('is {type, timestamp, data}, byte for byte as Burki documents it', () => {
    expect(render(sampleEvent())).toEqual({
      contentType: 'application/json',
      userAgent: 'Burki-SMS-Webhook/1.0',
      body: '{"type":"sms_received","timestamp":"2026-11-21T01:02:03.456Z","data":{"message_id":"SM99649d01253fc588396cd1eec8377273","from":"+17035550630","to":"+14155551234","body":"It\'s working!!!","media_urls":[],"provider":"twilio"}}',
    })
  })

  it('with media is an sms_received too, with the media’s URLs', () => {
    const payload = Buffer.from(
      'MessageSid=MM1&From=%2B1&To=%2B2&Body=&NumMedia=1&MediaUrl0=https%3A%2F%2Fm.example%2F0',
    )
    expect(render(sampleEvent({ type: 'mms_received', payload })).body).toBe(
      '{"type":"sms_received","timestamp":"2026-11-21T01:02:03.456Z","data":{"message_id":"MM1","from":"+1","to":"+2","body":"","media_urls":["https://m.example/0"],"provider":"twilio"}}',
    )
  })

  it('keeps its own type when it is a status', () => {
    const payload = Buffer.from('MessageSid=SM1&MessageStatus=sent&From=%2B2&To=%2B1')
    const { body } = render(sampleEvent({ type: 'sms_status', payload }))
    expect(JSON.parse(body)).toMatchObject({ type: 'sms_status', data: { message_id: 'SM1' } })
  })

  it('published on the platform looks like any other', () => {
    const data = { message_id: 'm1', from: '+1', to: '+2', body: 'hi', media_urls: ['https://m/'] }
    expect(render(platformEvent('sms_received', { data }, null))).toEqual({
      contentType: 'application/json',
      userAgent: 'Burki-SMS-Webhook/1.0',
      body: '{"type":"sms_received","timestamp":"2026-11-21T01:02:03.456Z","data":{"message_id":"m1","from":"+1","to":"+2","body":"hi","media_urls":["https://m/"],"provider":"platform"}}',
    })
  })

  it('survives JSON whatever its text holds', () => {
    const payload = Buffer.concat([
      Buffer.from('MessageSid=SM1&From=%2B1&To=%2B2&Body=%22%5C%0A%00%E2%80%A8'),
      Buffer.from([0xff]),
    ])
    const { body } = render(sampleEvent({ payload }))
    expect(JSON.parse(body).data.body).toBe('"\\\n\0\u2028\uFFFD')
  })
})

describe('a voice event', () => {
  it('has its data at the top level, and a user agent that names no SMS', () => {
    const data = { customer_phone_number: '+17035550630', duration: 42, status: 'completed' }
    const occurred_at = '2026-11-21T01:00:00Z'
    expect(render(platformEvent('call_ended', { data, occurred_at }, 'CA1'))).toEqual({
      contentType: 'application/json',
      userAgent: 'Switchhook/1.0',
      body: '{"customer_phone_number":"+17035550630","duration":42,"status":"completed","event":"call_ended","call_sid":"CA1","assistant_id":7,"timestamp":"2026-11-21T01:00:00Z"}',
    })
  })

  it('says when it was received if nobody said when it happened', () => {
    const { body } = render(platformEvent('call_started', { data: {} }, 'CA1'))
    expect(JSON.parse(body).timestamp).toBe('2026-11-21T01:02:03.456Z')
  })

  it('cannot be forged by its data: the fixed names win', () => {
    const data = { event: 'call_ended', call_sid: 'CA9', assistant_id: 99, timestamp: 'never' }
    const { body } = render(platformEvent('transcript', { data }, 'CA1'))
    expect(JSON.parse(body)).toEqual({
      event: 'transcript',
      call_sid: 'CA1',
      assistant_id: 7,
      timestamp: '2026-11-21T01:02:03.456Z',
    })
  })
})
