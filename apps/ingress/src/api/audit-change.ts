import { isDeepStrictEqual } from 'node:util'
import type { ApiKey } from '@switchhook/core/routing/snapshot'
import { writeAudit } from '@switchhook/core/store/audit-logs'
import type { Transaction } from '@switchhook/core/store/transaction'
import type { Client } from './define-route.ts'

/** Who asks for a change: what a route's handler is given. `apiKey` is absent for the holder of the admin key. */
export type Actor = {
  readonly organizationId: string
  readonly client: Client
  readonly apiKey?: ApiKey
}

type Shown = {
  readonly id: string | number
  readonly name?: string
  readonly phone_number?: string | null
}

type ResourceType =
  | 'organization'
  | 'api_key'
  | 'assistant'
  | 'phone_number'
  | 'provider_account'
  | 'destination'

const DONE = { create: 'created', update: 'updated', delete: 'deleted' } as const

/**
 * What writes down the changes of one kind of resource, in the transaction that makes them: both rows as `show` shows
 * them to the API, which has no secrets; null for what was not there, or is no more. No row for what changes nothing,
 * unless `details` tell of something that is not shown, like a secret that was replaced.
 */
export function auditOf<Row>(resourceType: ResourceType, show: (row: Row) => Shown) {
  return async (
    tx: Transaction,
    { organizationId, client, apiKey }: Actor,
    before: Row | null,
    after: Row | null,
    details: object | null = null,
  ): Promise<void> => {
    const oldValues = before === null ? null : show(before)
    const newValues = after === null ? null : show(after)
    const shown = newValues ?? oldValues
    if (shown === null) return
    if (details === null && isDeepStrictEqual(oldValues, newValues)) return
    const action = oldValues === null ? 'create' : newValues === null ? 'delete' : 'update'
    await writeAudit(tx, {
      organizationId,
      eventType: `${resourceType}.${DONE[action]}`,
      apiKeyId: apiKey?.id ?? null,
      ...client,
      resourceType,
      resourceId: String(shown.id),
      resourceName: shown.name ?? shown.phone_number ?? null,
      action,
      details,
      oldValues,
      newValues,
    })
  }
}
