import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { parseTelnyxPublicKey } from './telnyx-key.ts'

const bytesOf = (key: KeyObject): Buffer =>
  key.export({ format: 'der', type: 'spki' }).subarray(-32)

function encode(y: bigint, isNegative = false): string {
  const bytes = Buffer.from(y.toString(16).padStart(64, '0'), 'hex').reverse()
  bytes.writeUInt8(bytes.readUInt8(31) | (isNegative ? 0x80 : 0), 31)
  return bytes.toString('base64')
}

const P = 2n ** 255n - 19n

describe('a public key of Telnyx', () => {
  it('is base64 of 32 bytes, as Mission Control shows it', () => {
    for (let count = 0; count < 50; count += 1) {
      const raw = bytesOf(generateKeyPairSync('ed25519').publicKey)
      const key = parseTelnyxPublicKey(raw.toString('base64'))
      expect(key && bytesOf(key)).toEqual(raw)
    }
    expect(parseTelnyxPublicKey('ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=')).toBeDefined()
  })

  it('is refused as PEM, in hex, unpadded, in base64url, or of another length', () => {
    const { publicKey } = generateKeyPairSync('ed25519')
    const right = bytesOf(publicKey).toString('base64')
    for (const wrong of [
      publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      publicKey.export({ format: 'der', type: 'spki' }).toString('base64'),
      bytesOf(publicKey).toString('hex'),
      right.slice(0, -1),
      ` ${right}`,
      `${right}\n`,
      Buffer.from(bytesOf(publicKey).subarray(1)).toString('base64'),
      'ebVWLo_mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ=',
      '',
    ]) {
      expect(parseTelnyxPublicKey(wrong)).toBeUndefined()
    }
  })

  it('is refused when it is a point of small order, with which others could sign, however it is spelled', () => {
    const ofOrder8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n
    // The list that libsodium refuses (ge25519_has_small_order).
    const libsodium = [
      '0000000000000000000000000000000000000000000000000000000000000000',
      '0100000000000000000000000000000000000000000000000000000000000000',
      '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
      'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
      'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
      'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    ].map((hex) => Buffer.from(hex, 'hex'))
    for (const key of libsodium) {
      expect(parseTelnyxPublicKey(key.toString('base64'))).toBeUndefined()
      key.writeUInt8(key.readUInt8(31) | 0x80, 31)
      expect(parseTelnyxPublicKey(key.toString('base64'))).toBeUndefined()
    }
    for (const y of [0n, 1n, P - 1n, P, P + 1n, ofOrder8, P - ofOrder8]) {
      expect(parseTelnyxPublicKey(encode(y))).toBeUndefined()
      expect(parseTelnyxPublicKey(encode(y, true))).toBeUndefined()
    }
  })

  it('is refused when it is no point of the curve, or spelled with more than the prime', () => {
    const known = [2n, 7n, 8n, 13n].map((y) => parseTelnyxPublicKey(encode(y)))
    expect(known).toEqual([undefined, undefined, undefined, undefined])
    for (let y = P; y < P + 19n; y += 1n) {
      expect(parseTelnyxPublicKey(encode(y))).toBeUndefined()
    }
  })
})
