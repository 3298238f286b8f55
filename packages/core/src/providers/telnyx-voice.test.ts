import { describe, expect, it } from 'vitest'
import type { EventContent } from './provider.ts'
import { telnyx } from './telnyx.ts'

const ID = '0ccc7b54-4df3-4bca-a65a-3da1ecc777f0'

function read(event_type: string, payload: object): EventContent {
  const data = { record_type: 'event', id: ID, event_type, payload }
  const root = { data: { ...data, occurred_at: '2026-11-21T00:59:59.521992Z' } }
  const [content, ...others] = telnyx.read(Buffer.from(JSON.stringify(root)), 'application/json')
  expect(others).toEqual([])
  if (content === undefined) throw new Error('no event')
  return content
}

describe('a voice event', () => {
  const call = {
    call_control_id: 'v3:control',
    call_leg_id: 'leg',
    call_session_id: 'session',
    connection_id: '7267123456789012345',
    from: '+13125550123',
    to: '+14155551234',
    start_time: '2026-11-21T00:58:59.521992Z',
  }

  it('is about the call that commands are given to', () => {
    expect(read('call.initiated', { ...call, direction: 'incoming' })).toMatchObject({
      type: 'call_started',
      dedupeKey: ID,
      callSid: 'v3:control',
      phoneNumber: '+14155551234',
      peerNumber: '+13125550123',
      status: 'initiated',
      order: { subject: 'call.v3:control', rank: 1 },
      data: {
        customer_phone_number: '+13125550123',
        direction: 'incoming',
        status: 'initiated',
        call_session_id: 'session',
      },
    })
    expect(read('call.initiated', { ...call, direction: 'outgoing' })).toMatchObject({
      phoneNumber: '+13125550123',
      data: { customer_phone_number: '+14155551234' },
    })
    expect(read('call.answered', call)).toMatchObject({ type: 'call_answered', order: { rank: 2 } })
  })

  it('ends the call with how long it was: to its end, or to when that was told', () => {
    const hangup = { ...call, hangup_cause: 'normal_clearing', sip_hangup_cause: '200' }
    expect(read('call.hangup', hangup)).toMatchObject({
      type: 'call_ended',
      status: 'normal_clearing',
      order: { rank: 3 },
      data: { duration: 60, status: 'completed', hangup_cause: 'normal_clearing' },
    })
    const end_time = '2026-11-21T00:59:09.1Z'
    expect(read('call.hangup', { ...hangup, end_time }).data.duration).toBe(10)
    const { data } = read('call.hangup', { ...hangup, start_time: 'yesterday' })
    expect(data).not.toHaveProperty('duration')
  })

  it.each([
    ['user_busy', 'busy'],
    ['no_answer', 'no-answer'],
    ['timeout', 'no-answer'],
    ['originator_cancel', 'canceled'],
    ['call_rejected', 'failed'],
    ['not_found', 'failed'],
    ['unallocated_number', 'failed'],
  ])('%s is a call that never connected: %s', (hangup_cause, status) => {
    expect(read('call.hangup', { ...call, hangup_cause })).toMatchObject({
      type: 'call_failed',
      status: hangup_cause,
      data: { status, hangup_cause },
    })
  })

  it.each(['time_limit', 'unspecified', ''])('%j ends a call', (hangup_cause) => {
    expect(read('call.hangup', { ...call, hangup_cause }).type).toBe('call_ended')
  })

  it('of a saved recording has its URL, its length and its channels', () => {
    const { call_control_id: _, from: __, to: ___, ...leg } = call
    const recording = {
      ...leg,
      channels: 'dual',
      recording_urls: { mp3: 'https://r.example/a.mp3', wav: null },
      recording_started_at: '2026-11-21T00:58:00Z',
      recording_ended_at: '2026-11-21T00:58:31Z',
    }
    expect(read('call.recording.saved', recording)).toMatchObject({
      type: 'recording_completed',
      dedupeKey: ID,
      callSid: 'leg',
      callAliases: ['leg', 'session'],
      phoneNumber: null,
      peerNumber: null,
      order: null,
      data: {
        recording_url: 'https://r.example/a.mp3',
        recording_urls: { mp3: 'https://r.example/a.mp3' },
        channels: 2,
        duration: 31,
        call_leg_id: 'leg',
      },
    })
  })

  it('of another type is kept, with its name', () => {
    expect(read('call.dtmf.received', { ...call, digit: '1' })).toMatchObject({
      type: 'unknown',
      dedupeKey: ID,
      callSid: 'v3:control',
      phoneNumber: '+14155551234',
      data: { event_type: 'call.dtmf.received' },
    })
  })
})
