import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decryptSecret, encryptSecret, parseKeyRing } from './secrets.ts'

const keyText = (kid: string) => `${kid}:${randomBytes(32).toString('base64')}`
const first = keyText('k1')
const ring = parseKeyRing(first)

/** The message of what it throws. */
function errorOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    return String(error)
  }
  return 'nothing was thrown'
}

describe('a sealed secret', () => {
  it('opens to what it was, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string(), (plain, row) => {
        expect(decryptSecret(ring, encryptSecret(ring, plain, row), row)).toBe(plain)
      }),
    )
  })

  it('never looks the same twice, and shows nothing of its text', () => {
    const sealed = encryptSecret(ring, 'the auth token', 'pac_1.auth_token')
    expect(encryptSecret(ring, 'the auth token', 'pac_1.auth_token')).not.toBe(sealed)
    expect(sealed).toMatch(/^k1\.[\w-]{16}\.[\w-]+$/)
    expect(Buffer.from(sealed.split('.')[2] ?? '', 'base64url').includes('token')).toBe(false)
  })

  it('does not open in another row or column', () => {
    const sealed = encryptSecret(ring, 'secret', 'pac_1.auth_token')
    expect(() => decryptSecret(ring, sealed, 'pac_2.auth_token')).toThrow()
    expect(() => decryptSecret(ring, sealed, 'pac_1.secondary_auth_token')).toThrow()
    expect(() => decryptSecret(ring, sealed, '')).toThrow()
  })

  it('does not open when any of its characters was changed', () => {
    const sealed = encryptSecret(ring, 'secret', 'row')
    for (let index = 0; index < sealed.length; index += 1) {
      const other = sealed[index] === 'A' ? 'B' : 'A'
      const tampered = sealed.slice(0, index) + other + sealed.slice(index + 1)
      // The last character of base64 may hold bits that no byte has.
      const isSameBytes = bytesOf(tampered) === bytesOf(sealed)
      if (!isSameBytes) expect(() => decryptSecret(ring, tampered, 'row')).toThrow()
    }
  })

  it('does not open when it was cut, down to no tag at all', () => {
    const [kid, iv, body = ''] = encryptSecret(ring, 'secret', 'row').split('.')
    for (let length = 0; length < body.length - 1; length += 1) {
      expect(() => decryptSecret(ring, `${kid}.${iv}.${body.slice(0, length)}`, 'row')).toThrow()
    }
  })

  it('that is none, but a secret in clear, is not repeated in the error', () => {
    for (const clear of ['0123456789abcdef0123456789abcdef', 'a.secret', 'a.b.c.secret', '']) {
      const message = errorOf(() => decryptSecret(ring, clear, 'row'))
      expect(message).toBe('Error: not an encrypted secret')
    }
  })
})

function bytesOf(envelope: string): string {
  const [kid, iv = '', body = ''] = envelope.split('.')
  return `${kid} ${Buffer.from(iv, 'base64url').toString('hex')} ${Buffer.from(body, 'base64url').toString('hex')}`
}

describe('the key ring', () => {
  it('encrypts with its first key and decrypts with all: a key is rotated in two steps', () => {
    const second = keyText('k2')
    const old = encryptSecret(ring, 'secret', 'row')
    const rotated = parseKeyRing(`${second}, ${first}`)
    expect(decryptSecret(rotated, old, 'row')).toBe('secret')
    const fresh = encryptSecret(rotated, 'secret', 'row')
    expect(fresh).toMatch(/^k2\./)
    const withoutOld = parseKeyRing(second)
    expect(decryptSecret(withoutOld, fresh, 'row')).toBe('secret')
    expect(errorOf(() => decryptSecret(withoutOld, old, 'row'))).toContain('"k1"')
  })

  it('does not open what another key of the same name sealed', () => {
    const sealed = encryptSecret(ring, 'secret', 'row')
    expect(() => decryptSecret(parseKeyRing(keyText('k1')), sealed, 'row')).toThrow()
  })

  const short = randomBytes(31).toString('base64')
  const long = randomBytes(33).toString('base64')
  const good = randomBytes(32).toString('base64')
  it.each([
    ['nothing', '', 1],
    ['a key without a name', good, 1],
    ['an empty name', `:${good}`, 1],
    ['a name with a dot, which the envelope could not tell apart', `k.1:${good}`, 1],
    ['a key too short', `k1:${short}`, 1],
    ['a key too long', `k1:${long}`, 1],
    ['a key that is no base64', `k1:${'!'.repeat(44)}`, 1],
    ['a second entry that is bad', `${first},k2:${short}`, 2],
    ['a trailing comma', `${first},`, 2],
    ['a name given twice', `${first},k1:${good}`, 2],
  ])('refuses %s by its position, never by its content', (_what, text, position) => {
    const message = errorOf(() => parseKeyRing(text))
    expect(message).toContain(`entry ${position} `)
    for (const secret of [short, long, good, first.slice(3)]) {
      expect(message).not.toContain(secret.slice(0, 8))
    }
  })
})
