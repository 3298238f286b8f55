import { hash, randomBytes } from 'node:crypto'

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** RFC 4648 base32 in lower case without padding: 16 bytes become 26 characters that need no escaping anywhere. */
function base32(bytes: Uint8Array): string {
  let text = ''
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = (value << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET[(value >>> bits) & 31]
    }
    value &= 255
  }
  return bits > 0 ? text + ALPHABET[(value << (5 - bits)) & 31] : text
}

/** Parts are joined with NUL, which none of them can contain, so that ("a","bc") and ("ab","c") differ. */
function derive(prefix: string, ...parts: string[]): string {
  return prefix + base32(hash('sha256', parts.join('\0'), 'buffer').subarray(0, 16))
}

/**
 * The same webhook always makes the same event id, whichever process accepts it and however often it is sent:
 * that is what lets every later step run twice.
 */
export function eventId(organizationId: string, provider: string, dedupeKey: string): string {
  return derive('evt_', organizationId, provider, dedupeKey)
}

/** Also the id of the BullMQ job: it holds no ":" and is never all digits, which BullMQ refuses. */
export function deliveryId(eventId: string, destinationId: string): string {
  return derive('dlv_', eventId, destinationId)
}

/** The delivery that a replay of many makes of one: a step that runs twice makes it once. */
export function replayedDeliveryId(replayId: string, originalId: string): string {
  return derive('dlv_', replayId, originalId)
}

/** What the statuses of one message, call or recording share. */
export function statusSubject(organizationId: string, provider: string, subject: string): string {
  return derive('', organizationId, provider, subject)
}

/** The same refused webhook, sent again, is one row. */
export function quarantineId(...parts: string[]): string {
  return derive('qua_', ...parts)
}

/** The digest of the mails that a destination's address was owed in the window that began then. */
export function digestId(destinationId: string, recipient: string, startedAtMs: number): string {
  return derive('dig_', destinationId, recipient, String(startedAtMs))
}

/** 128 random bits behind a prefix that tells what it names. */
export function randomId(
  prefix: 'org_' | 'pac_' | 'dst_' | 'evt_' | 'dlv_' | 'chg_' | 'rpl_' | 'era_',
): string {
  return prefix + base32(randomBytes(16))
}

/** Random text for secrets and idempotency keys, 5 bits a character. */
export function randomText(bytes: number): string {
  return base32(randomBytes(bytes))
}
