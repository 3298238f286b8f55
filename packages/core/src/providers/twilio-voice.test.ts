import { stringify } from 'node:querystring'
import { describe, expect, it } from 'vitest'
import type { EventContent } from './provider.ts'
import { twilio } from './twilio.ts'

function read(fields: Readonly<Record<string, string>>): EventContent {
  const [content, ...others] = twilio.read(
    Buffer.from(stringify(fields)),
    'application/x-www-form-urlencoded',
  )
  expect(others).toEqual([])
  if (content === undefined) throw new Error('no event')
  return content
}

const call = {
  CallSid: 'CA1',
  AccountSid: 'AC1',
  From: '+17035550630',
  To: '+14155551234',
  Direction: 'inbound',
}

describe('a call status callback', () => {
  it('of a call that rings is a call_started, once, whichever of the three comes', () => {
    const started = ['queued', 'initiated', 'ringing'].map((CallStatus, index) =>
      read({ ...call, CallStatus, SequenceNumber: String(index) }),
    )
    for (const content of started) {
      expect(content).toMatchObject({
        type: 'call_started',
        dedupeKey: 'CA1.call_started',
        callSid: 'CA1',
        order: { subject: 'call.CA1', rank: 1 },
        data: { customer_phone_number: '+17035550630', direction: 'inbound' },
      })
    }
  })

  it('is told apart by call, status and sequence number', () => {
    expect(read({ ...call, CallStatus: 'in-progress', SequenceNumber: '2' })).toMatchObject({
      type: 'call_answered',
      dedupeKey: 'CA1.in-progress.2',
      order: { rank: 2 },
    })
    expect(read({ ...call, CallStatus: 'in-progress' }).dedupeKey).toBe('CA1.in-progress')
  })

  it('of a completed call says how long it was, in whole seconds, and when', () => {
    const ended = read({
      ...call,
      CallStatus: 'completed',
      CallDuration: '42',
      Duration: '1',
      SequenceNumber: '3',
      Timestamp: 'Sat, 21 Nov 2026 01:02:03 +0000',
      CallbackSource: 'call-progress-events',
    })
    expect(ended).toEqual({
      type: 'call_ended',
      dedupeKey: 'CA1.completed.3',
      messageId: '',
      from: '+17035550630',
      to: '+14155551234',
      body: '',
      mediaUrls: [],
      phoneNumber: '+14155551234',
      peerNumber: '+17035550630',
      callSid: 'CA1',
      status: 'completed',
      messageStatus: null,
      errorCode: '',
      order: { subject: 'call.CA1', rank: 3 },
      messageRef: '',
      campaignId: '',
      occurredAt: '2026-11-21T01:02:03.000Z',
      data: {
        customer_phone_number: '+17035550630',
        direction: 'inbound',
        status: 'completed',
        duration: 42,
      },
    })
    expect(read({ ...call, CallStatus: 'completed', CallDuration: '1e3' }).data).not.toHaveProperty(
      'duration',
    )
  })

  it.each(['busy', 'failed', 'no-answer', 'canceled'])(
    'of one that was %s is a call_failed',
    (CallStatus) => {
      expect(read({ ...call, CallStatus })).toMatchObject({
        type: 'call_failed',
        dedupeKey: `CA1.${CallStatus}`,
        data: { status: CallStatus },
      })
    },
  )

  it('of a call that went out is about the tenant’s number as the caller', () => {
    for (const Direction of ['outbound-api', 'outbound-dial']) {
      const { phoneNumber, peerNumber, data } = read({
        ...{ ...call, Direction, CallStatus: 'ringing' },
        ...{ From: '+14155551234', To: '+17035550630' },
      })
      expect([phoneNumber, peerNumber]).toEqual(['+14155551234', '+17035550630'])
      expect(data.customer_phone_number).toBe('+17035550630')
    }
  })
})

describe('a recording callback', () => {
  const recording = {
    AccountSid: 'AC1',
    CallSid: 'CA1',
    RecordingSid: 'RE1',
    RecordingUrl: 'https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1',
    RecordingDuration: '17',
    RecordingChannels: '2',
    RecordingStartTime: 'Sat, 21 Nov 2026 01:02:03 +0000',
    RecordingSource: 'DialVerb',
    RecordingTrack: 'both',
  }

  it('names no number: the call tells whose it is', () => {
    expect(read({ ...recording, RecordingStatus: 'completed' })).toMatchObject({
      type: 'recording_completed',
      dedupeKey: 'RE1.completed',
      phoneNumber: null,
      peerNumber: null,
      callSid: 'CA1',
      status: 'completed',
      order: { subject: 'recording.RE1', rank: 2 },
      data: {
        recording_sid: 'RE1',
        recording_url: recording.RecordingUrl,
        duration: 17,
        channels: 2,
        source: 'DialVerb',
        track: 'both',
        started_at: '2026-11-21T01:02:03.000Z',
      },
    })
  })

  it('in progress is a recording_started', () => {
    expect(read({ ...recording, RecordingStatus: 'in-progress' })).toMatchObject({
      type: 'recording_started',
      dedupeKey: 'RE1.in-progress',
      order: { rank: 1 },
    })
  })

  it('of an absent recording completes it, without a URL that leads nowhere', () => {
    const { type, data } = read({ ...recording, RecordingStatus: 'absent' })
    expect(type).toBe('recording_completed')
    expect(data).toMatchObject({ status: 'absent' })
    expect(data).not.toHaveProperty('recording_url')
  })

  it('of a status we do not know is kept', () => {
    expect(read({ ...recording, RecordingStatus: 'paused' })).toMatchObject({
      type: 'unknown',
      callSid: 'CA1',
    })
  })
})

describe('what the payload is', () => {
  it('is read from a GET’s query as from a form', () => {
    const url =
      'https://hooks.example.com/twilio-voice-webhook?AccountSid=AC1&CallSid=CA1&CallStatus=busy&To=%2B1'
    const opened = twilio.open({ method: 'GET', url, headers: {}, body: Buffer.alloc(0) })
    expect(opened.claimedAccountSid).toBe('AC1')
    expect(opened.payload.toString()).toBe('AccountSid=AC1&CallSid=CA1&CallStatus=busy&To=%2B1')
    expect(opened.contentType).toBe('application/x-www-form-urlencoded')
    expect(twilio.read(opened.payload, opened.contentType)).toEqual(opened.contents())
    expect(opened.contents()).toMatchObject([{ type: 'call_failed', dedupeKey: 'CA1.busy' }])
  })

  it('is read from the texts of a JSON object', () => {
    const body = Buffer.from(
      '{"AccountSid":"AC1","MessageSid":"SM1","To":"+1","From":"+2","Body":"hi","NumMedia":{},"__proto__":{"Body":"no"}}',
    )
    const headers = { 'content-type': 'application/json; charset=utf-8' }
    const opened = twilio.open({ method: 'POST', url: 'https://h/', headers, body })
    expect(opened.claimedAccountSid).toBe('AC1')
    expect(opened.contents()).toMatchObject([
      { type: 'sms_received', messageId: 'SM1', body: 'hi' },
    ])
    expect(twilio.read(opened.payload, opened.contentType)).toEqual(opened.contents())
  })
})
