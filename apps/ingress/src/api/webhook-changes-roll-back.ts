import {
  findWebhookChange,
  insertWebhookChange,
  isInterrupted,
  type NewWebhookChange,
  updateWebhookChange,
  type WebhookChange,
} from '@switchhook/core/store/webhook-changes'
import type { NumberRef, RollBack } from '../provider-control/provider-control.ts'
import type { WebhookState } from '../provider-control/webhook-state.ts'
import { ApiError } from './api-error.ts'
import { claimApproved } from './webhook-changes-run.ts'
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
} from './webhook-changes-settle.ts'

type States = Omit<RollBack, 'isForced'>

/** What the change has written, as it was stored. Throws `ApiError` 409 for one that cannot be rolled back. */
function statesOf(change: WebhookChange): States {
  const { state, before, after } = change
  if (change.rollbackOf !== null) {
    throw new ApiError(409, 'This is a rollback: ask for the change again instead')
  }
  if (state === 'applying' && !isInterrupted(change)) {
    throw new ApiError(409, 'The change is being made')
  }
  if (!['applied', 'applying', 'failed'].includes(state)) {
    throw new ApiError(409, `The change is ${state}: there is nothing to roll back`)
  }
  if (before === null || after === null) {
    throw new ApiError(409, 'The change has written nothing: there is nothing to roll back')
  }
  return {
    ...{ before: before as WebhookState, after: after as WebhookState },
    wasCutOff: state !== 'applied',
  }
}

/** Looks at the change again: it may be another one by the time its rollback may be made. */
async function originalOf(
  { deps, organizationId }: Asker,
  { rollbackOf }: WebhookChange,
): Promise<WebhookChange> {
  const original =
    rollbackOf === null
      ? undefined
      : await findWebhookChange(deps.database.db, organizationId, rollbackOf)
  if (original === undefined) throw new ApiError(409, 'The change to roll back is gone')
  return original
}

type Done = { readonly rollback: WebhookChange; readonly original: WebhookChange }

/** Makes a claimed rollback: the change that it is of becomes `rolled_back`. */
async function make(asker: Asker, rollback: WebhookChange, ref: NumberRef): Promise<Done> {
  const { deps, apiKey } = asker
  const { phoneNumber, provider } = rollback
  let original: WebhookChange
  try {
    await requireNumber(asker, rollback)
    original = await originalOf(asker, rollback)
    const isForced = rollback.requested.force === true
    const numberRef = { ...ref, changeId: rollback.id }
    await deps.providerControl.rollBack(numberRef, { ...statesOf(original), isForced })
  } catch (error) {
    const failure = `Failed to roll back webhooks for ${phoneNumber} via ${provider}`
    const known = toApiError(error, failure)
    if (known instanceof ApiError) await settleFailed(asker, rollback, error)
    throw known
  }
  let rolledBack = original
  const settled = await settle(asker, rollback, { state: 'applied', error: null }, async (tx) => {
    const update = { state: 'rolled_back', error: null, decidedBy: apiKey.id } as const
    rolledBack = (await updateWebhookChange(tx, original, update)) ?? original
    await audit(tx, asker, 'webhook_change.rolled_back', rolledBack)
  })
  return { rollback: settled, original: rolledBack }
}

/** Throws `ApiError` when the change cannot be rolled back, or not any more. */
async function newRollback(asker: Asker, change: WebhookChange, isForced: boolean) {
  const { before, after } = statesOf(change)
  await requireNumber(asker, change)
  const { organizationId, apiKey } = asker
  const { phoneNumber, provider } = change
  return {
    ...{ organizationId, phoneNumber, provider, requestedBy: apiKey.id },
    requested: { rollback_of: change.id, ...(isForced ? { force: true } : {}) },
    ...{ rollbackOf: change.id, before: after, after: before },
  } satisfies Omit<NewWebhookChange, 'state'>
}

/**
 * Without approval: puts back at once what was there before the change, which becomes `rolled_back`; a change of its
 * own tells of it. Throws `ApiError`: 404 when the number is the organization's no more, 409 when it cannot be, or may
 * not be because the provider holds something else by now, 500 when the provider fails.
 */
export async function rollBackNow(
  asker: Asker,
  change: WebhookChange,
  ref: NumberRef,
  isForced: boolean,
): Promise<WebhookChange> {
  const rollback = await newRollback(asker, change, isForced)
  const claimed = await claim(asker, change.phoneNumber, (tx) =>
    insertWebhookChange(tx, { ...rollback, ...APPLYING, error: IF_CUT_OFF }),
  )
  return (await make(asker, claimed, ref)).original
}

/** With approval: nothing is put back until another key has approved the rollback, which this returns. */
export async function askForRollback(
  asker: Asker,
  change: WebhookChange,
  isForced: boolean,
): Promise<WebhookChange> {
  const rollback = await newRollback(asker, change, isForced)
  return await asker.deps.database.db.transaction().execute(async (tx) => {
    const pending = await insertWebhookChange(tx, { ...rollback, state: 'pending' })
    await audit(tx, asker, 'webhook_change.requested', pending)
    return pending
  })
}

/** Makes a rollback that waits for approval. Throws like `rollBackNow`, and 403 for the key that asked for it. */
export async function approveRollback(
  asker: Asker,
  rollback: WebhookChange,
  ref: NumberRef,
): Promise<WebhookChange> {
  const claimed = await claimApproved(asker, rollback)
  return (await make(asker, claimed, ref)).rollback
}
