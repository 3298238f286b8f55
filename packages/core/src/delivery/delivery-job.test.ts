import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sampleEvent } from '../../test/sample-event.ts'
import { createDeliveryJob, decodeEvent, parseDeliveryJob } from './delivery-job.ts'

const ref = {
  deliveryId: 'dlv_1',
  destinationId: 'dst_1',
  createdAtMs: 1,
  priorAttempts: 0,
  requeued: false,
}

/** As it comes back from Redis. */
function travel(payload: Buffer, carry: 'small' | 'all') {
  const job = createDeliveryJob(ref, sampleEvent({ payload }), carry)
  return parseDeliveryJob(JSON.parse(JSON.stringify(job)))
}

describe('the payload of a job', () => {
  it('comes back byte for byte, whatever the bytes', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.string({ unit: 'grapheme', maxLength: 30 }).map((text) => Buffer.from(text)),
      fc.constantFrom(
        Buffer.from('\uFEFFbom'),
        Buffer.from([0xed, 0xa0, 0x80]),
        Buffer.from([0xc0, 0x80]),
        Buffer.from('a\0b'),
        Buffer.from('['.repeat(10_000)),
        Buffer.alloc(0),
      ),
    )
    fc.assert(
      fc.property(bytes, (payload) => {
        const decoded = decodeEvent(travel(Buffer.from(payload), 'small').event)
        expect(decoded?.payload.equals(payload)).toBe(true)
        expect(decoded).toEqual(sampleEvent({ payload: Buffer.from(payload) }))
      }),
    )
  })

  it('travels up to 16 KB of bytes, text or not, and is left in Postgres beyond', () => {
    for (const byte of [0x61, 0xff]) {
      const largest = travel(Buffer.alloc(16_384, byte), 'small')
      expect(decodeEvent(largest.event)?.payload.length).toBe(16_384)
      const larger = travel(Buffer.alloc(16_385, byte), 'small')
      expect(larger.event.payload).toBeNull()
      expect(decodeEvent(larger.event)).toBeUndefined()
    }
  })

  it('travels whole, however large, when Postgres cannot be asked later', () => {
    const payload = Buffer.alloc(300_000, 0xff)
    expect(decodeEvent(travel(payload, 'all').event)?.payload.equals(payload)).toBe(true)
  })

  it('counts bytes, not characters', () => {
    expect(travel(Buffer.from('☎'.repeat(6_000)), 'small').event.payload).toBeNull()
  })
})

describe('a job that this version did not write', () => {
  const job = JSON.parse(JSON.stringify(createDeliveryJob(ref, sampleEvent(), 'small')))

  it.each([
    ['nothing', undefined],
    ['null', null],
    ['a text', 'x'],
    ['an empty object', {}],
    ['another version', { ...job, v: 2 }],
    ['a missing field', { ...job, destinationId: undefined }],
    ['a wrong type', { ...job, createdAtMs: '1' }],
    ['an unknown provider', { ...job, event: { ...job.event, provider: 'fax' } }],
    ['an unknown event type', { ...job, event: { ...job.event, type: 'fax_received' } }],
    ['an unknown encoding', { ...job, event: { ...job.event, encoding: 'hex' } }],
  ])('is refused: %s', (_what, data) => {
    expect(() => parseDeliveryJob(data)).toThrow()
  })

  it('is read all the same when a newer version only added something', () => {
    expect(parseDeliveryJob({ ...job, extra: 1 })).toEqual(job)
  })
})
