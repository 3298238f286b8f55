import type { WebhookProvider } from '@switchhook/core/providers/provider'
import { WEBHOOK_PROVIDERS } from '@switchhook/core/providers/registry'
import type { ProviderAccount } from '@switchhook/core/routing/snapshot'
import type { DatabaseHandle } from '@switchhook/core/store/database'
import {
  claimHeldWebhook,
  findHeldWebhook,
  type HeldWebhook,
  markReleased,
} from '@switchhook/core/store/quarantine'
import { type AcceptWebhookDeps, acceptContents, findTenantsOfCall } from './accept-webhook.ts'
import type { QuarantineActions, QuarantineResult } from './api/api-deps.ts'
import { type SentWebhook, type VerifiedWebhook, verifyWebhook } from './verify-webhook.ts'

export type ReleaseDeps = Pick<AcceptWebhookDeps, 'snapshot' | 'accept' | 'calls'> & {
  readonly database: Pick<DatabaseHandle, 'db'>
  readonly publicBaseUrl: string
}

/** What a person may vouch for: nothing was signed, and the password that came with it is not kept. */
const VOUCHABLE: ReadonlySet<string> = new Set(['wrong_credentials', 'address_not_allowed'])

const ANOTHERS = 'It is another tenant’s.'

type Opened = {
  readonly provider: WebhookProvider
  readonly webhook: SentWebhook
  readonly opened: ReturnType<WebhookProvider['open']>
}

function reopen(deps: ReleaseDeps, held: HeldWebhook, account?: ProviderAccount): Opened {
  const provider = WEBHOOK_PROVIDERS.find(({ name }) => name === held.provider)
  if (provider === undefined) throw new Error(`no provider "${held.provider}"`)
  const webhook: SentWebhook = {
    method: held.method,
    url: deps.publicBaseUrl + held.target,
    headers: held.headers,
    body: held.body,
    ...{ clientIp: held.clientIp, account, tenantsOfCall: [], checkBasic: false },
  }
  return { provider, webhook, opened: provider.open(webhook) }
}

/**
 * As when it came, with today's keys and numbers of all tenants: what is another's first must not become this one's by
 * asking.
 */
async function verifyAgain(
  deps: ReleaseDeps,
  organizationId: string,
  held: HeldWebhook,
): Promise<{ readonly verified: VerifiedWebhook; readonly opened: Opened['opened'] }> {
  const accounts = deps.snapshot.accountsOf(organizationId, held.provider)
  const ofPath = accounts.find(({ id }) => id === held.providerAccountId)
  const named = held.target.includes('{token}') && ofPath !== undefined
  const { provider, webhook, opened } = reopen(deps, held, named ? ofPath : undefined)
  const tenantsOfCall = await findTenantsOfCall(deps, webhook, opened)
  const sent = { ...webhook, tenantsOfCall }
  const verified = verifyWebhook(deps.snapshot, provider, sent, opened, held.receivedAtMs)
  const isAnothers =
    (verified.kind === 'verified' || verified.kind === 'foreign') &&
    verified.account.organizationId !== organizationId
  return {
    verified: isAnothers
      ? { kind: 'forged', candidates: [], reason: 'unknown_account', detail: ANOTHERS }
      : verified,
    opened,
  }
}

/** Nothing of it was signed, so that nothing more can be verified: the fault of its sender stands. */
function withSenderFault(held: HeldWebhook, verified: VerifiedWebhook): VerifiedWebhook {
  return verified.kind === 'verified' && held.reason === 'wrong_credentials'
    ? { kind: 'forged', candidates: [], reason: held.reason, detail: held.detail }
    : verified
}

function failureOf(verified: VerifiedWebhook): QuarantineResult {
  switch (verified.kind) {
    case 'verified':
      return { kind: 'verified' }
    case 'unreadable':
      return { kind: 'unavailable' }
    case 'malformed':
      return { kind: 'failed', reason: 'malformed', detail: verified.detail }
    default:
      return { kind: 'failed', reason: verified.reason, detail: verified.detail }
  }
}

export function createQuarantineActions(deps: ReleaseDeps): QuarantineActions {
  const { db } = deps.database

  async function look(organizationId: string, id: string) {
    const held = await findHeldWebhook(db, organizationId, id)
    if (held === undefined) return undefined
    const { verified, opened } = await verifyAgain(deps, organizationId, held)
    const isNobodys = held.organizationId === null
    // It claims nothing of this organization's: a stranger hears of it as little as of an id that there never was.
    const isMine = (account: ProviderAccount) => account.organizationId === organizationId
    if (isNobodys && verified.kind === 'forged' && !verified.candidates.some(isMine))
      return undefined
    const isKnownOwner = verified.kind === 'verified' || verified.kind === 'foreign'
    // Nobody's until its signature holds with somebody's key.
    if (isNobodys && isKnownOwner) await claimHeldWebhook(db, organizationId, id)
    return { held, opened, verified: withSenderFault(held, verified) }
  }

  return {
    async reverify(organizationId, id) {
      const found = await look(organizationId, id)
      return found && failureOf(found.verified)
    },
    async release(organizationId, id) {
      const found = await look(organizationId, id)
      if (found === undefined) return undefined
      const { held, opened, verified } = found
      const account =
        verified.kind === 'verified' ? verified.account : vouchedAccount(organizationId, found)
      if (account === undefined) return failureOf(verified)
      const contents = verified.kind === 'verified' ? verified.contents : opened.contents()
      const accepted = await acceptContents(deps, account, contents, opened, held.receivedAtMs)
      if (accepted.kind === 'unavailable') return { kind: 'unavailable' }
      const eventIds = accepted.events.map((event) => event.id)
      await markReleased(db, id, eventIds)
      return { kind: 'released', eventIds, deliveryIds: accepted.deliveryIds }
    },
  }

  function vouchedAccount(
    organizationId: string,
    {
      held,
      opened,
      verified,
    }: Pick<Opened, 'opened'> & { held: HeldWebhook; verified: VerifiedWebhook },
  ): ProviderAccount | undefined {
    if (verified.kind !== 'forged' || !VOUCHABLE.has(verified.reason)) return undefined
    const account = deps.snapshot
      .accountsOf(organizationId, held.provider)
      .find(({ id }) => id === held.providerAccountId)
    // Where something is signed, that must hold.
    return account !== undefined && opened.verify(account, held.receivedAtMs).ok
      ? account
      : undefined
  }
}
