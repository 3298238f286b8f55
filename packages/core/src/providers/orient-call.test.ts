import { describe, expect, it } from 'vitest'
import { sampleEvent } from '../../test/sample-event.ts'
import { eventId } from '../ids.ts'
import { contentOf } from './content-of.ts'
import { orientCall } from './orient-call.ts'
import { telnyx } from './telnyx.ts'

const hangup = Buffer.from(
  JSON.stringify({
    data: {
      ...{ record_type: 'event', event_type: 'call.hangup', id: 'b301ed3f-1490-491f-995f' },
      occurred_at: '2026-11-21T00:59:59.512Z',
      payload: {
        ...{ call_control_id: 'v3:one', from: '+14155551234', to: '+17035550630' },
        hangup_cause: 'normal_clearing',
      },
    },
  }),
)
const [content] = telnyx.read(hangup, 'application/json')
if (content === undefined) throw new Error('no content')

describe('a call that does not say which way it went', () => {
  it('is an incoming one, unless the number that called is the tenant’s', () => {
    expect(content).toMatchObject({ phoneNumber: '+17035550630', peerNumber: '+14155551234' })
    expect(orientCall(content, '+17035550630')).toBe(content)
    expect(orientCall(content, '+14155551234')).toMatchObject({
      ...{ phoneNumber: '+14155551234', peerNumber: '+17035550630' },
      data: { customer_phone_number: '+17035550630' },
    })
  })

  it('is turned together with its recording', () => {
    const recording = { ...content, type: 'recording_completed' } as const
    expect(orientCall(recording, '+14155551234')).toMatchObject({
      ...{ phoneNumber: '+14155551234', peerNumber: '+17035550630' },
    })
  })

  it('stays as it is when neither number is the tenant’s, and when it is no call', () => {
    expect(orientCall(content, '+19995550000')).toBe(content)
    const message = { ...content, type: 'sms_received' } as const
    expect(orientCall(message, '+14155551234')).toBe(message)
  })

  it('is delivered the way it was accepted', () => {
    const event = sampleEvent({
      id: eventId('org_a', 'telnyx', content.dedupeKey),
      ...{ provider: 'telnyx', type: 'call_ended', payload: hangup },
      ...{ contentType: 'application/json', phoneNumber: '+14155551234' },
    })
    expect(contentOf(event).data.customer_phone_number).toBe('+17035550630')
  })
})
