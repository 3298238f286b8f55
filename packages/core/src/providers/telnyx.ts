import { type KeyObject, verify } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { type JsonObject, objectOf, parseJsonObject, textOf } from './json-payload.ts'
import type {
  EventContent,
  OpenedWebhook,
  Verification,
  VerifyFailure,
  Webhook,
  WebhookProvider,
} from './provider.ts'
import { callAliasesOf, numbersOf, readTelnyxEvent } from './telnyx-events.ts'
import { tryRead } from './try-read.ts'

const SIGNATURE_BYTES = 64
/** Inclusive, before and after (the official package's lib/webhooks.js). */
const TOLERANCE_SECONDS = 300
const MAX_CLAIMED_NUMBERS = 50
const JSON_TYPE = 'application/json'
const PATHS = [
  '/telnyx-webhook',
  '/telnyx-sms-webhook',
  '/webhooks/sms/telnyx',
  '/telnyx-webhook/{token}',
] as const

const refuse = (reason: VerifyFailure, detail: string): Verification => ({
  ok: false,
  reason,
  detail,
})

/** What is wrong with the two headers by themselves. */
function findHeaderFault(headers: IncomingHttpHeaders): Verification | undefined {
  const timestamp = headers['telnyx-timestamp']
  const signature = headers['telnyx-signature-ed25519']
  if (!timestamp || !signature) {
    const missing = signature ? 'telnyx-timestamp' : 'telnyx-signature-ed25519'
    return refuse(
      'missing_signature',
      `The ${missing} header is missing: this did not come from Telnyx.`,
    )
  }
  if (typeof timestamp !== 'string' || !/^\d+$/.test(timestamp)) {
    return refuse('malformed_signature', 'The telnyx-timestamp header is not a number of seconds.')
  }
  const bytes = Buffer.from(String(signature), 'base64')
  return bytes.length === SIGNATURE_BYTES && bytes.toString('base64') === signature
    ? undefined
    : refuse(
        'malformed_signature',
        'The telnyx-signature-ed25519 header is not base64 of 64 bytes.',
      )
}

/** A key of another kind makes `verify` throw. */
function holdsWith(key: KeyObject, signed: Buffer, signature: Buffer): boolean {
  try {
    return key.asymmetricKeyType === 'ed25519' && verify(null, signed, key, signature)
  } catch {
    return false
  }
}

/**
 * ed25519 over `timestamp|body`, the timestamp as the header spells it
 * (developers.telnyx.com/docs/development/api-fundamentals/webhooks). The clock is asked after the signature, so that a
 * stale timestamp is known to be Telnyx's own.
 */
function verifyTelnyx(
  { headers, body }: Webhook,
  keys: readonly KeyObject[],
  nowMs: number,
): Verification {
  const fault = findHeaderFault(headers)
  if (fault !== undefined) return fault
  const timestamp = String(headers['telnyx-timestamp'])
  const signature = Buffer.from(String(headers['telnyx-signature-ed25519']), 'base64')
  const signed = Buffer.concat([Buffer.from(`${timestamp}|`), body])
  if (!keys.some((key) => holdsWith(key, signed, signature))) {
    return refuse(
      'wrong_signature',
      'The signature does not match: check that `public_key` of the provider account is the one that Mission Control shows, and that nothing on the way writes the body anew.',
    )
  }
  const ageSeconds = Math.floor(nowMs / 1000) - Number(timestamp)
  if (Math.abs(ageSeconds) <= TOLERANCE_SECONDS) return { ok: true }
  return refuse(
    'stale_timestamp',
    ageSeconds > 0
      ? `Signed by Telnyx, but ${ageSeconds} s ago, and more than ${TOLERANCE_SECONDS} s is refused: the clock of this server is ahead, or somebody sent an old webhook again.`
      : `Signed by Telnyx, but ${-ageSeconds} s in the future, and more than ${TOLERANCE_SECONDS} s is refused: the clock of this server is behind.`,
  )
}

function readTelnyx(payload: Buffer): readonly EventContent[] {
  return readTelnyxEvent(parseJsonObject(payload), payload)
}

/** Where no number tells whose it is. */
function callIdsOf(root: JsonObject): readonly string[] {
  const payload = objectOf(objectOf(root.data).payload)
  return [textOf(payload.call_control_id), ...callAliasesOf(payload)].filter((id) => id !== '')
}

function openTelnyx(webhook: Webhook): OpenedWebhook {
  const { headers, body } = webhook
  const root = tryRead(() => parseJsonObject(body))
  return {
    claimedAccountSid: null,
    claimedNumbers: numbersOf(root.value ?? {}).slice(0, MAX_CLAIMED_NUMBERS),
    claimedCallIds: callIdsOf(root.value ?? {}),
    verify: ({ verifyKeys }, nowMs) => verifyTelnyx(webhook, verifyKeys, nowMs),
    payload: body,
    contentType: headers['content-type'] ?? JSON_TYPE,
    contents: () => readTelnyxEvent(root.get(), body),
  }
}

/** Anything but 200 makes Telnyx send it again, or to the failover URL. */
export const telnyx: WebhookProvider = {
  name: 'telnyx',
  routes: PATHS.map((path) => ({ method: 'post', path })),
  probes: PATHS,
  mediaTypes: [JSON_TYPE],
  verifyHeaders: ['telnyx-signature-ed25519', 'telnyx-timestamp'],
  open: openTelnyx,
  read: readTelnyx,
  answer: () => ({ status: 200, contentType: JSON_TYPE, body: '{}' }),
}
