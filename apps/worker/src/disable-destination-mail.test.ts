import { describe, expect, it } from 'vitest'
import { createNoticeMail } from './disable-destination-mail.ts'

const notice = {
  id: 7,
  kind: 'disabled',
  destinationId: 'dst_a',
  organizationId: 'org_a',
  name: 'Orders <b>"1"</b>\r\nBcc: x@evil.example',
  url: 'https://customer.example/hook?a=1&b=2',
  fallbackEmail: 'owner@customer.example',
  reason: 'It answered 410 Gone.',
  failingSinceMs: null,
  createdAtMs: 0,
} as const

describe('the mail to an owner', () => {
  it('says what happened, why, and what to do, the same in both parts', () => {
    const mail = createNoticeMail(notice, 'owner@customer.example', 'https://hooks.example')
    expect(mail).toMatchObject({ to: 'owner@customer.example', messageId: '<notice-7@switchhook>' })
    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('was disabled')
      expect(part).toContain('It answered 410 Gone.')
      expect(part).toContain('set its status to ')
      expect(part).toContain('https://hooks.example/api/v1/destinations/dst_a')
    }
    expect(mail.text).toContain('https://customer.example/hook?a=1&b=2')
  })

  it('is not led astray by what the destination is called', () => {
    const { subject, html, text } = createNoticeMail(notice, 'a@b.example', 'https://hooks.example')
    expect(subject).not.toMatch(/[\r\n]/)
    expect(text).not.toContain('\nBcc:')
    expect(html).not.toContain('<b>')
    expect(html).toContain('Orders &lt;b&gt;&quot;1&quot;&lt;/b&gt;')
  })
})
