import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { sampleInput } from '../../test/golden/sample-input.ts'
import { EVENT_TYPES } from '../event.ts'
import type { RenderInput } from './format.ts'
import { standard, standardPayloadSchema } from './standard.ts'

const render = (input: RenderInput) => JSON.parse(standard(input).body.toString('utf8'))

describe('the standard payload', () => {
  it('is {type, timestamp, data} with the names of all providers, byte for byte', () => {
    const { contentType, userAgent, body } = standard(sampleInput())
    expect(contentType).toBe('application/json')
    expect(userAgent).toBe('Switchhook/1.0')
    expect(body.toString('utf8')).toBe(
      '{"type":"sms_received","timestamp":"2026-11-21T01:02:03.456Z","data":{"provider":"twilio","phone_number":"+14155551234","assistant_id":7,"message_id":"SM1","from":"+17035550630","to":"+14155551234","body":"hi","media_urls":[]}}',
    )
  })

  it('tells an MMS from an SMS', () => {
    expect(render(sampleInput({ type: 'mms_received' })).type).toBe('mms_received')
  })

  it('has both the provider’s word for a status and the one of all providers', () => {
    const status = { status: 'undelivered', messageStatus: 'FAILED', errorCode: '30003' } as const
    expect(render(sampleInput({ type: 'sms_status', ...status })).data).toMatchObject({
      status: 'undelivered',
      message_status: 'FAILED',
      error_code: '30003',
    })
  })

  it('names only what makes sense for its type', () => {
    expect(Object.keys(render(sampleInput({ type: 'call_started', callSid: 'CA1' })).data)).toEqual(
      ['provider', 'phone_number', 'assistant_id', 'call_sid', 'from', 'to'],
    )
  })

  it('says that it is stale when a later status was before it, and only then', () => {
    const status = { type: 'sms_status', data: { stale: true } } as const
    expect(render(sampleInput(status, { isStale: true })).data.stale).toBe(true)
    expect(render(sampleInput(status)).data).not.toHaveProperty('stale')
  })

  it('cannot be forged by its data: the fixed names win', () => {
    const data = { provider: 'twilio', assistant_id: 99, call_sid: 'CA9', text: 'hello' }
    const event = { provider: 'platform', callSid: 'CA1' } as const
    expect(render(sampleInput({ type: 'transcript', data }, event)).data).toMatchObject({
      provider: 'platform',
      assistant_id: 7,
      call_sid: 'CA1',
      text: 'hello',
    })
  })

  it('leaves out a described name of another type than described', () => {
    const data = { duration: 'long', direction: 'inbound', hangup_cause: null }
    const { data: said } = render(sampleInput({ type: 'call_ended', data }))
    expect(said).toMatchObject({ direction: 'inbound' })
    expect(said).not.toHaveProperty('duration')
    expect(said).not.toHaveProperty('hangup_cause')
  })

  it('of an unknown event brings the webhook as it came', () => {
    const event = { payload: Buffer.from('a=b'), contentType: 'text/plain' }
    expect(render(sampleInput({ type: 'unknown' }, event)).data).toMatchObject({
      content_type: 'text/plain',
      payload: 'a=b',
    })
  })
})

describe('the time of the standard payload', () => {
  const timeOf = (occurredAt: string | null) => render(sampleInput({ occurredAt })).timestamp

  it('is when it happened', () => {
    expect(timeOf('2026-11-21T01:00:00.000Z')).toBe('2026-11-21T01:00:00.000Z')
  })

  it('is when it was received if nobody says', () => {
    expect(timeOf(null)).toBe('2026-11-21T01:02:03.456Z')
  })
})

describe('standardPayloadSchema', () => {
  it('knows every type', () => {
    for (const type of EVENT_TYPES) {
      expect(standardPayloadSchema.parse(render(sampleInput({ type }))).type).toBe(type)
    }
  })

  it('refuses a message without its fields', () => {
    const { data, ...rest } = render(sampleInput())
    for (const name of ['provider', 'message_id', 'from', 'to', 'body', 'media_urls']) {
      const { [name]: _, ...others } = data
      expect(standardPayloadSchema.safeParse({ ...rest, data: others }).success).toBe(false)
    }
  })

  it('is a JSON Schema too, for those who use another language', () => {
    const ajv = new Ajv2020({ strict: false })
    addFormats.default(ajv)
    const isValid = ajv.compile(z.toJSONSchema(standardPayloadSchema))
    for (const type of EVENT_TYPES) expect(isValid(render(sampleInput({ type })))).toBe(true)
    expect(isValid({ type: 'sms_received', timestamp: '2026-11-21', data: {} })).toBe(false)
  })
})
