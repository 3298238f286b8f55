import { describe, expect, it } from 'vitest'
import { kudosity } from './kudosity.ts'
import type { EventContent } from './provider.ts'
import { MalformedPayloadError } from './provider.ts'

function read(event: object): EventContent {
  const [content, ...others] = kudosity.read(Buffer.from(JSON.stringify(event)), 'application/json')
  expect(others).toEqual([])
  if (content === undefined) throw new Error('no event')
  return content
}

const last_message = {
  type: 'SMS',
  id: '85fdf391-cfd8-4340-b004-419223c84e83',
  message: 'Reply YES',
  message_ref: 'order-9931:cust-4471',
  recipient: '61491570006',
  sender: '61491570017',
  routed_via: '61491570099',
}
const inbound = {
  event_type: 'SMS_INBOUND',
  timestamp: '2026-11-21T01:00:00Z',
  webhook_id: '8aa2842d-8931-4f6f-b55a-826a6698699a',
  webhook_name: 'gateway-prod',
  mo: {
    type: 'SMS',
    id: 'dfbc7499-d4ef-4c2b-af4e-703935db4d5f',
    message: 'YES ',
    sender: '61491570006',
    recipient: '61491570017',
    routed_via: '61491570099',
    last_message,
  },
}
const status = {
  event_type: 'SMS_STATUS',
  timestamp: '2026-11-21T01:00:05Z',
  status: {
    type: 'SMS',
    id: last_message.id,
    message_ref: 'order-9931:cust-4471',
    recipient: '61491570006',
    sender: '61491570017',
    status: 'DELIVERED',
  },
}
const hit = {
  event_type: 'LINK_HIT',
  timestamp: '2026-11-21T01:00:07.123456Z',
  link_hit: {
    hits: 2,
    url: 'https://www.example.com/abc',
    source_message: {
      type: 'MMS',
      id: 'b50e4dc1-e57f-459c-a15c-526bee00a4c4',
      message: 'See https://clk.example/x',
      message_ref: 'D701',
      recipient: '61491570006',
      sender: '61491570017',
      subject: 'Hello',
      content_urls: ['https://cdn.example/a.jpg'],
    },
  },
}
const optOut = {
  event_type: 'OPT_OUT',
  timestamp: '2026-11-21T01:00:08Z',
  opt_out: { source: 'SMS_INBOUND', source_message: { ...last_message, id: 'm9' } },
}

describe('SMS_INBOUND and MMS_INBOUND', () => {
  it('are messages to the tenant, whose number gets the plus that Kudosity leaves out', () => {
    const content = read(inbound)
    expect(content).toEqual({
      type: 'sms_received',
      dedupeKey: content.dedupeKey,
      messageId: 'dfbc7499-d4ef-4c2b-af4e-703935db4d5f',
      from: '61491570006',
      to: '61491570017',
      body: 'YES ',
      mediaUrls: [],
      phoneNumber: '+61491570017',
      peerNumber: '+61491570006',
      callSid: null,
      status: '',
      messageStatus: null,
      errorCode: '',
      order: null,
      messageRef: 'order-9931:cust-4471',
      campaignId: '',
      occurredAt: '2026-11-21T01:00:00.000Z',
      data: { last_message, routed_via: '61491570099' },
    })
  })

  it('carry media within, and may have neither text nor last message', () => {
    const mo = {
      type: 'MMS',
      id: 'abc123@mmsc.example',
      sender: '+61491570006',
      recipient: '61491570017',
      media: [{ name: 'cute.png', content: 'iVBORw0KGgo=' }, null, 7],
    }
    expect(read({ ...inbound, event_type: 'MMS_INBOUND', mo })).toMatchObject({
      type: 'mms_received',
      messageId: 'abc123@mmsc.example',
      body: '',
      mediaUrls: [],
      peerNumber: '+61491570006',
      messageRef: '',
      data: { media: [{ name: 'cute.png', content: 'iVBORw0KGgo=' }, {}, {}] },
    })
  })

  it('of two MiB are read', () => {
    const media = [{ name: 'big.png', content: 'A'.repeat(2 * 1024 * 1024) }]
    const { data } = read({ ...inbound, event_type: 'MMS_INBOUND', mo: { ...inbound.mo, media } })
    expect(data.media).toEqual(media)
  })

  it('are malformed without an id or a recipient', () => {
    for (const mo of [undefined, null, [], 'mo', {}, { id: 'x' }, { recipient: '61491570017' }]) {
      expect(() => read({ ...inbound, mo })).toThrow(MalformedPayloadError)
    }
  })
})

describe('SMS_STATUS and MMS_STATUS', () => {
  it('are about the tenant’s number as the sender', () => {
    expect(read(status)).toMatchObject({
      type: 'sms_status',
      messageId: last_message.id,
      phoneNumber: '+61491570017',
      peerNumber: '+61491570006',
      status: 'DELIVERED',
      messageStatus: 'DELIVERED',
      order: { subject: `message.${last_message.id}`, rank: 5 },
      messageRef: 'order-9931:cust-4471',
      data: {},
    })
    const mms = {
      ...status.status,
      status: 'SENT',
      description: 'Sent to carrier',
      routed_via: '1',
    }
    expect(read({ ...status, event_type: 'MMS_STATUS', status: mms })).toMatchObject({
      type: 'mms_status',
      messageStatus: 'SENT',
      order: { rank: 2 },
      data: { description: 'Sent to carrier', routed_via: '1' },
    })
  })

  it('of a text sender name it as it is', () => {
    const named = { ...status, status: { ...status.status, sender: 'ACME', campaign_id: 'c7' } }
    expect(read(named)).toMatchObject({ phoneNumber: 'ACME', from: 'ACME', campaignId: 'c7' })
  })

  it('of a word that is new are OTHER, and stand before all others', () => {
    const other = { ...status, status: { ...status.status, status: 'constructor' } }
    expect(read(other)).toMatchObject({ messageStatus: 'OTHER', order: { rank: 0 } })
  })
})

describe('LINK_HIT and OPT_OUT', () => {
  it('are about the message that was sent', () => {
    expect(read(hit)).toMatchObject({
      type: 'link_hit',
      messageId: hit.link_hit.source_message.id,
      phoneNumber: '+61491570017',
      peerNumber: '+61491570006',
      messageRef: 'D701',
      occurredAt: '2026-11-21T01:00:07.123Z',
      data: hit.link_hit,
    })
    expect(read(optOut)).toMatchObject({
      type: 'opt_out',
      messageId: 'm9',
      phoneNumber: '+61491570017',
      data: { source: 'SMS_INBOUND', source_message: { id: 'm9', message: 'Reply YES' } },
    })
  })

  it('say nothing of hits that are no count', () => {
    const { hits: _, ...rest } = hit.link_hit
    expect(read({ ...hit, link_hit: rest }).data).not.toHaveProperty('hits')
  })
})

describe('the dedupe key', () => {
  it('is the same for a copy, whatever its webhook is called', () => {
    for (const event of [inbound, status, hit, optOut]) {
      expect(read({ ...event, webhook_name: 'other' }).dedupeKey).toBe(read(event).dedupeKey)
    }
  })

  it('differs by type, object, status, source, link, hits and time', () => {
    const variants = [
      ...[inbound, status, hit, optOut],
      { ...inbound, timestamp: '2026-11-21T01:00:01Z' },
      { ...inbound, mo: { ...inbound.mo, id: 'other' } },
      { ...status, status: { ...status.status, status: 'SENT' } },
      { ...status, event_type: 'MMS_STATUS' },
      { ...hit, link_hit: { ...hit.link_hit, hits: 3 } },
      { ...hit, link_hit: { ...hit.link_hit, url: 'https://www.example.com/other' } },
      { ...optOut, opt_out: { ...optOut.opt_out, source: 'LINK_HIT' } },
    ]
    const keys = variants.map((event) => read(event).dedupeKey)
    expect(new Set(keys).size).toBe(variants.length)
  })
})

describe('an event of another type', () => {
  it('is kept with its name, for the number that its object names', () => {
    const rcs = {
      event_type: 'RCS_STATUS',
      timestamp: '2026-11-21T01:00:05Z',
      status: status.status,
    }
    expect(read(rcs)).toMatchObject({
      type: 'unknown',
      phoneNumber: '+61491570017',
      peerNumber: '+61491570006',
      data: { event_type: 'RCS_STATUS' },
    })
    const whatsapp = { event_type: 'WHATSAPP_INBOUND', mo: { ...inbound.mo } }
    expect(read(whatsapp)).toMatchObject({ type: 'unknown', phoneNumber: '+61491570017' })
    expect(read({ event_type: 'toString' })).toMatchObject({ type: 'unknown', phoneNumber: null })
  })

  it('is malformed without a name', () => {
    for (const event of [{}, { event_type: null }, { event_type: ['SMS_INBOUND'] }, []]) {
      expect(() => read(event)).toThrow(MalformedPayloadError)
    }
  })
})

describe('a V2 webhook', () => {
  const body = Buffer.from(JSON.stringify(inbound))
  const headers = { 'content-type': 'application/json' }
  const opened = kudosity.open({ method: 'POST', url: 'https://h/', headers, body })

  it('is unsigned: it holds for whoever knows the token', () => {
    expect(opened.verify({ verifyKeys: [] }, 0)).toEqual({ ok: true })
    expect(opened.claimedNumbers).toEqual(['+61491570017'])
    expect(opened.claimedAccountSid).toBeNull()
  })

  it('is kept byte for byte, and reads the same ever after', () => {
    expect(opened.payload).toBe(body)
    expect(kudosity.read(opened.payload, opened.contentType)).toEqual(opened.contents())
    expect(kudosity.answer('sms_received')).toMatchObject({ status: 200 })
  })
})
