import type { Transaction } from '@switchhook/core/store/transaction'
import {
  insertWebhookChange,
  updateWebhookChange,
  type WebhookChange,
} from '@switchhook/core/store/webhook-changes'
import type { NumberRef, WebhookRequest } from '../provider-control/provider-control.ts'
import { ApiError } from './api-error.ts'
import {
  APPLYING,
  type Asker,
  audit,
  claim,
  IF_CUT_OFF,
  requireNumber,
  settle,
  settleFailed,
  toApiError,
  updateFailed,
} from './webhook-changes-settle.ts'

export type RequestedFields = {
  readonly voice_webhook_url?: string | null | undefined
  readonly sms_webhook_url?: string | null | undefined
  readonly disable_sms?: boolean | null | undefined
  readonly enable_sms?: boolean | null | undefined
}

function requestOf(fields: RequestedFields): WebhookRequest {
  const { voice_webhook_url, sms_webhook_url, disable_sms, enable_sms } = fields
  const sms = disable_sms ? 'disabled' : enable_sms ? 'enabled' : undefined
  return {
    voiceUrl: voice_webhook_url ?? undefined,
    sms: sms ?? (sms_webhook_url ? { url: sms_webhook_url } : undefined),
  }
}

export type Made = {
  readonly change: WebhookChange
  readonly updated: Readonly<{ voice?: string; sms?: string }>
}

/** Makes a claimed change: all of it at the provider, or none. */
async function make(asker: Asker, change: WebhookChange, numberRef: NumberRef): Promise<Made> {
  const { deps } = asker
  const { db } = deps.database
  const current = { id: change.id, ...APPLYING }
  const ref = { ...numberRef, changeId: change.id }
  try {
    await requireNumber(asker, change)
    const plan = await deps.providerControl.plan(ref, requestOf(change.requested))
    // Before the first write: whoever finds the change cut off must know what was there.
    await updateWebhookChange(db, current, { before: plan.before, after: plan.after })
    const after = await deps.providerControl.apply(ref, plan, async (made) => {
      await updateWebhookChange(db, current, { after: made })
    })
    const settled = await settle(asker, change, { state: 'applied', after, error: null })
    return { change: settled, updated: plan.updated }
  } catch (error) {
    const known = toApiError(error, updateFailed(change.phoneNumber, change.provider))
    if (known instanceof ApiError) await settleFailed(asker, change, error)
    throw known
  }
}

export type Wanted = { readonly ref: NumberRef; readonly requested: RequestedFields }

/** Without approval: at once. */
export async function changeNow(asker: Asker, { ref, requested }: Wanted): Promise<Made> {
  const { organizationId, apiKey } = asker
  const { phoneNumber, provider } = ref
  const change = await claim(asker, phoneNumber, (tx) =>
    insertWebhookChange(tx, {
      ...{ organizationId, phoneNumber, provider, requested, requestedBy: apiKey.id },
      ...{ ...APPLYING, error: IF_CUT_OFF },
    }),
  )
  return await make(asker, change, ref)
}

/** With approval: what it would change is shown to whoever decides, and nothing is changed. */
export async function askForChange(
  asker: Asker,
  { ref, requested }: Wanted,
): Promise<WebhookChange> {
  const { deps, organizationId, apiKey } = asker
  const { phoneNumber, provider } = ref
  const plan = await deps.providerControl.plan(ref, requestOf(requested)).catch((error) => {
    throw toApiError(error, updateFailed(phoneNumber, provider))
  })
  return await deps.database.db.transaction().execute(async (tx) => {
    const change = await insertWebhookChange(tx, {
      ...{ organizationId, phoneNumber, provider, requested, requestedBy: apiKey.id },
      ...{ state: 'pending', before: plan.before, after: plan.after },
    })
    await audit(tx, asker, 'webhook_change.requested', change)
    return change
  })
}

/** Throws `ApiError`: 403 for the one who asked, 409 for a change that is decided. */
function requireDecider({ apiKey }: Asker, change: WebhookChange): void {
  if (change.requestedBy === apiKey.id) {
    throw new ApiError(403, 'Another API key than the one that asked for the change must decide')
  }
  if (change.state !== 'pending') {
    throw new ApiError(409, `The change is not pending but ${change.state}`)
  }
}

async function decide(
  tx: Transaction,
  asker: Asker,
  change: WebhookChange,
  verdict: 'approved' | 'rejected',
): Promise<WebhookChange> {
  const decidedBy = asker.apiKey.id
  const update =
    verdict === 'approved'
      ? { ...APPLYING, decidedBy, error: IF_CUT_OFF }
      : { state: 'rejected' as const, decidedBy }
  const decided = await updateWebhookChange(tx, { id: change.id, state: 'pending' }, update)
  if (decided === undefined) throw new ApiError(409, 'The change was decided by another')
  await audit(tx, asker, `webhook_change.${verdict}`, decided)
  return decided
}

/** Throws `ApiError`: 403 for the one who asked, 409 for a change that is decided. */
export async function claimApproved(asker: Asker, change: WebhookChange): Promise<WebhookChange> {
  requireDecider(asker, change)
  return await claim(asker, change.phoneNumber, (tx) => decide(tx, asker, change, 'approved'))
}

/** Throws like `claimApproved`; and 404 when the number is the organization's no more, 500 when the provider fails. */
export async function approveChange(
  asker: Asker,
  change: WebhookChange,
  ref: NumberRef,
): Promise<WebhookChange> {
  const claimed = await claimApproved(asker, change)
  return (await make(asker, claimed, ref)).change
}

export async function rejectChange(asker: Asker, change: WebhookChange): Promise<WebhookChange> {
  requireDecider(asker, change)
  const { db } = asker.deps.database
  return await db.transaction().execute((tx) => decide(tx, asker, change, 'rejected'))
}
