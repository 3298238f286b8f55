import { createSigningPair, createSigningSecret } from '../delivery/signature.ts'
import { encryptSecret, type KeyRing } from '../secrets.ts'
import { sealOf } from './config-changes.ts'
import type { Transaction } from './transaction.ts'

export type RotatedDestination = { readonly organizationId: string; readonly id: string }

export type Rotated = 'hmac' | 'ed25519'

/**
 * Until when the secret, or key, before the present one still signs, in ms since 1970; undefined when none does. Locks
 * the destination.
 */
export async function findOverlapEndMs(
  tx: Transaction,
  { organizationId, id }: RotatedDestination,
  type: Rotated,
): Promise<number | undefined> {
  const row = await tx
    .selectFrom('destinations')
    .select([
      'previous_secret',
      'previous_secret_expires_at',
      'previous_ed25519_key',
      'previous_ed25519_key_expires_at',
    ])
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .forUpdate()
    .executeTakeFirst()
  const isHmac = type === 'hmac'
  if ((isHmac ? row?.previous_secret : row?.previous_ed25519_key) === null) return undefined
  const endsAt = isHmac ? row?.previous_secret_expires_at : row?.previous_ed25519_key_expires_at
  const endsAtMs = endsAt?.getTime() ?? 0
  return endsAtMs > Date.now() ? endsAtMs : undefined
}

/**
 * The new secret; the one before signs beside it for `overlapMs`, any older one ends now. Undefined for an unknown id.
 */
export async function rotateDestinationSecret(
  tx: Transaction,
  ring: KeyRing,
  { organizationId, id }: RotatedDestination,
  overlapMs: number,
): Promise<string | undefined> {
  const secret = createSigningSecret()
  const row = await tx
    .updateTable('destinations')
    .set(({ ref }) => ({
      secret: encryptSecret(ring, secret, sealOf(id, 'secret')),
      previous_secret: ref('secret'),
      previous_secret_expires_at: new Date(Date.now() + overlapMs),
    }))
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row === undefined ? undefined : secret
}

/**
 * The public half of a new ed25519 pair, which signs from now on beside the secret; the pair before goes on for
 * `overlapMs`. Undefined for an unknown id.
 */
export async function rotateDestinationPair(
  tx: Transaction,
  ring: KeyRing,
  { organizationId, id }: RotatedDestination,
  overlapMs: number,
): Promise<string | undefined> {
  const { privateKey, publicKey } = createSigningPair()
  const row = await tx
    .updateTable('destinations')
    .set(({ ref }) => ({
      ed25519_key: encryptSecret(ring, privateKey, sealOf(id, 'ed25519_key')),
      ed25519_public_key: publicKey,
      previous_ed25519_key: ref('ed25519_key'),
      previous_ed25519_key_expires_at: new Date(Date.now() + overlapMs),
    }))
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row === undefined ? undefined : publicKey
}
