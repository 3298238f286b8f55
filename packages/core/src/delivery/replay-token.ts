import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { KeyRing } from '../secrets.ts'

/** What a link replays: a delivery, or every one that a digest lists. */
export type ReplaySubject = `dlv_${string}` | `dig_${string}`

export type OpenedReplayToken =
  | { readonly kind: 'valid' | 'expired'; readonly subject: ReplaySubject }
  | { readonly kind: 'forged' }

const MAX_TOKEN_CHARACTERS = 200
const FORM =
  /^([A-Za-z0-9_-]{1,32})\.((?:dlv|dig)_[a-z2-7]{1,64})\.([0-9a-z]{1,12})\.([A-Za-z0-9_-]{43})$/
const FORGED: OpenedReplayToken = { kind: 'forged' }

/** Whoever has a token can do nothing with the key that seals secrets. */
function macOf(key: Buffer, signed: string): Buffer {
  const derived = Buffer.from(hkdfSync('sha256', key, '', 'switchhook replay link', 32))
  return createHmac('sha256', derived).update(signed).digest()
}

/** `kid.subject.expiry.mac`, safe in a path: signed with a key derived from the ring's first. */
export function signReplayToken(ring: KeyRing, subject: string, expiresAtMs: number): string {
  const key = ring.keys.get(ring.firstKeyId)
  if (key === undefined) throw new Error('key ring without its first key')
  const signed = `${ring.firstKeyId}.${subject}.${Math.floor(expiresAtMs / 1000).toString(36)}`
  return `${signed}.${macOf(key, signed).toString('base64url')}`
}

/** Never throws. A token of a key that was taken out of the ring is forged. */
export function openReplayToken(ring: KeyRing, token: string, nowMs: number): OpenedReplayToken {
  if (token.length > MAX_TOKEN_CHARACTERS) return FORGED
  const [, keyId = '', subject, expiry = '', mac = ''] = FORM.exec(token) ?? []
  const key = ring.keys.get(keyId)
  if (key === undefined || subject === undefined) return FORGED
  const expected = macOf(key, `${keyId}.${subject}.${expiry}`)
  if (!timingSafeEqual(expected, Buffer.from(mac, 'base64url'))) return FORGED
  const isLive = Number.parseInt(expiry, 36) * 1000 > nowMs
  return { kind: isLive ? 'valid' : 'expired', subject: subject as ReplaySubject }
}
