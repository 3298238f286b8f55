import { describe, expect, it } from 'vitest'
import { sampleInput } from '../../test/golden/sample-input.ts'
import { EVENT_TYPES } from '../event.ts'
import type { RenderInput } from './format.ts'
import { kudosity } from './kudosity.ts'
import { KUDOSITY_TYPES, kudosityNameOf, typeOfKudosityName } from './kudosity-types.ts'

const render = (input: RenderInput) => JSON.parse(kudosity(input).body.toString('utf8'))
const head = (event_type: string) => ({
  event_type,
  timestamp: '2026-11-21T01:02:03.456Z',
  webhook_id: 'dst_sample',
  webhook_name: 'Customer',
})
const sent = { from: '+14155551234', to: '+17035550630', status: 'undelivered' }

function fromKudosity(document: object, type: RenderInput['event']['type']): RenderInput {
  const payload = Buffer.from(JSON.stringify(document))
  return sampleInput({ type }, { provider: 'kudosity', payload, contentType: 'application/json' })
}

describe('an incoming message', () => {
  it('is a mo with numbers as Kudosity spells them, byte for byte', () => {
    const { contentType, userAgent, body } = kudosity(sampleInput())
    expect(contentType).toBe('application/json')
    expect(userAgent).toBe('Switchhook/1.0')
    expect(body.toString('utf8')).toBe(
      '{"event_type":"SMS_INBOUND","timestamp":"2026-11-21T01:02:03.456Z","webhook_id":"dst_sample","webhook_name":"Customer","mo":{"type":"SMS","id":"SM1","message":"hi","sender":"17035550630","recipient":"14155551234"}}',
    )
  })

  it('keeps a sender that is a name or a short code', () => {
    for (const from of ['ACME', '1995', '+', '+1x']) {
      expect(render(sampleInput({ from })).mo.sender).toBe(from)
    }
  })

  it('with media has their URLs, and a list of inline media that can be walked', () => {
    const mediaUrls = ['https://m.example/0']
    expect(render(sampleInput({ type: 'mms_received', mediaUrls }))).toMatchObject({
      event_type: 'MMS_INBOUND',
      mo: { type: 'MMS', media: [], content_urls: mediaUrls },
    })
  })
})

describe('a status', () => {
  it('has Kudosity’s word for it and the reason as its description', () => {
    const status = { type: 'sms_status', messageStatus: 'FAILED', errorCode: '30003' } as const
    expect(render(sampleInput({ ...sent, ...status }))).toEqual({
      ...head('SMS_STATUS'),
      status: {
        type: 'SMS',
        id: 'SM1',
        message_ref: '',
        recipient: '17035550630',
        sender: '14155551234',
        status: 'FAILED',
        description: 'error 30003',
      },
    })
  })

  it('without a word of Kudosity’s is OTHER', () => {
    const input = sampleInput({ ...sent, type: 'mms_status', messageRef: 'ref', campaignId: 'c' })
    expect(render(input).status).toMatchObject({
      type: 'MMS',
      status: 'OTHER',
      message_ref: 'ref',
      campaign_id: 'c',
    })
  })
})

describe('an opt-out of a provider that knows only the STOP', () => {
  it('names the person as the recipient, where a receiver of Kudosity’s looks', () => {
    expect(render(sampleInput({ type: 'opt_out', body: 'STOP' }))).toEqual({
      ...head('OPT_OUT'),
      opt_out: {
        source: 'SMS_INBOUND',
        source_message: {
          type: 'SMS',
          id: 'SM1',
          message: 'STOP',
          message_ref: '',
          recipient: '17035550630',
          sender: '14155551234',
        },
      },
    })
  })
})

describe('a type that Kudosity has not', () => {
  it('of voice is a call under our type in capitals', () => {
    const data = { duration: 42, call_sid: 'forged', assistant_id: 99 }
    expect(render(sampleInput({ type: 'call_ended', callSid: 'CA1', data }))).toEqual({
      ...head('CALL_ENDED'),
      call: { call_sid: 'CA1', assistant_id: 7, duration: 42 },
    })
  })

  it('nor we, brings the webhook as it came', () => {
    const event = { payload: Buffer.from('a=b'), contentType: 'text/plain' }
    expect(render(sampleInput({ type: 'unknown' }, event))).toEqual({
      ...head('UNKNOWN'),
      event: { provider: 'twilio', content_type: 'text/plain', payload: 'a=b' },
    })
  })
})

describe('what Kudosity itself sent', () => {
  const status = { type: 'SMS', id: '1', status: 'DELIVERED', routed_via: '61', novelty: [1] }
  const document = {
    event_type: 'SMS_STATUS',
    timestamp: '2026-11-21T01:00:05.123456Z',
    webhook_id: 'theirs',
    webhook_name: 'gateway',
    status,
    novelty: { deep: null },
  }

  it('goes on as it came, unknown names too, under the subscriber’s own webhook', () => {
    const { webhook_id: _id, webhook_name: _name, ...rest } = document
    expect(render(fromKudosity(document, 'sms_status'))).toEqual({
      ...rest,
      webhook_id: 'dst_sample',
      webhook_name: 'Customer',
    })
  })

  it('goes on likewise when its type is new to us', () => {
    const rcs = { ...document, event_type: 'RCS_STATUS' }
    expect(render(fromKudosity(rcs, 'unknown'))).toMatchObject({ event_type: 'RCS_STATUS', status })
  })

  it('is made anew for an event that is not the one it names', () => {
    expect(render(fromKudosity(document, 'opt_out'))).toMatchObject({ event_type: 'OPT_OUT' })
  })

  it('is made anew when it came by V1, as a query', () => {
    const payload = Buffer.from('message_id=1&status=delivered')
    const input = sampleInput({ ...sent, type: 'sms_status' }, { provider: 'kudosity', payload })
    expect(render(input)).toMatchObject({ event_type: 'SMS_STATUS', status: { id: 'SM1' } })
  })

  it('is not believed of another provider that looks like it', () => {
    const input = fromKudosity({ ...document, event_type: 'SMS_INBOUND' }, 'sms_received')
    const forged = { ...input, event: { ...input.event, provider: 'platform' as const } }
    expect(render(forged).status).toBeUndefined()
  })
})

describe('the names of types', () => {
  it('are Kudosity’s six, there and back', () => {
    expect(Object.values(KUDOSITY_TYPES).sort()).toEqual([
      'LINK_HIT',
      'MMS_INBOUND',
      'MMS_STATUS',
      'OPT_OUT',
      'SMS_INBOUND',
      'SMS_STATUS',
    ])
    for (const [type, name] of Object.entries(KUDOSITY_TYPES)) {
      expect(typeOfKudosityName(name)).toBe(type)
    }
  })

  it('are one for each of our types', () => {
    expect(new Set(EVENT_TYPES.map(kudosityNameOf)).size).toBe(EVENT_TYPES.length)
    expect(kudosityNameOf('call_ended')).toBe('CALL_ENDED')
  })

  it('that Kudosity added later, or that every object has, are none of ours', () => {
    for (const name of ['RCS_STATUS', 'WHATSAPP_INBOUND', 'constructor', '']) {
      expect(typeOfKudosityName(name)).toBeUndefined()
    }
  })
})
