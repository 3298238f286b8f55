import {
  insertWebhookChange,
  isInterrupted,
  updateWebhookChange,
  type WebhookChange,
} from '@switchhook/core/store/webhook-changes'
import type { NumberRef } from '../provider-control/provider-control.ts'
import type { WebhookState } from '../provider-control/webhook-state.ts'
import { ApiError } from './api-error.ts'
import {
  APPLYING,
  type Asker,
  audit,
  claim,
  IF_CUT_OFF,
  settle,
  settleFailed,
  toApiError,
} from './webhook-changes-settle.ts'

type States = { readonly before: WebhookState; readonly after: WebhookState }

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
  return { before: before as WebhookState, after: after as WebhookState }
}

/**
 * Puts back at the provider what was there before the change, which becomes `rolled_back`; a change of its own tells
 * of it. Approval is not asked for: it was in place once. Throws `ApiError`: 409 when it cannot be, or may not be
 * because the provider holds something else by now, 500 when the provider fails.
 */
export async function rollBackChange(
  asker: Asker,
  change: WebhookChange,
  ref: NumberRef,
  isForced: boolean,
): Promise<WebhookChange> {
  const { before, after } = statesOf(change)
  const { deps, organizationId, apiKey } = asker
  const { phoneNumber, provider } = change
  const rollback = await claim(asker, phoneNumber, (tx) =>
    insertWebhookChange(tx, {
      ...{ organizationId, phoneNumber, provider, requestedBy: apiKey.id, ...APPLYING },
      ...{ requested: { rollback_of: change.id }, rollbackOf: change.id },
      ...{ before: after, after: before, error: IF_CUT_OFF },
    }),
  )
  try {
    const wasCutOff = change.state !== 'applied'
    await deps.providerControl.rollBack(ref, { before, after, isForced, wasCutOff })
  } catch (error) {
    const failure = `Failed to roll back webhooks for ${phoneNumber} via ${provider}`
    const known = toApiError(error, failure)
    if (known instanceof ApiError) await settleFailed(asker, rollback, error)
    throw known
  }
  let rolledBack = change
  await settle(asker, rollback, { state: 'applied', error: null }, async (tx) => {
    const update = { state: 'rolled_back', error: null, decidedBy: apiKey.id } as const
    rolledBack = (await updateWebhookChange(tx, change, update)) ?? change
    await audit(tx, asker, 'webhook_change.rolled_back', rolledBack)
  })
  return rolledBack
}
