import { hash } from 'node:crypto'

/**
 * Burki numbers organizations and users; ours have an id of letters and no users. Both are this number there, the same
 * for ever: 31 bits of a hash of the id, so that it fits the integers of any client. It names nothing here.
 */
export function organizationNumber(organizationId: string): number {
  return hash('sha256', organizationId, 'buffer').readUInt32BE() >>> 1
}

/** A message by the number that Burki's log would have given it: 48 bits of a hash, the same for ever. */
export function messageNumber(...key: readonly string[]): number {
  return hash('sha256', key.join('\0'), 'buffer').readUIntBE(0, 6)
}
