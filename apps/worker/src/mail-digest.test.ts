import { stringify } from 'node:querystring'
import type { DigestLine } from '@switchhook/core/store/mail-digest-lines'
import { describe, expect, it } from 'vitest'
import { MESSAGE_FIELDS, RECEIVED_AT_MS, sampleEvent } from '../test/sample-delivery.ts'
import { createDigestMail, type DigestMailInput, toDigestEntry } from './mail-digest.ts'

function lineOf(index: number, fields: Readonly<Record<string, string>> = {}): DigestLine {
  const payload = Buffer.from(stringify({ ...MESSAGE_FIELDS, ...fields }))
  const whole = sampleEvent({ id: `evt_${index}`, payload })
  return {
    deliveryId: `dlv_${index}`,
    createdAtMs: RECEIVED_AT_MS,
    attempts: 10,
    reason: 'The destination answered 500.',
    event: { ...whole, whole },
  }
}

function mailOf(lines: readonly DigestLine[], overrides: Partial<DigestMailInput> = {}) {
  return createDigestMail({
    digestId: 'dig_1',
    to: 'owner@customer.example',
    destinationId: 'dst_1',
    destinationName: 'Orders',
    entries: lines.map(toDigestEntry),
    total: lines.length,
    replayUrl: 'https://hooks.example/replay/k1.dig_1.abc.mac',
    replayUntilMs: Date.UTC(2026, 10, 28, 1, 2),
    publicBaseUrl: 'https://hooks.example',
    ...overrides,
  })
}

const many = (count: number) => Array.from({ length: count }, (_, index) => lineOf(index))

describe('a digest', () => {
  it('says for each delivery when, what, who, the message and why', () => {
    const { subject, text, messageId } = mailOf(many(2))
    expect(subject).toBe('[Switchhook] 2 deliveries to Orders were not made')
    expect(messageId).toBe('<dig_1@switchhook>')
    expect(
      text,
    ).toBe(`2 more deliveries to your destination "Orders" (dst_1) could not be made. Nothing else will be sent for them.

Send all of them again (one click, until 2026-11-28 01:02 UTC): https://hooks.example/replay/k1.dig_1.abc.mac

2026-11-21 01:02 UTC  sms_received  +17035550630 to +14155551234
  It's working!!!
  event_id: evt_0
  delivery_id: dlv_0
  attempts: 10
  last_error: The destination answered 500.

2026-11-21 01:02 UTC  sms_received  +17035550630 to +14155551234
  It's working!!!
  event_id: evt_1
  delivery_id: dlv_1
  attempts: 10
  last_error: The destination answered 500.

All of them (with your API key): https://hooks.example/api/v1/deliveries?destination=dst_1&state=emailed
`)
  })

  it('shows a hundred, attaches the others, and counts what fits nowhere', () => {
    const { text, html, payload } = mailOf(many(150), { total: 5_000 })
    expect(text.match(/^ {2}event_id: /gm)).toHaveLength(100)
    expect(text).toContain('50 more are in payload.json.\n4850 more are listed by the API only.\n')
    expect(html.match(/event_id: /g)).toHaveLength(100)
    expect(html).toContain('<p>50 more are in payload.json.</p>')
    const attached = JSON.parse(String(payload))
    expect(attached).toMatchObject({ digest_id: 'dig_1', total: 5_000 })
    expect(attached.deliveries).toHaveLength(150)
    expect(attached.deliveries[149]).toEqual({
      delivery_id: 'dlv_149',
      event_id: 'evt_149',
      event_type: 'sms_received',
      received_at: '2026-11-21T01:02:03.456Z',
      from: '+17035550630',
      sms_number: '+14155551234',
      message_id: MESSAGE_FIELDS.MessageSid,
      body: "It's working!!!",
      media_urls: [],
      attempts: 10,
      last_error: 'The destination answered 500.',
    })
  })

  it('names a delivery whose payload is gone, large, or cannot be read', () => {
    const { event, ...line } = lineOf(1)
    const gone: DigestLine = { ...line, event: { ...event, whole: undefined } }
    const unreadable = lineOf(2)
    const broken = sampleEvent({ id: 'evt_2', payload: Buffer.from('no=receiver') })
    const { text } = mailOf([gone, { ...unreadable, event: { ...broken, whole: broken } }])
    expect(text).toContain('  event_id: evt_1\n')
    expect(text).toContain('  event_id: evt_2\n')
  })

  it('is text whatever the messages and names hold: no tag, no header, no line of its own', () => {
    const evil = '<img src=x onerror=alert(1)>\r\nevent_id: evt_fake\0\x1b[2J"\''
    const mail = mailOf([lineOf(1, { Body: evil, From: evil, To: evil })], {
      destinationName: `${evil}\r\nBcc: evil@z.example`,
    })
    expect(mail.html).not.toContain('<img')
    expect(mail.html).toContain('&lt;img src=x onerror=alert(1)&gt;')
    expect(mail.text.match(/^\s*event_id: /gm)).toHaveLength(1)
    for (const part of [mail.subject, mail.text, mail.html]) {
      expect(part).not.toMatch(/[^\P{Cc}\t\n]/u)
    }
    expect(mail.subject).not.toMatch(/[\r\n]/)
  })

  it('bounds what one delivery takes, and cuts no character in half', () => {
    const entry = toDigestEntry(lineOf(1, { Body: `x${'🎉'.repeat(20_000)}` }))
    expect(String(entry.body).length).toBeLessThanOrEqual(2_000)
    expect(String(entry.body).isWellFormed()).toBe(true)
  })
})
