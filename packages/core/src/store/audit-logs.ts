import { sql } from 'kysely'
import type { Queryable } from './transaction.ts'

/**
 * What is audited: `<resource_type>.<action in the past tense>`. The list is what `GET /api/v1/audit/event-types` shows;
 * whoever audits something new adds its line here.
 */
export const AUDIT_EVENT_TYPES = [
  'organization.created',
  'organization.updated',
  'api_key.created',
  'api_key.deleted',
  'assistant.created',
  'assistant.updated',
  'assistant.deleted',
  'phone_number.created',
  'phone_number.updated',
  'phone_number.deleted',
  'phone_number.imported',
  'provider_account.created',
  'provider_account.updated',
  'provider_account.deleted',
  'provider_account.token_rotated',
  'destination.created',
  'destination.updated',
  'destination.deleted',
  'destination.secret_rotated',
  'destination.tested',
  'destination.disabled',
  'delivery.replayed',
  'delivery.cancelled',
  'event.replayed',
  'replay.started',
  'replay.cancelled',
  'erasure.requested',
  'quarantine.released',
  'webhook_change.requested',
  'webhook_change.applied',
  'webhook_change.failed',
  'webhook_change.approved',
  'webhook_change.rejected',
  'webhook_change.rolled_back',
] as const

export type AuditEventType = (typeof AUDIT_EVENT_TYPES)[number]

/** The values hold no secret: neither a token nor a password, nor a header that may carry one. */
export type AuditEntry = {
  readonly organizationId: string
  /** One of `AUDIT_EVENT_TYPES`. */
  readonly eventType: string
  /** The key that asked; null for the holder of the admin key, and for what the gateway does by itself. */
  readonly apiKeyId: string | null
  readonly ipAddress?: string | null
  readonly userAgent?: string | null
  /** `assistant`, `api_key`, … */
  readonly resourceType: string
  readonly resourceId: string
  readonly resourceName?: string | null
  /** `create`, `update`, `delete`, … */
  readonly action: string
  readonly status?: 'success' | 'failure'
  readonly details?: object | null
  readonly oldValues?: object | null
  readonly newValues?: object | null
  readonly errorMessage?: string | null
}

const toJson = (value: object | null | undefined): string | null =>
  value === null || value === undefined ? null : JSON.stringify(value)

/** Belongs into the transaction of the change that it tells of: both are there or neither. */
export async function writeAudit(db: Queryable, entry: AuditEntry): Promise<void> {
  await db
    .insertInto('audit_logs')
    .values({
      organization_id: entry.organizationId,
      event_type: entry.eventType,
      event_timestamp: new Date(),
      api_key_id: entry.apiKeyId,
      ip_address: entry.ipAddress ?? null,
      user_agent: entry.userAgent ?? null,
      request_id: null,
      resource_type: entry.resourceType,
      resource_id: entry.resourceId,
      resource_name: entry.resourceName ?? null,
      action: entry.action,
      status: entry.status ?? 'success',
      details: toJson(entry.details),
      old_values: toJson(entry.oldValues),
      new_values: toJson(entry.newValues),
      error_message: entry.errorMessage ?? null,
    })
    .execute()
}

export type AuditLog = {
  readonly id: number
  readonly eventType: string
  readonly atMs: number
  /** The key's number; null for the admin key. */
  readonly apiKeyNumber: number | null
  readonly ipAddress: string | null
  readonly userAgent: string | null
  readonly requestId: string | null
  readonly resourceType: string
  readonly resourceId: string
  readonly resourceName: string | null
  readonly action: string
  readonly status: 'success' | 'failure'
  readonly details: Record<string, unknown> | null
  readonly oldValues: Record<string, unknown> | null
  readonly newValues: Record<string, unknown> | null
  readonly errorMessage: string | null
}

export type AuditFilter = {
  /** Not what the holder of the admin key did. */
  readonly isByKey?: boolean
  readonly eventType?: string | undefined
  readonly resourceType?: string | undefined
  readonly resourceId?: string | undefined
  /** Both ends are included. */
  readonly fromMs?: number | undefined
  readonly toMs?: number | undefined
}

/** Newest first, and how many match in all. Index: audit_logs_by_organization. */
export async function listAudit(
  db: Queryable,
  organizationId: string,
  filter: AuditFilter,
  page: { readonly limit: number; readonly offset: number },
): Promise<{ logs: AuditLog[]; total: number }> {
  const { isByKey, eventType, resourceType, resourceId, fromMs, toMs } = filter
  let matching = db
    .selectFrom('audit_logs as log')
    .where('log.organization_id', '=', organizationId)
  if (isByKey === true) matching = matching.where('log.api_key_id', 'is not', null)
  if (eventType !== undefined) matching = matching.where('log.event_type', '=', eventType)
  if (resourceType !== undefined) matching = matching.where('log.resource_type', '=', resourceType)
  if (resourceId !== undefined) matching = matching.where('log.resource_id', '=', resourceId)
  if (fromMs !== undefined) matching = matching.where('log.event_timestamp', '>=', new Date(fromMs))
  if (toMs !== undefined) matching = matching.where('log.event_timestamp', '<=', new Date(toMs))
  const { total } = await matching
    .select(sql<number>`count(*)`.as('total'))
    .executeTakeFirstOrThrow()
  const rows = await matching
    .leftJoin('api_keys as key', (join) =>
      join
        .onRef('key.id', '=', 'log.api_key_id')
        .onRef('key.organization_id', '=', 'log.organization_id'),
    )
    .selectAll('log')
    .select('key.number as api_key_number')
    .orderBy('log.event_timestamp', 'desc')
    .orderBy('log.id', 'desc')
    .limit(page.limit)
    .offset(page.offset)
    .execute()
  const logs = rows.map((row) => ({
    id: row.id,
    eventType: row.event_type,
    atMs: row.event_timestamp.getTime(),
    apiKeyNumber: row.api_key_number,
    ipAddress: row.ip_address,
    userAgent: row.user_agent,
    requestId: row.request_id,
    resourceType: row.resource_type,
    resourceId: row.resource_id,
    resourceName: row.resource_name,
    action: row.action,
    status: row.status,
    details: row.details,
    oldValues: row.old_values,
    newValues: row.new_values,
    errorMessage: row.error_message,
  }))
  return { logs, total }
}
