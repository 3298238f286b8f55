import { parse } from 'node:querystring'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sampleEvent } from '../../test/sample-event.ts'
import { twilio } from '../providers/twilio.ts'
import type { RenderInput } from './format.ts'
import { pbx } from './pbx.ts'

const event = sampleEvent()
const input: RenderInput = {
  event,
  content: twilio.read(event.payload, event.contentType),
  destination: { url: 'https://pbx.example/sms?a=1&b=2', fallbackEmail: 'desk@pbx.example' },
  serviceId: 'SVC-9',
}

describe('the PBX form', () => {
  it('has the eight fields in their order, byte for byte', () => {
    const { contentType, userAgent, body } = pbx(input)
    expect(contentType).toBe('application/x-www-form-urlencoded')
    expect(userAgent).toBe('Switchhook/1.0')
    expect(body.toString('latin1')).toBe(
      "service_id=SVC-9&from=%2B17035550630&sms_number=%2B14155551234&body=It's%20working!!!&message_id=SM99649d01253fc588396cd1eec8377273&timestamp=1795222923&webhook_url=https%3A%2F%2Fpbx.example%2Fsms%3Fa%3D1%26b%3D2&webhook_url_fallback=desk%40pbx.example",
    )
  })

  it('sends what is unknown as empty fields, so that all eight are always there', () => {
    const destination = { ...input.destination, fallbackEmail: null }
    const { body } = pbx({ ...input, destination, serviceId: '' })
    expect(Object.keys(parse(body.toString()))).toHaveLength(8)
    expect(parse(body.toString())).toMatchObject({ service_id: '', webhook_url_fallback: '' })
  })

  it('carries any text through a form decoder unchanged', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 30 }), (units) => {
        const well = String.fromCharCode(...units).toWellFormed()
        const { body } = pbx({ ...input, content: { ...input.content, body: well } })
        expect(parse(body.toString('utf8')).body).toBe(well)
        expect(new URLSearchParams(body.toString('utf8')).get('body')).toBe(well)
      }),
    )
  })
})
