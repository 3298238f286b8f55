import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'

/** Standard Webhooks: `whsec_` is a shared secret, `whsk_` and `whpk_` are the halves of an ed25519 pair. */
const SECRET_PREFIX = 'whsec_'
const PRIVATE_PREFIX = 'whsk_'
const PUBLIC_PREFIX = 'whpk_'
const SECRET_BYTES = 32
const SEED_BYTES = 32
/** RFC 8410: what comes before the 32 bytes of an ed25519 private key in PKCS #8. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b657004220420', 'hex')

/** A new secret, `whsec_` + base64 of 32 random bytes (standard-webhooks spec, "Signature scheme"). */
export function createSigningSecret(): string {
  return SECRET_PREFIX + randomBytes(SECRET_BYTES).toString('base64')
}

/** `whpk_` + base64 of the 32 bytes of the public key that belongs to a private or public one. */
function publicKeyText(key: KeyObject): string {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' })
  return PUBLIC_PREFIX + Buffer.from(x, 'base64url').toString('base64')
}

/** A new ed25519 pair: `whsk_` + base64 of the seed and the public key (libsodium's form), `whpk_` + the latter. */
export function createSigningPair(): { readonly privateKey: string; readonly publicKey: string } {
  const { privateKey } = generateKeyPairSync('ed25519')
  const { d = '', x = '' } = privateKey.export({ format: 'jwk' })
  const bytes = Buffer.concat([Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')])
  return {
    privateKey: PRIVATE_PREFIX + bytes.toString('base64'),
    publicKey: publicKeyText(privateKey),
  }
}

/**
 * The key in a `whsec_` secret (the decoded bytes, not the text) or in a `whsk_` one. Make it once: a KeyObject signs
 * five times faster than bytes. Throws, without repeating the text, for anything else.
 */
export function signingKey(secret: string): KeyObject {
  if (secret.startsWith(SECRET_PREFIX)) {
    return createSecretKey(Buffer.from(secret.slice(SECRET_PREFIX.length), 'base64'))
  }
  if (secret.startsWith(PRIVATE_PREFIX)) {
    const bytes = Buffer.from(secret.slice(PRIVATE_PREFIX.length), 'base64')
    if (bytes.length === SEED_BYTES || bytes.length === 2 * SEED_BYTES) {
      const der = Buffer.concat([PKCS8_HEAD, bytes.subarray(0, SEED_BYTES)])
      return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    }
  }
  throw new Error('a signing secret starts with "whsec_" or "whsk_"')
}

/** `v1` is HMAC-SHA256, `v1a` ed25519: which one is the key's to say, never the message's. */
function signatureOf(key: KeyObject, head: Buffer, body: Buffer): string {
  if (key.type === 'secret') {
    return `v1,${createHmac('sha256', key).update(head).update(body).digest('base64')}`
  }
  return `v1a,${sign(null, Buffer.concat([head, body]), key).toString('base64')}`
}

/**
 * The Standard Webhooks headers of one attempt. `id` stays over all attempts (receivers dedupe on it), the time is
 * the attempt's. One signature per key, so that old and new hold during a rotation, and a receiver picks its scheme.
 */
export function signatureHeaders(
  keys: readonly KeyObject[],
  id: string,
  attemptedAtMs: number,
  body: Buffer,
): Record<'webhook-id' | 'webhook-timestamp' | 'webhook-signature', string> {
  const timestamp = String(Math.floor(attemptedAtMs / 1000))
  const head = Buffer.from(`${id}.${timestamp}.`)
  return {
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': keys.map((key) => signatureOf(key, head, body)).join(' '),
  }
}
