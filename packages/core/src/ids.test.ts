import { hash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { deliveryId, eventId, randomId, randomText } from './ids.ts'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'

/** RFC 4648 base32 the slow way: bit by bit. */
function base32(bytes: Buffer): string {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  const groups = bits.match(/.{1,5}/g) ?? []
  return groups.map((group) => LETTERS[Number.parseInt(group.padEnd(5, '0'), 2)]).join('')
}

describe('an event id', () => {
  it('is the same for every copy of a webhook: base32 of half a SHA-256', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (organization, provider, key) => {
        const digest = hash('sha256', [organization, provider, key].join('\0'), 'buffer')
        const expected = `evt_${base32(digest.subarray(0, 16))}`
        expect(eventId(organization, provider, key)).toBe(expected)
      }),
    )
  })

  it('differs by organization, by provider, by key, and by where one part ends', () => {
    const ids = [
      eventId('org_a', 'twilio', 'SM1'),
      eventId('org_b', 'twilio', 'SM1'),
      eventId('org_a', 'telnyx', 'SM1'),
      eventId('org_a', 'twilio', 'SM1.sent'),
      eventId('org_at', 'wilio', 'SM1'),
      eventId('org_a', 'twilioS', 'M1'),
    ]
    expect(new Set(ids).size).toBe(ids.length)
  })
})

describe('a delivery id', () => {
  it('is one that BullMQ takes: no colon, not all digits, none of its own key names', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (event, destination) => {
        expect(deliveryId(event, destination)).toMatch(/^dlv_[a-z2-7]{26}$/)
      }),
    )
  })

  it('differs by event and by destination, and is never an event’s', () => {
    const id = deliveryId('evt_1', 'dst_1')
    expect(deliveryId('evt_1', 'dst_1')).toBe(id)
    expect(deliveryId('evt_1', 'dst_2')).not.toBe(id)
    expect(deliveryId('evt_2', 'dst_1')).not.toBe(id)
  })
})

describe('random ids and texts', () => {
  it('have their prefix, their length and no repetition', () => {
    const ids = new Set(Array.from({ length: 1_000 }, () => randomId('dst_')))
    expect(ids.size).toBe(1_000)
    for (const id of ids) expect(id).toMatch(/^dst_[a-z2-7]{26}$/)
    expect(randomText(32)).toMatch(/^[a-z2-7]{52}$/)
    expect(randomText(0)).toBe('')
  })
})
