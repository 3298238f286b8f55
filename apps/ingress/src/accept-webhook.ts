import type { AcceptedEvent } from '@switchhook/core/event'
import { eventId } from '@switchhook/core/ids'
import {
  type Answer,
  type EventContent,
  MalformedPayloadError,
  type VerifyFailure,
  type Webhook,
} from '@switchhook/core/providers/provider'
import {
  claimedAccountSid,
  findSignatureFault,
  isForm,
  paramsOf,
  readParams,
  twilio,
  verifyTwilio,
} from '@switchhook/core/providers/twilio'
import type { ProviderAccount, Snapshot } from '@switchhook/core/routing/snapshot'
import type { AcceptResult } from './accept-event.ts'

export type AcceptWebhookDeps = {
  readonly snapshot: Snapshot
  readonly isReady: () => boolean
  readonly nowMs: () => number
  readonly accept: (event: AcceptedEvent) => Promise<AcceptResult>
}

export type ForgedReason = VerifyFailure | 'unknown_account'

export type WebhookResult =
  | {
      readonly kind: 'accepted' | 'duplicate'
      readonly event: AcceptedEvent
      readonly answer: Answer
    }
  | { readonly kind: 'forged'; readonly reason: ForgedReason }
  | { readonly kind: 'malformed'; readonly detail: string }
  | { readonly kind: 'too_many_parameters' }
  | { readonly kind: 'unsupported_media_type' }
  | { readonly kind: 'unavailable' }

/** The one place where a result becomes an HTTP status. A 5xx means: send it again. */
export const STATUS = {
  accepted: 200,
  duplicate: 200,
  forged: 403,
  malformed: 400,
  too_many_parameters: 413,
  unsupported_media_type: 415,
  unavailable: 503,
} as const satisfies Record<WebhookResult['kind'], number>

/** What a person can do about a webhook that was not believed. */
export const FORGED_DETAIL = {
  missing_signature: 'The X-Twilio-Signature header is missing: this did not come from Twilio.',
  malformed_signature: 'The X-Twilio-Signature header is not a base64 HMAC-SHA1.',
  wrong_signature:
    'The signature does not match: check the auth token of the provider account, and that PUBLIC_BASE_URL is the URL that Twilio calls.',
  unknown_account: 'No provider account is registered for this AccountSid.',
} as const satisfies Record<ForgedReason, string>

/** Twilio sends a few dozen; sorting a hundred thousand would block everybody else. */
const MAX_PARAMETERS = 1_000
const MAX_COLUMN_CHARACTERS = 256

function countParameters(body: Buffer): number {
  let count = 1
  for (let at = body.indexOf('&'); at !== -1; at = body.indexOf('&', at + 1)) count += 1
  return count
}

/** For the columns that people search by. Postgres text takes no NUL, an index no megabyte; the payload keeps the bytes. */
function toColumn(text: string | null): string | null {
  return text?.replaceAll('\0', '').toWellFormed().slice(0, MAX_COLUMN_CHARACTERS) || null
}

/** Of the tenants whose token verifies, the one that owns the number; else the first: the event is kept, unrouted. */
function chooseTenant(
  snapshot: Snapshot,
  accounts: readonly ProviderAccount[],
  phoneNumber: string | null,
): ProviderAccount | undefined {
  const owner = accounts.find(
    ({ organizationId }) =>
      phoneNumber !== null && snapshot.findPhoneNumber(organizationId, phoneNumber) !== undefined,
  )
  return owner ?? accounts[0]
}

function createEvent(
  deps: AcceptWebhookDeps,
  organizationId: string,
  content: EventContent,
  webhook: Webhook,
): AcceptedEvent {
  const number =
    content.phoneNumber === null
      ? undefined
      : deps.snapshot.findPhoneNumber(organizationId, content.phoneNumber)
  return {
    id: eventId(organizationId, 'twilio', content.dedupeKey),
    organizationId,
    provider: 'twilio',
    type: content.type,
    receivedAtMs: deps.nowMs(),
    phoneNumber: toColumn(content.phoneNumber),
    peerNumber: toColumn(content.peerNumber),
    callSid: toColumn(content.callSid),
    assistantId: number?.assistantId ?? null,
    contentType: webhook.headers['content-type'] ?? '',
    payload: webhook.body,
  }
}

/** Verifies one request from Twilio and makes it durable. Knows nothing of Express; never throws for what a request holds. */
export async function acceptTwilioWebhook(
  deps: AcceptWebhookDeps,
  webhook: Webhook,
): Promise<WebhookResult> {
  if (!deps.isReady()) return { kind: 'unavailable' }
  if (!isForm(webhook.headers['content-type'])) return { kind: 'unsupported_media_type' }
  if (countParameters(webhook.body) > MAX_PARAMETERS) return { kind: 'too_many_parameters' }

  const headerFault = findSignatureFault(webhook)
  if (headerFault !== undefined) return { kind: 'forged', reason: headerFault }
  const params = paramsOf(webhook)
  const claimed = deps.snapshot.findAccounts('twilio', claimedAccountSid(params))
  let failure: ForgedReason = 'unknown_account'
  const verified = claimed.filter((account) => {
    const verification = verifyTwilio(webhook, params, account.verifyKeys)
    if (!verification.ok) failure = verification.reason
    return verification.ok
  })

  let content: EventContent
  try {
    content = readParams(params, webhook.body)
  } catch (error) {
    if (verified.length === 0) return { kind: 'forged', reason: failure }
    if (error instanceof MalformedPayloadError) return { kind: 'malformed', detail: error.message }
    throw error
  }
  if (verified.length === 0 && claimed.some(({ isUnreadable }) => isUnreadable === true)) {
    return { kind: 'unavailable' }
  }
  const tenant = chooseTenant(deps.snapshot, verified, content.phoneNumber)
  if (tenant === undefined) return { kind: 'forged', reason: failure }

  const event = createEvent(deps, tenant.organizationId, content, webhook)
  const { kind } = await deps.accept(event)
  return kind === 'unavailable' ? { kind } : { kind, event, answer: twilio.answer(event.type) }
}
