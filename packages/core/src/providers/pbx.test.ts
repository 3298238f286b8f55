import { stringify } from 'node:querystring'
import { describe, expect, it } from 'vitest'
import { pbx } from './pbx.ts'
import { MalformedPayloadError } from './provider.ts'

const message = {
  service_id: 'SVC123',
  from: '61491570006',
  sms_number: '61491570017',
  body: 'Test Message & more',
  message_id: '297abf7f-99d9-4b7d-9c46-1d7c13687b11',
  timestamp: '1576391654',
  webhook_url: 'https://attacker.example/steal',
  webhook_url_fallback: 'attacker@example.com',
}

const read = (fields: Record<string, string | string[] | undefined>) =>
  pbx.read(Buffer.from(stringify(fields)), 'application/x-www-form-urlencoded')

describe('the PBX’s form', () => {
  it('is a message, with the service and the time that the PBX names', () => {
    expect(read(message)).toEqual([
      {
        type: 'sms_received',
        dedupeKey: message.message_id,
        messageId: message.message_id,
        from: '61491570006',
        to: '61491570017',
        body: 'Test Message & more',
        mediaUrls: [],
        phoneNumber: '+61491570017',
        peerNumber: '+61491570006',
        callSid: null,
        status: '',
        messageStatus: null,
        errorCode: '',
        order: null,
        messageRef: '',
        campaignId: '',
        occurredAt: '2019-12-15T06:34:14.000Z',
        data: { service_id: 'SVC123', timestamp: 1_576_391_654 },
      },
    ])
  })

  it('never says where to deliver: whoever knows the token could name any address', () => {
    expect(JSON.stringify(read(message))).not.toContain('attacker')
  })

  it.each([
    '61491570017',
    '+61491570017',
    '0491570017',
    '0491 570 017',
    '0011 61 491 570 017',
    '(04) 9157-0017',
  ])('spelled %s is for the number as it is registered, the text as it came', (sms_number) => {
    expect(read({ ...message, sms_number })).toMatchObject([
      { to: sms_number, phoneNumber: '+61491570017' },
    ])
  })

  it('may be from a name', () => {
    expect(read({ ...message, from: 'ACME Pty' })).toMatchObject([{ peerNumber: 'ACME Pty' }])
  })

  it('says no time when the PBX says none that is one', () => {
    for (const timestamp of [
      '',
      'now',
      '-1',
      '1e9',
      '1576391654.5',
      '999999999999',
      ['1', '2'].join(),
    ]) {
      const [content] = read({ ...message, timestamp })
      expect(content?.occurredAt).toBeNull()
      expect(content?.data).toEqual({ service_id: 'SVC123' })
    }
  })

  it('is malformed without a number or an id', () => {
    for (const name of ['sms_number', 'message_id']) {
      expect(() => read({ ...message, [name]: '' })).toThrow(MalformedPayloadError)
      expect(() => read({ ...message, [name]: undefined })).toThrow(`${name} is missing`)
    }
    expect(() => pbx.read(Buffer.from([0xff, 0x00]), '')).toThrow(MalformedPayloadError)
  })

  it('is read though its URLs are not escaped, as in the vendor’s own example', () => {
    const body = Buffer.from(
      'sms_number=0491570017&message_id=m1&webhook_url=https://a.example/?b=c&body=hi',
    )
    const opened = pbx.open({ method: 'POST', url: 'https://h/', headers: {}, body })
    expect(opened.contents()).toMatchObject([{ messageId: 'm1', body: 'hi' }])
    expect(opened.claimedNumbers).toEqual(['+61491570017'])
    expect(opened.verify({ verifyKeys: [] }, 0)).toEqual({ ok: true })
    expect(pbx.read(opened.payload, opened.contentType)).toEqual(opened.contents())
  })

  it('is answered exactly 200, with nothing', () => {
    expect(pbx.answer('sms_received')).toEqual({ status: 200, contentType: 'text/plain', body: '' })
  })
})
