import { createPublicKey, type KeyObject } from 'node:crypto'

const KEY_BYTES = 32
/** DER before the 32 bytes of an ed25519 public key (RFC 8410). */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

/** The curve of RFC 8032: the field's prime, and d of −x² + y² = 1 + d·x²·y². */
const P = 2n ** 255n - 19n
const D = 37095705934669439343138083508754565189542113879843219016388785533085940283555n
/** The y of the points whose order divides eight: with one of these as its key, anybody's signature may hold. */
const Y_OF_ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n
const WEAK_Y: ReadonlySet<bigint> = new Set([0n, 1n, P - 1n, Y_OF_ORDER_8, P - Y_OF_ORDER_8])

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n
  let square = base % P
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % P
    square = (square * square) % P
  }
  return result
}

/** Whether there is an x with this y: x² = (y² − 1) / (d·y² + 1) must be a square (Euler's criterion). */
function isOnCurve(y: bigint): boolean {
  const numerator = (y * y - 1n + P) % P
  const denominator = (D * y * y + 1n) % P
  return power(numerator * denominator, (P - 1n) / 2n) === 1n
}

/** The y coordinate: little-endian, but for the bit that is the sign of x. */
function yOf(key: Buffer): bigint {
  const bytes = Buffer.from(key).reverse()
  bytes.writeUInt8(bytes.readUInt8(0) & 0x7f, 0)
  return BigInt(`0x${bytes.toString('hex')}`)
}

/**
 * The public key as Mission Control shows it: padded base64 of 32 bytes. Undefined for anything else, PEM included, for
 * bytes that are no point of the curve or not its canonical spelling (RFC 8032, 5.1.3), and for points of small order.
 */
export function parseTelnyxPublicKey(base64: string): KeyObject | undefined {
  const key = Buffer.from(base64, 'base64')
  if (key.length !== KEY_BYTES || key.toString('base64') !== base64) return undefined
  const y = yOf(key)
  if (y >= P || WEAK_Y.has(y) || !isOnCurve(y)) return undefined
  return createPublicKey({ key: Buffer.concat([SPKI_PREFIX, key]), format: 'der', type: 'spki' })
}
