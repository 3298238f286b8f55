import { hash, timingSafeEqual } from 'node:crypto'
import { randomText } from './ids.ts'

const ID_CHARACTERS = 12
const ID_BYTES = 8
const SECRET_BYTES = 32
const MAX_SECRET_CHARACTERS = 128

export const API_SCOPES = ['read', 'write', 'admin'] as const
export type ApiScope = (typeof API_SCOPES)[number]

export type NewApiKey = {
  readonly id: string
  readonly secretSha256: Buffer
  /** `swh_<id>_<secret>`: shown to its owner once, kept nowhere. */
  readonly text: string
}

/** The secret has 256 random bits, so that a plain hash protects it. */
export function createApiKey(): NewApiKey {
  const id = randomText(ID_BYTES).slice(0, ID_CHARACTERS)
  const secret = randomText(SECRET_BYTES)
  return { id, secretSha256: hash('sha256', secret, 'buffer'), text: `swh_${id}_${secret}` }
}

/** The two parts of a key; undefined for text that cannot be one. */
export function parseApiKey(text: string): { id: string; secret: string } | undefined {
  const [, id, secret] = /^swh_([a-z2-7]{12})_([a-z2-7]+)$/.exec(text) ?? []
  if (id === undefined || secret === undefined) return undefined
  return secret.length > MAX_SECRET_CHARACTERS ? undefined : { id, secret }
}

/** Takes the same time wherever the difference is. */
export function isSecretOf(secret: string, secretSha256: Buffer): boolean {
  const digest = hash('sha256', secret, 'buffer')
  return digest.length === secretSha256.length && timingSafeEqual(digest, secretSha256)
}

/** `admin` covers everything, `write` covers `read`. */
export function coversScope(held: readonly ApiScope[], needed: ApiScope): boolean {
  if (held.includes('admin') || held.includes(needed)) return true
  return needed === 'read' && held.includes('write')
}
