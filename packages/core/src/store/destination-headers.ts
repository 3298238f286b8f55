import { z } from 'zod'
import type { Destination } from '../event.ts'
import { decryptSecret, encryptSecret, type KeyRing, UnreadableSecretError } from '../secrets.ts'
import { sealOf } from './config-changes.ts'

const headersSchema = z.record(z.string(), z.string())

export const HEADERS_COLUMN = 'sealed_headers'

/** One envelope for all of them: neither a name nor a value is stored in clear. Null when there is none. */
export function sealHeaders(
  ring: KeyRing,
  id: string,
  headers: Readonly<Record<string, string>>,
): string | null {
  if (Object.keys(headers).length === 0) return null
  return encryptSecret(ring, JSON.stringify(headers), sealOf(id, HEADERS_COLUMN))
}

/** Throws `UnreadableSecretError`. */
export function openHeaders(
  ring: KeyRing,
  { id, headers, sealedHeaders }: Pick<Destination, 'id' | 'headers' | 'sealedHeaders'>,
): Readonly<Record<string, string>> {
  if (sealedHeaders === null) return headers
  try {
    const text = decryptSecret(ring, sealedHeaders, sealOf(id, HEADERS_COLUMN))
    return headersSchema.parse(JSON.parse(text))
  } catch (cause) {
    throw new UnreadableSecretError('the headers of a destination cannot be opened', { cause })
  }
}
