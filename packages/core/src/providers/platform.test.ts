import { describe, expect, it } from 'vitest'
import { platform } from './platform.ts'
import { MalformedPayloadError } from './provider.ts'

const read = (event: object) =>
  platform.read(Buffer.from(JSON.stringify({ idempotency_key: 'k', ...event })), 'application/json')

describe('a platform event', () => {
  it('has its data as it was published', () => {
    const data = { customer_phone_number: '+17035550630', duration: 42, nested: { a: [1, null] } }
    const event = { type: 'call_ended', data, call_sid: 'CA1', phone_number: '+14155551234' }
    expect(read({ ...event, occurred_at: '2026-11-21T12:00:00+11:00' })).toMatchObject([
      {
        type: 'call_ended',
        dedupeKey: 'k',
        callSid: 'CA1',
        phoneNumber: '+14155551234',
        peerNumber: '+17035550630',
        order: { subject: 'call.CA1', rank: 3 },
        occurredAt: '2026-11-21T01:00:00.000Z',
        data,
      },
    ])
    expect(read(event)[0]?.data).toEqual(data)
    expect(read(event)[0]?.occurredAt).toBeNull()
  })

  it('of a message’s status is ranked, in the words of any provider', () => {
    const status = (word: unknown, message_id?: string) =>
      read({
        type: 'sms_status',
        data: {
          message_id,
          status: word,
          from: '+2',
          to: '+1',
          message_ref: 'r',
          campaign_id: 'c',
        },
      })[0]
    expect(status('DELIVERED', 'm1')).toMatchObject({
      status: 'DELIVERED',
      messageStatus: 'DELIVERED',
      order: { subject: 'message.m1', rank: 5 },
      peerNumber: '+1',
      messageRef: 'r',
      campaignId: 'c',
    })
    expect(status('undelivered', 'm1')).toMatchObject({ messageStatus: 'FAILED' })
    expect(status(['sent'], 'm1')).toMatchObject({ messageStatus: 'OTHER', order: { rank: 0 } })
    expect(status('sent')).toMatchObject({ messageStatus: 'SENT', order: null })
  })

  it('that stands in no order has none', () => {
    for (const type of ['transcript', 'tool_call', 'sms_received', 'call_started']) {
      expect(read({ type, data: {} })).toMatchObject([{ order: null, messageStatus: null }])
    }
    const recording = { type: 'recording_started', data: { recording_sid: 'RE1' }, call_sid: 'CA1' }
    expect(read(recording)).toMatchObject([{ order: { subject: 'recording.RE1', rank: 1 } }])
  })

  it('that this product did not write is malformed', () => {
    for (const text of ['', '{}', '{"type":"call_ended"}', 'null']) {
      expect(() => platform.read(Buffer.from(text), '')).toThrow(MalformedPayloadError)
    }
  })
})
