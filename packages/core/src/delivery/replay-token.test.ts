import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { deliveryId, digestId } from '../ids.ts'
import { parseKeyRing } from '../secrets.ts'
import { openReplayToken, signReplayToken } from './replay-token.ts'

const NOW_MS = Date.UTC(2026, 10, 21)
const WEEK_MS = 7 * 86_400_000
const subject = deliveryId('evt_1', 'dst_1')
const old = `k1:${randomBytes(32).toString('base64')}`
const ring = parseKeyRing(old)
const token = signReplayToken(ring, subject, NOW_MS + WEEK_MS)

describe('a replay token', () => {
  it('names what it replays, and is safe in a path', () => {
    expect(openReplayToken(ring, token, NOW_MS)).toEqual({ kind: 'valid', subject })
    expect(encodeURIComponent(token)).toBe(token)
    const digest = digestId('dst_1', 'a@b.example', NOW_MS)
    const ofDigest = signReplayToken(ring, digest, NOW_MS + 1_000)
    expect(openReplayToken(ring, ofDigest, NOW_MS)).toEqual({ kind: 'valid', subject: digest })
  })

  it('ends when it says', () => {
    const at = (nowMs: number) => openReplayToken(ring, token, nowMs).kind
    expect(at(NOW_MS + WEEK_MS - 1)).toBe('valid')
    expect(at(NOW_MS + WEEK_MS)).toBe('expired')
  })

  it('holds after the keys were rotated, until its key is taken out', () => {
    const rotated = parseKeyRing(`k2:${randomBytes(32).toString('base64')},${old}`)
    expect(openReplayToken(rotated, token, NOW_MS).kind).toBe('valid')
    const fresh = signReplayToken(rotated, subject, NOW_MS + WEEK_MS)
    expect(fresh.startsWith('k2.')).toBe(true)
    expect(openReplayToken(ring, fresh, NOW_MS)).toEqual({ kind: 'forged' })
  })

  it('of another key with the same name is forged', () => {
    const other = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
    expect(openReplayToken(other, token, NOW_MS)).toEqual({ kind: 'forged' })
  })

  it('is forged when any character of it is another, also its end', () => {
    fc.assert(
      fc.property(
        fc.nat(token.length - 1),
        fc.constantFrom(...'abcdefgh01234567.-_ABC'),
        (index, other) => {
          fc.pre(token[index] !== other)
          const changed = token.slice(0, index) + other + token.slice(index + 1)
          const opened = openReplayToken(ring, changed, NOW_MS)
          // The last character carries two bits that say nothing: the same MAC has four spellings.
          const isSameMac =
            index === token.length - 1 &&
            Buffer.from(changed.slice(-43), 'base64url').equals(
              Buffer.from(token.slice(-43), 'base64url'),
            )
          expect(opened.kind).toBe(isSameMac ? 'valid' : 'forged')
        },
      ),
    )
  })

  it('never throws, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 250 }), (text) => {
        expect(openReplayToken(ring, text, NOW_MS)).toEqual({ kind: 'forged' })
      }),
    )
  })
})
