import { stringify } from 'node:querystring'
import { contentOf } from '@switchhook/core/providers/content-of'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MESSAGE_FIELDS, sampleEvent } from '../test/sample-delivery.ts'
import { createFallbackMail, type FallbackMailInput } from './fallback-mail.ts'

function mailOf(
  fields: Readonly<Record<string, string>> = {},
  overrides: Partial<FallbackMailInput> = {},
) {
  const event = sampleEvent({ payload: Buffer.from(stringify({ ...MESSAGE_FIELDS, ...fields })) })
  return createFallbackMail({
    deliveryId: 'dlv_1',
    to: 'owner@customer.example',
    reason: 'The destination answered 500.',
    attempts: 10,
    event,
    content: contentOf(event),
    serviceId: 'SVC-9',
    webhookUrl: 'https://pbx.example/sms?a=1&b=2',
    publicBaseUrl: 'https://hooks.example',
    replayUrl: 'https://hooks.example/replay/k1.dlv_1.abc.mac',
    replayUntilMs: Date.UTC(2026, 10, 28, 1, 2),
    ...overrides,
  })
}

describe('the mail', () => {
  it('holds the message, every field of the PBX, the last error and the attempts as digits', () => {
    const { text } = mailOf()
    expect(
      text,
    ).toBe(`This sms_received could not be delivered to your webhook after 10 attempts. Nothing else will be sent for it.

Message:

It's working!!!

service_id: SVC-9
from: +17035550630
sms_number: +14155551234
message_id: SM99649d01253fc588396cd1eec8377273
timestamp: 1795222923
webhook_url: https://pbx.example/sms?a=1&b=2
webhook_url_fallback: owner@customer.example
event_type: sms_received
event_id: evt_sample
delivery_id: dlv_1
attempts: 10
last_error: The destination answered 500.

Send it again (one click, until 2026-11-28 01:02 UTC): https://hooks.example/replay/k1.dlv_1.abc.mac
All attempts (with your API key): https://hooks.example/api/v1/deliveries/dlv_1
`)
  })

  it('says in HTML what it says in text', () => {
    const { text, html } = mailOf()
    const facts = text.split('\n').filter((line) => /^[a-z_]+: /.test(line))
    expect(facts).toHaveLength(12)
    for (const fact of facts) {
      const [name, ...value] = fact.split(': ')
      const shown = value.join(': ').replaceAll('&', '&amp;')
      expect(html).toContain(`<th align="left">${name}</th><td>${shown}</td>`)
    }
    expect(html).toContain('It&#39;s working!!!')
  })

  it('has the link that sends it again in both parts', () => {
    const { text, html } = mailOf()
    const url = 'https://hooks.example/replay/k1.dlv_1.abc.mac'
    expect(text).toContain(`UTC): ${url}\n`)
    expect(html).toContain(`<a href="${url}">${url}</a>`)
  })

  it('names event and number in its subject, and the delivery in its id', () => {
    const { subject, messageId, to } = mailOf()
    expect(subject).toBe('[Switchhook] sms_received for +14155551234 was not delivered')
    expect(messageId).toBe('<dlv_1@switchhook>')
    expect(to).toBe('owner@customer.example')
    expect(mailOf().messageId).toBe(messageId)
  })

  it('carries the payload byte for byte', () => {
    const payload = Buffer.from([0, 0xff, 0x0a])
    expect(mailOf({}, { event: sampleEvent({ payload }) }).payload).toBe(payload)
  })

  it('lists the media, and the call where there is one', () => {
    const media = {
      NumMedia: '2',
      MediaUrl0: 'https://m.example/0',
      MediaUrl1: 'https://m.example/1',
    }
    expect(mailOf(media).text).toContain(
      'media_url_0: https://m.example/0\nmedia_url_1: https://m.example/1\n',
    )
    const call = sampleEvent({ callSid: 'CA1' })
    expect(mailOf({}, { event: call }).text).toContain('\ncall_sid: CA1\n')
  })

  it('leaves the message out when there is none', () => {
    expect(mailOf({ Body: '' }).text).not.toContain('Message:')
    expect(mailOf({ Body: '' }).html).not.toContain('<pre')
  })

  it('names the tenant’s number for an event without a receiver', () => {
    const content = { ...contentOf(sampleEvent()), to: '' }
    const named = mailOf({}, { content })
    expect(named.subject).toContain('+14155551234')
    expect(named.text).toContain('sms_number: +14155551234')
    const event = sampleEvent({ phoneNumber: null })
    expect(mailOf({}, { content, event }).subject).toContain('for evt_sample was')
  })

  it('shows a URL of the greatest length whole', () => {
    const webhookUrl = `https://pbx.example/${'x'.repeat(2_028)}`
    expect(mailOf({}, { webhookUrl }).text).toContain(`webhook_url: ${webhookUrl}\n`)
  })
})

describe('what came from outside', () => {
  it('cannot begin a header: no line end, no control character in the subject', () => {
    const { subject } = mailOf({ To: '+1\r\nBcc: evil@z.example\r\n\r\n\0\x1b[31m' })
    expect(subject).toBe(
      '[Switchhook] sms_received for +1 Bcc: evil@z.example [31m was not delivered',
    )
  })

  it('cannot fake a fact: the values of fields stay on their line', () => {
    const { text } = mailOf({ From: '+1\nattempts: 0\nlast_error: none' })
    expect(text.match(/^attempts: /gm)).toHaveLength(1)
    expect(text).toContain('\nattempts: 10\n')
  })

  it('is text in the HTML part, wherever it stands', () => {
    const evil = '<img src=x onerror=alert(1)>"\'&<script>'
    const { html } = mailOf(
      { Body: evil, From: evil, To: evil, MessageSid: evil },
      { serviceId: evil, webhookUrl: evil, reason: evil, to: evil, publicBaseUrl: evil },
    )
    expect(html).not.toContain('<img')
    expect(html).not.toContain('<script')
    expect(html).toContain('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;&lt;script&gt;')
  })

  it('keeps its lines and tabs in the message, without control characters', () => {
    const { text } = mailOf({ Body: 'one\r\ntwo\n\tthree\0\x1b[2J\x7f\x9b4\u2028five 🎉' })
    expect(text).toContain('\n\none\ntwo\n\tthree[2J4\u2028five 🎉\n\n')
  })

  it('never puts a control character or half a character anywhere', () => {
    const any = fc
      .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 30 })
      .map((units) => String.fromCharCode(...units))
    fc.assert(
      fc.property(any, any, any, any, (body, number, reason, url) => {
        const fields = { Body: body.toWellFormed(), To: `+${number.toWellFormed()}` }
        const mail = mailOf(fields, { reason, webhookUrl: url, to: number })
        for (const part of [mail.subject, mail.text, mail.html]) {
          expect(part.isWellFormed()).toBe(true)
          expect(part).not.toMatch(/[^\P{Cc}\t\n]/u)
        }
        expect(mail.subject).not.toMatch(/[\r\n\t]/)
      }),
    )
  })

  it('is bounded in the subject, and not cut within a character', () => {
    for (const prefix of ['', 'x']) {
      const { subject } = mailOf({ To: prefix + '🎉'.repeat(300) })
      expect(subject.length).toBeLessThanOrEqual(200)
      expect(subject.isWellFormed()).toBe(true)
    }
  })
})
