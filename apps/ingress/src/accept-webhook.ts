import type { AcceptedEvent } from '@switchhook/core/event'
import { eventId } from '@switchhook/core/ids'
import type {
  Answer,
  EventContent,
  OpenedWebhook,
  VerifyFailure,
  WebhookProvider,
} from '@switchhook/core/providers/provider'
import type { ProviderAccount, Snapshot } from '@switchhook/core/routing/snapshot'
import type { AcceptResult } from './accept-event.ts'
import type { CallLookUp, CallOwner } from './call-look-up.ts'
import type { Quarantine } from './quarantine.ts'
import { ownNumberOf, type SentWebhook, verifyWebhook } from './verify-webhook.ts'

export type AcceptWebhookDeps = {
  readonly snapshot: Snapshot
  readonly isReady: () => boolean
  readonly nowMs: () => number
  readonly accept: (event: AcceptedEvent, content: EventContent) => Promise<AcceptResult>
  readonly calls: CallLookUp
  readonly quarantine: Pick<Quarantine, 'hold' | 'holdAuthentic'>
  /** False once a sender has failed too often: then nothing is kept of it. */
  readonly mayFail: (clientIp: string | null) => boolean
}

export type WebhookResult =
  | {
      readonly kind: 'accepted' | 'duplicate'
      readonly events: readonly AcceptedEvent[]
      readonly answer: Answer
    }
  /** Authentic, for a number nobody owns: kept, delivered to nobody. */
  | { readonly kind: 'quarantined'; readonly organizationId: string; readonly answer: Answer }
  | { readonly kind: 'forged'; readonly reason: VerifyFailure; readonly detail: string }
  | { readonly kind: 'failing_too_often'; readonly reason: VerifyFailure }
  | { readonly kind: 'malformed'; readonly detail: string }
  | { readonly kind: 'too_many_parameters' }
  | { readonly kind: 'method_not_allowed' }
  | { readonly kind: 'unsupported_media_type'; readonly mediaTypes: readonly string[] }
  | { readonly kind: 'unavailable' }

/** The one place where a result becomes an HTTP status. A 5xx means: send it again. */
export const STATUS = {
  accepted: 200,
  duplicate: 200,
  quarantined: 200,
  forged: 403,
  failing_too_often: 429,
  malformed: 400,
  too_many_parameters: 413,
  method_not_allowed: 405,
  unsupported_media_type: 415,
  unavailable: 503,
} as const satisfies Record<WebhookResult['kind'], number>

/** Twilio sends a few dozen; sorting a hundred thousand would block everybody else. */
const MAX_PARAMETERS = 1_000
const MAX_COLUMN_CHARACTERS = 256
const FORM = 'application/x-www-form-urlencoded'

function mediaTypeOf(webhook: SentWebhook): string {
  return (webhook.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

function hasTooManyParameters(payload: Buffer): boolean {
  let count = 1
  for (let at = payload.indexOf('&'); at !== -1; at = payload.indexOf('&', at + 1)) count += 1
  return count > MAX_PARAMETERS
}

/** What is wrong with a request before anybody asks who sent it. */
function findFormFault(provider: WebhookProvider, webhook: SentWebhook): WebhookResult | undefined {
  const isGet = webhook.method === 'GET'
  const mediaType = mediaTypeOf(webhook)
  const misfit = provider.findMisfit?.(webhook)
  if (misfit === 'method') return { kind: 'method_not_allowed' }
  if (misfit === 'media_type' || (!isGet && !provider.mediaTypes.includes(mediaType))) {
    return { kind: 'unsupported_media_type', mediaTypes: provider.mediaTypes }
  }
  const parameters = isGet ? Buffer.from(webhook.url) : webhook.body
  const isForm = isGet || mediaType === FORM
  return isForm && hasTooManyParameters(parameters) ? { kind: 'too_many_parameters' } : undefined
}

/** For the columns that people search by. Postgres text takes no NUL, an index no megabyte; the payload keeps the bytes. */
function toColumn(text: string | null): string | null {
  return text?.replaceAll('\0', '').toWellFormed().slice(0, MAX_COLUMN_CHARACTERS) || null
}

/** Whose event it is: its number's, or where it names none (a recording), its call's. */
async function findOwner(
  deps: Pick<AcceptWebhookDeps, 'snapshot' | 'calls'>,
  organizationId: string,
  content: EventContent,
): Promise<CallOwner> {
  const phoneNumber = ownNumberOf(content)
  const { callSid } = content
  if (phoneNumber === null && callSid !== null) {
    const owner = await deps.calls.findOwner(organizationId, [
      callSid,
      ...(content.callAliases ?? []),
    ])
    if (owner !== undefined) return owner
  }
  const number =
    phoneNumber === null ? undefined : deps.snapshot.findPhoneNumber(organizationId, phoneNumber)
  return {
    callSid,
    phoneNumber: phoneNumber ?? content.phoneNumber,
    peerNumber: content.peerNumber,
    assistantId: number?.assistantId ?? null,
  }
}

/** Whose call it may be, where neither path nor number tells whose keys to try. */
export async function findTenantsOfCall(
  deps: Pick<AcceptWebhookDeps, 'calls'>,
  webhook: Pick<SentWebhook, 'account'>,
  { claimedAccountSid, claimedNumbers, claimedCallIds = [] }: OpenedWebhook,
): Promise<readonly string[]> {
  const isNamed =
    webhook.account !== undefined || claimedAccountSid !== null || claimedNumbers.length > 0
  return isNamed || claimedCallIds.length === 0 ? [] : deps.calls.findTenants(claimedCallIds)
}

export type Accepted = {
  /** The worst of all: `unavailable` when one of them was not stored. */
  readonly kind: 'accepted' | 'duplicate' | 'unavailable'
  readonly events: readonly AcceptedEvent[]
  readonly deliveryIds: readonly string[]
}

/** Makes every event of a verified webhook durable. Sent again after `unavailable`, those that were stored are duplicates. */
export async function acceptContents(
  deps: Pick<AcceptWebhookDeps, 'snapshot' | 'calls' | 'accept'>,
  account: Pick<ProviderAccount, 'organizationId' | 'provider'>,
  contents: readonly EventContent[],
  { payload, contentType }: Pick<OpenedWebhook, 'payload' | 'contentType'>,
  receivedAtMs: number,
): Promise<Accepted> {
  const { organizationId, provider } = account
  const results = await Promise.all(
    contents.map(async (content) => {
      const owner = await findOwner(deps, organizationId, content)
      const event: AcceptedEvent = {
        id: eventId(organizationId, provider, content.dedupeKey),
        ...{ organizationId, provider, receivedAtMs, contentType, payload },
        type: content.type,
        phoneNumber: toColumn(owner.phoneNumber),
        peerNumber: toColumn(owner.peerNumber),
        callSid: toColumn(owner.callSid),
        assistantId: owner.assistantId,
        order: content.order,
        isStale: false,
      }
      return { event, result: await deps.accept(event, content) }
    }),
  )
  const kinds = new Set(results.map(({ result }) => result.kind))
  const worst = (['unavailable', 'accepted', 'duplicate'] as const).find((kind) => kinds.has(kind))
  return {
    kind: worst ?? 'unavailable',
    events: results.map(({ event }) => event),
    deliveryIds: results.flatMap(({ result }) =>
      result.kind === 'unavailable' ? [] : result.deliveryIds,
    ),
  }
}

/** Verifies one request of a provider and makes it durable. Knows nothing of Express; never throws for what a request holds. */
export async function acceptWebhook(
  deps: AcceptWebhookDeps,
  provider: WebhookProvider,
  webhook: SentWebhook,
  /** The request target, a path token replaced. */
  target: string,
): Promise<WebhookResult> {
  if (!deps.isReady()) return { kind: 'unavailable' }
  const formFault = findFormFault(provider, webhook)
  if (formFault !== undefined) return formFault

  const nowMs = deps.nowMs()
  const opened = provider.open(webhook)
  const sent = { ...webhook, tenantsOfCall: await findTenantsOfCall(deps, webhook, opened) }
  const result = verifyWebhook(deps.snapshot, provider, sent, opened, nowMs)
  switch (result.kind) {
    case 'unreadable':
      return { kind: 'unavailable' }
    case 'malformed':
      return result
    case 'forged': {
      const { reason, detail, candidates } = result
      if (!deps.mayFail(webhook.clientIp)) return { kind: 'failing_too_often', reason }
      const held = { provider, webhook, opened, target, receivedAtMs: nowMs, reason, detail }
      await deps.quarantine.hold(held, candidates)
      return { kind: 'forged', reason, detail }
    }
    case 'foreign': {
      const { reason, detail, account } = result
      const held = { provider, webhook, opened, target, receivedAtMs: nowMs, reason, detail }
      if (!(await deps.quarantine.holdAuthentic(held, account))) return { kind: 'unavailable' }
      const answer = provider.answer(opened.contents()[0]?.type ?? 'unknown')
      return { kind: 'quarantined', organizationId: account.organizationId, answer }
    }
    case 'verified': {
      const { account, contents } = result
      const accepted = await acceptContents(deps, account, contents, opened, nowMs)
      if (accepted.kind === 'unavailable') return { kind: 'unavailable' }
      const answer = provider.answer(contents[0]?.type ?? 'unknown')
      return { kind: accepted.kind, events: accepted.events, answer }
    }
  }
}
