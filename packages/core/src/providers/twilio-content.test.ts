import { stringify } from 'node:querystring'
import { describe, expect, it } from 'vitest'
import { parseForm } from './form.ts'
import type { EventContent } from './provider.ts'
import { MalformedPayloadError } from './provider.ts'
import { twilio } from './twilio.ts'

type Fields = Readonly<Record<string, string | readonly string[]>>

function readAll(fields: Fields | string): readonly EventContent[] {
  const body = Buffer.from(typeof fields === 'string' ? fields : stringify(fields))
  return twilio.read(body, 'application/x-www-form-urlencoded')
}

function read(fields: Fields | string): EventContent {
  const [content, ...others] = readAll(fields)
  expect(others).toEqual([])
  if (content === undefined) throw new Error('no event')
  return content
}

const sms = { MessageSid: 'SM1', From: '+17035550630', To: '+14155551234', Body: 'hi' }
const mediaFields = (count: number): Fields =>
  Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`MediaUrl${index}`, `https://m.example/${index}`]),
  )

describe('an incoming message', () => {
  it('is an SMS without media, for the number it was sent to', () => {
    expect(read({ ...sms, NumMedia: '0', SmsStatus: 'received' })).toEqual({
      type: 'sms_received',
      dedupeKey: 'SM1',
      messageId: 'SM1',
      from: '+17035550630',
      to: '+14155551234',
      body: 'hi',
      mediaUrls: [],
      phoneNumber: '+14155551234',
      peerNumber: '+17035550630',
      callSid: null,
      status: '',
      messageStatus: null,
      errorCode: '',
      order: null,
      messageRef: '',
      campaignId: '',
      occurredAt: null,
      data: {},
    })
  })

  it('is an MMS with media, in their order', () => {
    const content = read({ ...sms, MessageSid: 'MM1', NumMedia: '3', ...mediaFields(3) })
    expect(content.type).toBe('mms_received')
    expect(content.mediaUrls).toEqual([0, 1, 2].map((index) => `https://m.example/${index}`))
  })

  it('has at most ten media, whatever NumMedia claims', () => {
    for (const claimed of ['11', '99999999999999999999', '1e9']) {
      const { mediaUrls } = read({ ...sms, NumMedia: claimed, ...mediaFields(20) })
      expect(mediaUrls.length).toBeLessThanOrEqual(10)
    }
    expect(read({ ...sms, NumMedia: '20', ...mediaFields(20) }).mediaUrls).toHaveLength(10)
  })

  it('is an SMS when NumMedia is not a count or names media that are not there', () => {
    for (const claimed of ['', '-1', 'NaN', 'Infinity', 'two', '5']) {
      expect(read({ ...sms, NumMedia: claimed })).toMatchObject({
        type: 'sms_received',
        mediaUrls: [],
      })
    }
  })

  it('keeps text as it came: spaces, line ends, emoji, an empty body', () => {
    const body = '  a\r\nb\t☎ 🎉 & = + %41  '
    expect(read({ ...sms, Body: body }).body).toBe(body)
    expect(read({ ...sms, Body: '' })).toMatchObject({ type: 'sms_received', body: '' })
  })

  it('is known by SmsSid when MessageSid is missing, as from old API versions', () => {
    const { MessageSid: _, ...rest } = sms
    expect(read({ ...rest, SmsSid: 'SM2' })).toMatchObject({ messageId: 'SM2', dedupeKey: 'SM2' })
  })

  it('takes the first of repeated parameters', () => {
    expect(read({ ...sms, Body: ['one', 'two'] }).body).toBe('one')
  })

  it('cannot be an event without the number it was sent to', () => {
    expect(() => read({ MessageSid: 'SM1', From: '+1' })).toThrow(MalformedPayloadError)
  })
})

describe('an incoming STOP', () => {
  const stop = { ...sms, Body: 'STOP', OptOutType: 'STOP', MessagingServiceSid: 'MG1' }

  it('is the message and an opt-out, each with a key of its own', () => {
    expect(readAll(stop)).toMatchObject([
      { type: 'sms_received', dedupeKey: 'SM1', data: { messaging_service_sid: 'MG1' } },
      {
        type: 'opt_out',
        dedupeKey: 'SM1.opt_out',
        messageId: 'SM1',
        body: 'STOP',
        phoneNumber: '+14155551234',
        peerNumber: '+17035550630',
        data: { source: 'SMS_INBOUND' },
      },
    ])
  })

  it('is only a message when Twilio did not take it for one, or took it for another word', () => {
    expect(read({ ...sms, Body: 'STOP' }).type).toBe('sms_received')
    expect(read({ ...stop, OptOutType: 'HELP' }).type).toBe('sms_received')
    expect(read({ ...stop, OptOutType: 'START' }).type).toBe('sms_received')
  })
})

describe('a status callback', () => {
  const status = { ...sms, From: '+14155551234', To: '+17035550630' }

  it('is about the tenant’s number as the sender, and is told apart by its status', () => {
    const sent = read({ ...status, MessageStatus: 'sent', SmsStatus: 'sent' })
    const delivered = read({ ...status, MessageStatus: 'delivered' })
    expect(sent).toMatchObject({
      type: 'sms_status',
      phoneNumber: '+14155551234',
      peerNumber: '+17035550630',
      messageId: 'SM1',
      dedupeKey: 'SM1.sent',
    })
    expect(delivered.dedupeKey).toBe('SM1.delivered')
  })

  it('of an MMS is an mms_status', () => {
    expect(read({ ...status, MessageSid: 'MM1', MessageStatus: 'failed' }).type).toBe('mms_status')
  })

  it('says how far the message is, why it failed, and in what order it stands', () => {
    const failed = read({ ...status, MessageStatus: 'undelivered', ErrorCode: '30003' })
    expect(failed).toMatchObject({
      status: 'undelivered',
      messageStatus: 'FAILED',
      errorCode: '30003',
      order: { subject: 'message.SM1', rank: 5 },
    })
    const ranks = ['accepted', 'queued', 'sent', 'delivered', 'read'].map(
      (MessageStatus) => read({ ...status, MessageStatus }).order?.rank,
    )
    expect(ranks).toEqual([0, 1, 2, 5, 6])
  })

  it('of a message that a Messaging Service has no sender for yet is about nobody’s number', () => {
    const { From: _, ...unsent } = status
    const accepted = read({ ...unsent, MessagingServiceSid: 'MG1', MessageStatus: 'accepted' })
    expect(accepted).toMatchObject({ type: 'sms_status', phoneNumber: null, from: '' })
  })

  it('on WhatsApp is about the number behind the channel', () => {
    const From = 'whatsapp:+14155551234'
    const sent = read({ ...status, From, To: 'whatsapp:+17035550630', MessageStatus: 'read' })
    expect(sent).toMatchObject({ from: From, phoneNumber: '+14155551234' })
    expect(sent.peerNumber).toBe('+17035550630')
  })

  it('never has the dedupe key of the message itself', () => {
    expect(read({ ...status, MessageStatus: 'received' }).dedupeKey).toBe('SM1')
    expect(read({ ...status, MessageStatus: 'read' }).dedupeKey).not.toBe('SM1')
  })
})

describe('an authentic webhook of a kind we do not know', () => {
  it('is kept, with its bytes as its identity', () => {
    const one = read('CallSid=CA1&CallStatus=juggling&From=%2B1&To=%2B2')
    const same = read('CallSid=CA1&CallStatus=juggling&From=%2B1&To=%2B2')
    const other = read('CallSid=CA1&CallStatus=juggled&From=%2B1&To=%2B2')
    expect(one).toMatchObject({ type: 'unknown', callSid: 'CA1', phoneNumber: '+2' })
    expect(one.dedupeKey).toMatch(/^sha256\.[0-9a-f]{64}$/)
    expect(same.dedupeKey).toBe(one.dedupeKey)
    expect(other.dedupeKey).not.toBe(one.dedupeKey)
  })

  it('may be empty, or bytes that are no text', () => {
    expect(read('')).toMatchObject({ type: 'unknown', phoneNumber: null, peerNumber: null })
    expect(twilio.read(Buffer.from([0xff, 0xfe, 0x00]), '')).toMatchObject([{ type: 'unknown' }])
  })
})

describe('parameter names', () => {
  it('that every object has are only parameters', () => {
    const params = parseForm(
      Buffer.from('__proto__=a&__proto__[x]=b&constructor=c&toString=d&hasOwnProperty=e'),
    )
    expect(Object.keys(params).sort()).toEqual(
      ['__proto__', '__proto__[x]', 'constructor', 'hasOwnProperty', 'toString'].sort(),
    )
    expect(({} as Record<string, unknown>).x).toBeUndefined()
    expect(Object.getPrototypeOf(params)).toBeNull()
  })

  it('that are missing are not found on a prototype', () => {
    expect(read('a=b')).toMatchObject({ messageId: '', from: '', to: '', body: '' })
  })

  it('are all kept, however many there are', () => {
    const many = Array.from({ length: 3_000 }, (_, index) => `p${index}=1`).join('&')
    expect(Object.keys(parseForm(Buffer.from(many)))).toHaveLength(3_000)
  })
})

describe('the answer', () => {
  it('is empty TwiML for what came in and 204 for what is only told', () => {
    expect(twilio.answer('sms_received')).toEqual({
      status: 200,
      contentType: 'text/xml',
      body: '<?xml version="1.0" encoding="UTF-8"?><Response/>',
    })
    expect(twilio.answer('unknown').status).toBe(200)
    for (const told of ['mms_status', 'call_ended', 'recording_completed'] as const) {
      expect(twilio.answer(told)).toEqual({ status: 204, contentType: null, body: '' })
    }
  })
})
