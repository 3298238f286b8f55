import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const KEY_BYTES = 32
const IV_BYTES = 12
const TAG_BYTES = 16

/** A key is missing from ENCRYPTION_KEYS, or the sealed text was changed: our own fault, and mended by mending the keys. */
export class UnreadableSecretError extends Error {
  override readonly name = 'UnreadableSecretError'
}

export type KeyRing = {
  readonly firstKeyId: string
  readonly keys: ReadonlyMap<string, Buffer>
}

/**
 * Reads `kid:base64,…` (ENCRYPTION_KEYS): the first key encrypts, all decrypt. Throws with a sentence that
 * names the faulty entry by its position, never by its content.
 */
export function parseKeyRing(text: string): KeyRing {
  const keys = new Map<string, Buffer>()
  for (const [index, entry] of text.split(',').entries()) {
    const match = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]+={0,2})$/.exec(entry.trim())
    const key = Buffer.from(match?.[2] ?? '', 'base64')
    if (match?.[1] === undefined || key.length !== KEY_BYTES) {
      throw new Error(`entry ${index + 1} is not "kid:base64 of ${KEY_BYTES} bytes"`)
    }
    if (keys.has(match[1]))
      throw new Error(`entry ${index + 1} repeats the key id of an earlier one`)
    keys.set(match[1], key)
  }
  const [firstKeyId] = keys.keys()
  if (firstKeyId === undefined) throw new Error('no key given')
  return { firstKeyId, keys }
}

/**
 * AES-256-GCM envelope `kid.iv.ciphertext+tag` (base64url). `boundTo` is authenticated with it: name the row and
 * the column, so that a ciphertext copied to another row does not decrypt.
 */
export function encryptSecret(ring: KeyRing, plain: string, boundTo: string): string {
  const key = ring.keys.get(ring.firstKeyId)
  if (key === undefined) throw new Error('key ring without its first key')
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(Buffer.from(boundTo))
  const sealed = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()])
  return `${ring.firstKeyId}.${iv.toString('base64url')}.${sealed.toString('base64url')}`
}

/** Throws when the key is gone, the text was changed, or it belongs to another row. No message repeats the text. */
export function decryptSecret(ring: KeyRing, envelope: string, boundTo: string): string {
  const [keyId = '', iv = '', sealedText, ...rest] = envelope.split('.')
  // What is no envelope may be a secret that somebody stored in clear.
  if (sealedText === undefined || rest.length > 0) throw new Error('not an encrypted secret')
  const key = ring.keys.get(keyId)
  if (key === undefined)
    throw new Error(`secret was encrypted with key "${keyId}", which ENCRYPTION_KEYS lacks`)
  const sealed = Buffer.from(sealedText, 'base64url')
  const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64url'), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(Buffer.from(boundTo))
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES))
  const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES))
  return Buffer.concat([plain, decipher.final()]).toString('utf8')
}
