import { hash, timingSafeEqual } from 'node:crypto'
import { isInCidrs } from '@switchhook/core/cidr'
import { orientCall } from '@switchhook/core/providers/orient-call'
import {
  type EventContent,
  MalformedPayloadError,
  type OpenedWebhook,
  type Verification,
  type VerifyFailure,
  type Webhook,
  type WebhookProvider,
} from '@switchhook/core/providers/provider'
import type { ProviderAccount, Snapshot } from '@switchhook/core/routing/snapshot'

/** A request of a provider and what is known of its sender besides. */
export type SentWebhook = Webhook & {
  /** Null when it is not known. */
  readonly clientIp: string | null
  /** Where the path, or what was kept of it, names the account; then no other is tried. */
  readonly account: ProviderAccount | undefined
  /** Tenants that have a call by one of the names in the webhook, where it names no number. */
  readonly tenantsOfCall: readonly string[]
  /** A webhook out of quarantine has lost its password. */
  readonly checkBasic: boolean
}

type Failure = { readonly reason: VerifyFailure; readonly detail: string }

export type VerifiedWebhook =
  /** Authentic; the contents are those of numbers that the tenant owns, never none. */
  | {
      readonly kind: 'verified'
      readonly account: ProviderAccount
      readonly contents: readonly EventContent[]
    }
  /** Authentic, but for a number that the tenant does not own (contract, Fine print 14). */
  | ({ readonly kind: 'foreign'; readonly account: ProviderAccount } & Failure)
  /** `candidates`: the accounts it may have been for. */
  | ({ readonly kind: 'forged'; readonly candidates: readonly ProviderAccount[] } & Failure)
  | { readonly kind: 'malformed'; readonly detail: string }
  /** Our own secrets cannot be opened: nothing is known of the webhook. */
  | { readonly kind: 'unreadable' }

const WRONG_CREDENTIALS: Failure = {
  reason: 'wrong_credentials',
  detail:
    'The user name and password do not match: check `basic` of the provider account, and the URL that the provider calls.',
}
const ADDRESS_NOT_ALLOWED: Failure = {
  reason: 'address_not_allowed',
  detail:
    'The sender is not in `allowed_cidrs` of the provider account. Behind a proxy, TRUSTED_PROXIES must name it.',
}
const UNKNOWN_ACCOUNT: Failure = {
  reason: 'unknown_account',
  detail: 'No provider account is registered for this AccountSid.',
}
const UNKNOWN_NUMBER: Failure = {
  reason: 'unknown_number',
  detail:
    'No registered phone number received or sent this; register it, or call the URL with the token.',
}
const FOREIGN_NUMBER: Failure = {
  reason: 'unknown_number',
  detail: 'Authentic, but for a phone number that is not registered; register it and release this.',
}

/** `Basic <base64>`; the hash of what it holds, since the two must be of one length to be compared. */
function basicHolds(header: string | undefined, expectedSha256: Buffer): boolean {
  const encoded = /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(header ?? '')?.[1] ?? ''
  const given = hash('sha256', Buffer.from(encoded, 'base64'), 'buffer')
  return timingSafeEqual(given, expectedSha256)
}

/** Before the signature: what the account asks of every sender. */
function findSenderFault(webhook: SentWebhook, account: ProviderAccount): Failure | undefined {
  const { allowedCidrs, basicSha256 } = account
  if (allowedCidrs.length > 0 && !isInCidrs(webhook.clientIp ?? '', allowedCidrs)) {
    return ADDRESS_NOT_ALLOWED
  }
  const isAsked = webhook.checkBasic && basicSha256 !== null
  return isAsked && !basicHolds(webhook.headers.authorization, basicSha256)
    ? WRONG_CREDENTIALS
    : undefined
}

/** The accounts that a webhook may be from. More than one tenant may have registered one; a signature tells whose it is. */
function findCandidates(
  snapshot: Snapshot,
  provider: WebhookProvider,
  webhook: SentWebhook,
  opened: OpenedWebhook,
): readonly ProviderAccount[] {
  if (webhook.account !== undefined) return [webhook.account]
  if (opened.claimedAccountSid !== null) {
    return snapshot.findAccounts(provider.name, opened.claimedAccountSid)
  }
  const owners = opened.claimedNumbers.flatMap((phoneNumber) =>
    snapshot.findNumberOwners(phoneNumber).map(({ organizationId }) => organizationId),
  )
  const tenants = new Set([...owners, ...webhook.tenantsOfCall])
  return [...tenants].flatMap((tenant) => snapshot.accountsOf(tenant, provider.name))
}

/** Text senders (`ACME`) and short codes of others are nobody's number; a channel's prefix is not part of one. */
export function ownNumberOf(content: Pick<EventContent, 'phoneNumber'>): string | null {
  const text = content.phoneNumber?.replace(/^[a-z]+:/i, '') ?? ''
  return /^\+?\d{7,15}$/.test(text) ? text : null
}

/** The content as the tenant's own, or undefined when its number is somebody else's. */
function findOwn(
  snapshot: Snapshot,
  organizationId: string,
  content: EventContent,
): EventContent | undefined {
  const isOwned = (phoneNumber: string) =>
    snapshot.findPhoneNumber(organizationId, phoneNumber) !== undefined
  const own = ownNumberOf(content)
  if (own === null || isOwned(own)) return content
  const { peerNumber } = content
  if (peerNumber === null || !isOwned(peerNumber)) return undefined
  const turned = orientCall(content, peerNumber)
  return turned === content ? undefined : turned
}

/** Which account's keys the webhook holds with, or the likeliest reason why none does. */
function verifyWith(
  candidates: readonly ProviderAccount[],
  webhook: SentWebhook,
  opened: OpenedWebhook,
  nowMs: number,
): { readonly verified: readonly ProviderAccount[]; readonly failure: Failure | undefined } {
  let failure: Failure | undefined
  const verified = candidates.filter((account) => {
    const fault = findSenderFault(webhook, account)
    const result: Verification =
      fault === undefined ? opened.verify(account, nowMs) : { ok: false, ...fault }
    if (!result.ok) failure = { reason: result.reason, detail: result.detail }
    return result.ok
  })
  // A public key is no secret, and a number can be registered by anybody: whoever was first stays so.
  const byAge = (a: ProviderAccount, b: ProviderAccount) =>
    a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1)
  return { verified: verified.sort(byAge), failure }
}

/** Who sent this, and to which tenant? Pure over the snapshot; never throws for what a request holds. */
export function verifyWebhook(
  snapshot: Snapshot,
  provider: WebhookProvider,
  webhook: SentWebhook,
  opened: OpenedWebhook,
  nowMs: number,
): VerifiedWebhook {
  const candidates = findCandidates(snapshot, provider, webhook, opened)
  const { verified, failure } = verifyWith(candidates, webhook, opened, nowMs)
  const [first] = verified
  if (first === undefined) {
    if (candidates.some(({ isUnreadable }) => isUnreadable === true)) return { kind: 'unreadable' }
    // A missing or malformed signature is said to be that, whoever it claims to be from.
    const alone = opened.verify({ verifyKeys: [] }, nowMs)
    const unknown = opened.claimedAccountSid === null ? UNKNOWN_NUMBER : UNKNOWN_ACCOUNT
    const own = !alone.ok && alone.reason !== 'wrong_signature' ? alone : unknown
    const { reason, detail } = failure ?? own
    return { kind: 'forged', candidates, reason, detail }
  }
  let contents: readonly EventContent[]
  try {
    contents = opened.contents()
  } catch (error) {
    if (error instanceof MalformedPayloadError) return { kind: 'malformed', detail: error.message }
    throw error
  }
  for (const account of verified) {
    const owned = contents.flatMap((one) => findOwn(snapshot, account.organizationId, one) ?? [])
    if (owned.length > 0) return { kind: 'verified', account, contents: owned }
  }
  return { kind: 'foreign', account: first, ...FOREIGN_NUMBER }
}
