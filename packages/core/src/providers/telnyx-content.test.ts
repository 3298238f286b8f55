import { describe, expect, it } from 'vitest'
import type { EventContent } from './provider.ts'
import { MalformedPayloadError } from './provider.ts'
import { telnyx } from './telnyx.ts'

const ID = 'b301ed3f-1490-491f-995f-6e64e69674d4'

function readAll(event_type: string, payload: object, id: unknown = ID): readonly EventContent[] {
  const data = {
    record_type: 'event',
    id,
    event_type,
    occurred_at: '2026-11-21T00:59:59.512+00:00',
  }
  const body = { data: { ...data, payload }, meta: { attempt: 1 } }
  return telnyx.read(Buffer.from(JSON.stringify(body)), 'application/json')
}

function read(event_type: string, payload: object, id: unknown = ID): EventContent {
  const [content, ...others] = readAll(event_type, payload, id)
  expect(others).toEqual([])
  if (content === undefined) throw new Error('no event')
  return content
}

const sms = {
  record_type: 'message',
  id: '84cca175-9755-4859-b67f-4730d7f58aa3',
  direction: 'inbound',
  type: 'SMS',
  from: { phone_number: '+13125550123', carrier: 'T-Mobile USA' },
  to: [{ phone_number: '+14155551234', status: 'webhook_delivered' }],
  cc: [],
  text: 'Hello from Telnyx!',
  media: [],
  received_at: '2026-11-21T00:59:59.412+00:00',
  errors: [],
}

describe('message.received', () => {
  it('is an SMS for the number it was sent to', () => {
    expect(read('message.received', sms)).toEqual({
      type: 'sms_received',
      dedupeKey: ID,
      messageId: '84cca175-9755-4859-b67f-4730d7f58aa3',
      from: '+13125550123',
      to: '+14155551234',
      body: 'Hello from Telnyx!',
      mediaUrls: [],
      phoneNumber: '+14155551234',
      peerNumber: '+13125550123',
      callSid: null,
      status: '',
      messageStatus: null,
      errorCode: '',
      order: null,
      messageRef: '',
      campaignId: '',
      occurredAt: '2026-11-21T00:59:59.412Z',
      data: {},
    })
  })

  it('is an MMS with media, in their order', () => {
    const media = [
      { url: 'https://media.telnyx.com/a.png', content_type: 'image/png', size: 1 },
      { content_type: 'image/png' },
      { url: 'https://media.telnyx.com/b.png' },
    ]
    expect(read('message.received', { ...sms, type: 'MMS', media })).toMatchObject({
      type: 'mms_received',
      mediaUrls: ['https://media.telnyx.com/a.png', 'https://media.telnyx.com/b.png'],
    })
    expect(read('message.received', { ...sms, type: 'MMS' }).type).toBe('mms_received')
  })

  it('to a group is one for each number of to and cc, of which the first keeps the event’s key', () => {
    const to = [{ phone_number: '+1415555000' }, { phone_number: '+14155550002' }]
    const cc = [{ phone_number: '+14155550003' }, { phone_number: '+14155550002' }]
    const contents = readAll('message.received', { ...sms, to, cc })
    expect(
      contents.map(({ dedupeKey, to: receiver, phoneNumber }) => [
        dedupeKey,
        receiver,
        phoneNumber,
      ]),
    ).toEqual([
      [ID, '+1415555000', '+1415555000'],
      [`${ID}.+14155550002`, '+14155550002', '+14155550002'],
      [`${ID}.+14155550003`, '+14155550003', '+14155550003'],
    ])
    const recipients = ['+1415555000', '+14155550002', '+14155550003']
    for (const { data } of contents) expect(data).toEqual({ recipients })
  })

  it('may name its receiver as a text, as WhatsApp’s do', () => {
    expect(read('message.received', { ...sms, to: '+14155551234', from: '+1312' })).toMatchObject({
      to: '+14155551234',
      from: '+1312',
      phoneNumber: '+14155551234',
    })
  })

  it('that Telnyx took for a STOP is an opt-out besides, for each number', () => {
    const stop = { ...sms, text: 'Stop', autoresponse_type: 'STOP' }
    expect(readAll('message.received', stop)).toMatchObject([
      { type: 'sms_received', dedupeKey: ID },
      {
        type: 'opt_out',
        dedupeKey: `${ID}.opt_out`,
        body: 'Stop',
        data: { source: 'SMS_INBOUND' },
      },
    ])
    const group = { ...stop, cc: ['+14155550002'] }
    const keys = readAll('message.received', group).map(({ dedupeKey }) => dedupeKey)
    expect(keys).toEqual([
      ...[ID, `${ID}.opt_out`],
      ...[`${ID}.+14155550002`, `${ID}.+14155550002.opt_out`],
    ])
    expect(read('message.received', { ...sms, autoresponse_type: 'START' }).type).toBe(
      'sms_received',
    )
  })

  it('has fifty receivers at most', () => {
    const to = Array.from({ length: 500 }, (_, index) => `+1415555${1000 + index}`)
    expect(readAll('message.received', { ...sms, to })).toHaveLength(50)
  })

  it('cannot be an event without a receiver', () => {
    for (const to of [undefined, null, [], [{}], {}, '', [[['+1']]]]) {
      expect(() => readAll('message.received', { ...sms, to })).toThrow(MalformedPayloadError)
    }
  })
})

describe('message.sent, message.finalized and message.read', () => {
  const sent = {
    ...{ ...sms, direction: 'outbound', text: 'Hi' },
    from: { phone_number: '+14155551234' },
    to: [{ phone_number: '+13125550123', status: 'delivery_failed' }],
    errors: [{ code: '40008', title: 'Undeliverable', detail: 'The carrier did not accept it' }],
  }

  it('are statuses about the tenant’s number as the sender', () => {
    expect(read('message.finalized', sent)).toMatchObject({
      type: 'sms_status',
      dedupeKey: ID,
      phoneNumber: '+14155551234',
      peerNumber: '+13125550123',
      status: 'delivery_failed',
      messageStatus: 'FAILED',
      errorCode: '40008',
      order: { subject: `message.${sms.id}.+13125550123`, rank: 5 },
      occurredAt: '2026-11-21T00:59:59.512Z',
      data: { description: 'The carrier did not accept it' },
    })
    const to = [{ phone_number: '+13125550123', status: 'sent' }]
    expect(read('message.sent', { ...sent, type: 'MMS', to })).toMatchObject({
      type: 'mms_status',
      messageStatus: 'SENT',
      order: { rank: 2 },
    })
    expect(read('message.read', { ...sent, to: ['+13125550123'] })).toMatchObject({
      status: 'read',
      order: { rank: 6 },
    })
  })

  it('of a group are one for each receiver, whose statuses differ', () => {
    const to = [
      { phone_number: '+13125550123', status: 'delivered' },
      { phone_number: '+13125550124', status: 'delivery_unconfirmed' },
    ]
    const contents = readAll('message.finalized', { ...sent, to })
    expect(contents.map(({ dedupeKey, messageStatus }) => [dedupeKey, messageStatus])).toEqual([
      [ID, 'DELIVERED'],
      [`${ID}.+13125550124`, 'OTHER'],
    ])
    expect(contents[0]?.order?.subject).not.toBe(contents[1]?.order?.subject)
  })

  it('of nobody are kept', () => {
    expect(read('message.sent', { ...sent, to: null })).toMatchObject({ to: '', peerNumber: null })
  })
})

describe('the envelope', () => {
  const open = (body: string) =>
    telnyx.open({ method: 'POST', url: 'https://h/', headers: {}, body: Buffer.from(body) })

  it('is malformed without an event', () => {
    for (const body of [
      '',
      '{',
      'null',
      '[]',
      '"data"',
      '{}',
      '{"data":[]}',
      '{"data":{"id":"1"}}',
    ]) {
      expect(() => open(body).contents()).toThrow(MalformedPayloadError)
    }
  })

  it('without an id is known by its bytes', () => {
    const [one, two] = [null, undefined].map((id) => read('message.received', sms, id))
    expect(one?.dedupeKey).toMatch(/^sha256\./)
    expect(two?.dedupeKey).toMatch(/^(sha256\.|b301)/)
  })

  it('claims the receivers’ numbers of what came in, the sender’s of what went out', () => {
    const claims = (payload: object) => open(JSON.stringify({ data: { payload } })).claimedNumbers
    expect(claims(sms)).toEqual(['+14155551234', '+13125550123'])
    expect(claims({ ...sms, direction: 'outbound' })).toEqual(['+13125550123', '+14155551234'])
    expect(claims({ from: '+1312', to: '+1415', direction: 'outgoing' })).toEqual([
      '+1312',
      '+1415',
    ])
    expect(claims({ call_leg_id: 'leg' })).toEqual([])
    const to = Array.from({ length: 80 }, (_, index) => `+1415555${1000 + index}`)
    expect(claims({ ...sms, to })).toHaveLength(50)
    expect(open('{"data":').claimedNumbers).toEqual([])
  })

  it('is answered exactly 200', () => {
    expect(telnyx.answer('sms_received')).toEqual({
      status: 200,
      contentType: 'application/json',
      body: '{}',
    })
  })
})
