import { setTimeout as sleep } from 'node:timers/promises'
import { type AuditEventType, writeAudit } from '@switchhook/core/store/audit-logs'
import { findNumberProvider } from '@switchhook/core/store/organization-numbers'
import { listProviderCredentials } from '@switchhook/core/store/provider-credentials'
import type { Queryable, Transaction } from '@switchhook/core/store/transaction'
import {
  claimNumber,
  updateWebhookChange,
  type WebhookChange,
} from '@switchhook/core/store/webhook-changes'
import type { ControlledProvider } from '../provider-control/gateway-urls.ts'
import type { NumberRef } from '../provider-control/provider-control.ts'
import {
  NumberNotAtProvider,
  ProviderFailure,
  ProviderObstacle,
  ProviderStateChanged,
} from '../provider-control/provider-errors.ts'
import type { WebhookState } from '../provider-control/webhook-state.ts'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'
import type { Route, RouteInput } from './define-route.ts'

/** Who asks, and everything that is needed to do it. */
export type Asker = Pick<
  RouteInput<unknown, unknown, unknown>,
  'deps' | 'organizationId' | 'apiKey' | 'client'
>

/** Another change of the number is waited for this long. */
const CLAIM_TIMEOUT_MS = 12_000
const CLAIM_EVERY_MS = 100

/** What a change says of itself while it is made: nobody else can once its process has ended. */
export const IF_CUT_OFF =
  'Being made. If it stays so, Switchhook was stopped in the middle: a rollback puts back what "before" holds (nothing was written yet if that is null); then ask for the change again.'

const NOT_UNDONE =
  'Look at the number at the provider; a rollback with {"force": true} writes what "before" holds once more.'

export const APPLYING = { state: 'applying' } as const

export async function numberRefOf(
  { database, ring, log }: Pick<ApiDeps, 'database' | 'ring' | 'log'>,
  organizationId: string,
  provider: ControlledProvider,
  phoneNumber: string,
): Promise<NumberRef> {
  const accounts = await listProviderCredentials(
    ...([database.db, ring, organizationId, [provider], log] as const),
  )
  return { organizationId, provider, phoneNumber, accounts }
}

export const numberNotFound = (phoneNumber: string): ApiError =>
  new ApiError(404, `Phone number ${phoneNumber} not found in database`)

/** Throws `ApiError` when the organization has given the number away since: 404, or 409 when it is with another provider. */
export async function requireNumber(
  { deps, organizationId }: Asker,
  { phoneNumber, provider }: Pick<WebhookChange, 'phoneNumber' | 'provider'>,
): Promise<void> {
  const found = await findNumberProvider(deps.database.db, organizationId, phoneNumber)
  if (found === undefined) throw numberNotFound(phoneNumber)
  if (found === provider) return
  throw new ApiError(
    409,
    `Phone number ${phoneNumber} is with ${found} by now, not with ${provider}`,
  )
}

/** What the one who asked is told. The provider's own words are in the change, for those who may read it. */
export function toApiError(error: unknown, failure: string): unknown {
  if (error instanceof ProviderObstacle) return new ApiError(409, error.message)
  if (error instanceof ProviderStateChanged) {
    const hint = 'Send {"force": true} to put back what was there before all the same.'
    return new ApiError(
      409,
      `The number has been changed at the provider: ${error.message}. ${hint}`,
    )
  }
  if (error instanceof NumberNotAtProvider) return new ApiError(404, error.message)
  return error instanceof ProviderFailure ? new ApiError(500, failure) : error
}

export const updateFailed = (phoneNumber: string, provider: string): string =>
  `Failed to update webhooks for ${phoneNumber} via ${provider}`

export async function audit(
  db: Queryable,
  { organizationId, apiKey, client }: Asker,
  eventType: AuditEventType,
  change: WebhookChange,
): Promise<void> {
  const isFailure = eventType === 'webhook_change.failed'
  const { detached_applications } = change.after ?? {}
  await writeAudit(db, {
    ...{ organizationId, eventType, apiKeyId: apiKey.id, ...client },
    ...{ resourceType: 'webhook_change', resourceId: change.id, resourceName: change.phoneNumber },
    action: eventType.replace('webhook_change.', ''),
    status: isFailure ? 'failure' : 'success',
    details: {
      ...{ provider: change.provider, requested: change.requested },
      ...(detached_applications === undefined ? {} : { detached_applications }),
    },
    ...{ oldValues: change.before, newValues: isFailure ? null : change.after },
    errorMessage: isFailure ? change.error : null,
  })
}

/** Makes a change `applying` once no other one of the number is. Throws `ApiError` 409 when that takes too long. */
export async function claim(
  { deps, organizationId }: Asker,
  phoneNumber: string,
  begin: (tx: Transaction) => Promise<WebhookChange>,
): Promise<WebhookChange> {
  const endsAtMs = Date.now() + CLAIM_TIMEOUT_MS
  for (;;) {
    const claimed = await claimNumber(deps.database.db, organizationId, phoneNumber, begin)
    if (claimed !== undefined) return claimed
    if (Date.now() > endsAtMs) {
      throw new ApiError(409, `Another change of ${phoneNumber} is being made`)
    }
    await sleep(CLAIM_EVERY_MS)
  }
}

/** Ends a change that was being made, and says so to the audit log, in one transaction. */
export async function settle(
  asker: Asker,
  change: WebhookChange,
  update: { state: 'applied' | 'failed'; after?: WebhookState; error: string | null },
  also: (tx: Transaction) => Promise<void> = async () => undefined,
): Promise<WebhookChange> {
  return await asker.deps.database.db.transaction().execute(async (tx) => {
    const settled = await updateWebhookChange(tx, { id: change.id, ...APPLYING }, update)
    if (settled === undefined) throw new Error(`the change ${change.id} was settled by another`)
    await audit(tx, asker, `webhook_change.${update.state}`, settled)
    await also(tx)
    return settled
  })
}

export async function settleFailed(
  asker: Asker,
  change: WebhookChange,
  error: unknown,
): Promise<void> {
  const message = error instanceof Error ? error.message : 'an unknown error'
  const isLeft = error instanceof ProviderFailure && !error.isUndone
  const text = isLeft ? `${message}. ${NOT_UNDONE}` : message
  await settle(asker, change, { state: 'failed', error: text })
}

/** Waiting for another change, planning, writing and, if need be, undoing. */
const DEADLINE_MS = 45_000

/** A route that waits for a provider: longer than for Postgres. */
export const withDeadlineMs = (route: Route): Route & { readonly deadlineMs: number } => ({
  ...route,
  deadlineMs: DEADLINE_MS,
})
