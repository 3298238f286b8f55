import { parse } from 'node:querystring'
import { describe, expect, it } from 'vitest'
import { sampleInput } from '../../test/golden/sample-input.ts'
import type { RenderInput } from './format.ts'
import { pbx } from './pbx.ts'

const fieldsOf = (input: RenderInput) => ({ ...parse(pbx(input).body.toString('utf8')) })

describe('the PBX form', () => {
  it('has the eight fields in their order, byte for byte', () => {
    const sms = { messageId: 'SM99649d01253fc588396cd1eec8377273', body: "It's working!!!" }
    const { contentType, userAgent, body } = pbx(sampleInput(sms))
    expect(contentType).toBe('application/x-www-form-urlencoded')
    expect(userAgent).toBe('Switchhook/1.0')
    expect(body.toString('latin1')).toBe(
      "service_id=SVC-9&from=%2B17035550630&sms_number=%2B14155551234&body=It's%20working!!!&message_id=SM99649d01253fc588396cd1eec8377273&timestamp=1795222923&webhook_url=https%3A%2F%2Fcustomer.example%2Fhook%3Fa%3D1%26b%3D2&webhook_url_fallback=desk%40customer.example",
    )
  })

  it('sends what is unknown as empty fields, so that all eight are always there', () => {
    const input = sampleInput()
    const destination = { ...input.destination, fallbackEmail: null }
    const fields = fieldsOf({ ...input, destination, serviceId: '' })
    expect(Object.keys(fields)).toHaveLength(8)
    expect(fields).toMatchObject({ service_id: '', webhook_url_fallback: '' })
  })
})

describe('a message from a PBX', () => {
  const data = {
    timestamp: '1576391654',
    service_id: 'SVC123',
    webhook_url: 'https://evil.example/',
    webhook_url_fallback: 'evil@evil.example',
  }
  const input = sampleInput({ data }, { provider: 'pbx' })

  it('keeps the PBX’s timestamp', () => {
    expect(fieldsOf(input).timestamp).toBe('1576391654')
    for (const timestamp of ['', 'soon', '-1', '1.5', '1e400', null]) {
      const odd = sampleInput({ data: { timestamp } }, { provider: 'pbx' })
      expect(fieldsOf(odd).timestamp).toBe('1795222923')
    }
  })

  it('keeps the PBX’s service unless the number has one', () => {
    expect(fieldsOf(input).service_id).toBe('SVC-9')
    expect(fieldsOf({ ...input, serviceId: '' }).service_id).toBe('SVC123')
  })

  it('never brings its webhook_url or fallback to the outside again', () => {
    expect(fieldsOf(input)).toMatchObject({
      webhook_url: 'https://customer.example/hook?a=1&b=2',
      webhook_url_fallback: 'desk@customer.example',
    })
  })

  it('is the only one whose data say the time and the service', () => {
    const fields = fieldsOf({ ...sampleInput({ data }, { provider: 'platform' }), serviceId: '' })
    expect(fields).toMatchObject({ timestamp: '1795222923', service_id: '' })
  })
})

describe('media', () => {
  it('are links below the text', () => {
    const mediaUrls = ['https://m.example/0', 'https://m.example/1']
    expect(fieldsOf(sampleInput({ type: 'mms_received', mediaUrls })).body).toBe(
      'hi\nhttps://m.example/0\nhttps://m.example/1',
    )
  })

  it('without links are told by name', () => {
    const media = [{ name: 'cute.png', content: 'iVBORw0KGgo=' }, { content: 'AA==' }]
    expect(fieldsOf(sampleInput({ type: 'mms_received', body: '', data: { media } })).body).toBe(
      '[cute.png]\n[attachment]',
    )
  })
})

describe('an event that is no message', () => {
  const own = { from: '+14155551234', to: '+17035550630' }

  it('of a status has the other side as from, as if it had been sent from there', () => {
    const status = {
      ...own,
      type: 'sms_status',
      status: 'undelivered',
      errorCode: '30003',
    } as const
    expect(fieldsOf(sampleInput(status))).toMatchObject({
      from: '+17035550630',
      sms_number: '+14155551234',
      body: 'Status of message SM1: undelivered (error 30003)',
      message_id: 'SM1',
    })
  })

  it.each([
    ['sms_status', { messageStatus: 'DELIVERED' }, 'Status of message SM1: delivered'],
    [
      'link_hit',
      { data: { url: 'https://e.example/', hits: 2 } },
      'Link of message SM1 opened: https://e.example/ (hits: 2)',
    ],
    ['opt_out', {}, '+17035550630 opted out'],
    ['call_started', {}, 'Call CA1 started'],
    ['call_answered', {}, 'Call CA1 was answered'],
    [
      'call_ended',
      { status: 'completed', data: { duration: 42 } },
      'Call CA1 ended (completed, 42 s)',
    ],
    ['call_failed', { data: { status: 'busy' } }, 'Call CA1 failed (busy)'],
    ['recording_started', {}, 'Call CA1 is being recorded'],
    [
      'recording_completed',
      { data: { recording_url: 'https://r.example/', duration: 9 } },
      'Call CA1 was recorded (9 s): https://r.example/',
    ],
    ['transcript', { data: { text: 'Hello' } }, 'Call CA1, transcript: Hello'],
    ['tool_call', { data: { name: 'book' } }, 'Call CA1, tool call: book'],
    ['transfer_initiated', { data: { transfer_to: '+1' } }, 'Call CA1 is being transferred: +1'],
    ['unknown', {}, 'Event of an unknown type from twilio'],
  ] as const)('is one plain sentence: %s', (type, content, sentence) => {
    expect(fieldsOf(sampleInput({ type, callSid: 'CA1', ...content })).body).toBe(sentence)
  })

  it('that is about no message goes by its call, else by its own id', () => {
    const call = sampleInput({ type: 'call_started', messageId: '', callSid: 'CA1' })
    expect(fieldsOf(call).message_id).toBe('CA1')
    expect(fieldsOf(sampleInput({ type: 'unknown', messageId: '' })).message_id).toBe('evt_sample')
  })
})
