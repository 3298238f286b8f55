import { type AuditEventType, writeAudit } from '@switchhook/core/store/audit-logs'
import type { Queryable } from '@switchhook/core/store/transaction'
import type { Actor } from './audit-change.ts'

/** What is done to each resource without changing a setting of it, as the log's `action`. */
const ACTIONS = {
  'provider_account.token_rotated': 'rotate_token',
  'destination.secret_rotated': 'rotate_secret',
  'destination.tested': 'test',
  'delivery.replayed': 'replay',
  'delivery.cancelled': 'cancel',
  'event.replayed': 'replay',
  'replay.started': 'start',
  'replay.cancelled': 'cancel',
  'erasure.requested': 'request',
  'quarantine.released': 'release',
} as const satisfies Partial<Record<AuditEventType, string>>

/** Writes down what was done, in the transaction that does it where there is one. `details` hold no secret. */
export async function auditAction(
  db: Queryable,
  { organizationId, client, apiKey }: Actor,
  eventType: keyof typeof ACTIONS,
  resourceId: string,
  details: object | null = null,
): Promise<void> {
  await writeAudit(db, {
    ...{ organizationId, eventType, resourceId, details, ...client },
    apiKeyId: apiKey?.id ?? null,
    resourceType: eventType.slice(0, eventType.indexOf('.')),
    action: ACTIONS[eventType],
  })
}
