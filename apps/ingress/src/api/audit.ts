import { AUDIT_EVENT_TYPES, type AuditLog, listAudit } from '@switchhook/core/store/audit-logs'
import { z } from 'zod'
import { organizationNumber } from './burki-numbers.ts'
import { defineRoute, type Route } from './define-route.ts'
import { isoDate } from './iso-date.ts'
import { toIso } from './list-query.ts'
import { integerFilter, limitQuery, skipQuery, textFilter } from './offset-page.ts'

const values = z.record(z.string(), z.unknown()).nullable()

/** Burki's AuditLogEntry. There are no users here: who changes something is an API key of the organization. */
const entrySchema = z.object({
  id: z.int(),
  event_type: z.string(),
  event_timestamp: z.iso.datetime(),
  user_id: z.int().nullable(),
  user_email: z.null(),
  organization_id: z.int(),
  ip_address: z.string().nullable(),
  user_agent: z.string().nullable(),
  request_id: z.string().nullable(),
  api_key_id: z.int().nullable(),
  resource_type: z.string(),
  resource_id: z.string(),
  resource_name: z.string().nullable(),
  action: z.string(),
  status: z.enum(['success', 'failure']),
  details: values,
  old_values: values,
  new_values: values,
  phi_accessed: z.null(),
  error_message: z.string().nullable(),
})

function show(log: AuditLog, organizationId: string): z.infer<typeof entrySchema> {
  const number = organizationNumber(organizationId)
  return {
    id: log.id,
    event_type: log.eventType,
    event_timestamp: toIso(log.atMs),
    user_id: log.apiKeyNumber === null ? null : number,
    user_email: null,
    organization_id: number,
    ip_address: log.ipAddress,
    user_agent: log.userAgent,
    request_id: log.requestId,
    api_key_id: log.apiKeyNumber,
    resource_type: log.resourceType,
    resource_id: log.resourceId,
    resource_name: log.resourceName,
    action: log.action,
    status: log.status,
    details: log.details,
    old_values: log.oldValues,
    new_values: log.newValues,
    phi_accessed: null,
    error_message: log.errorMessage,
  }
}

const list = defineRoute({
  method: 'get',
  path: '/api/v1/audit/logs',
  access: 'admin',
  summary: 'Who changed what, newest first',
  // Like Burki: other parameters are ignored.
  query: z.object({
    user_id: integerFilter.describe('The user_id of the entries; any other has none'),
    event_type: textFilter,
    resource_type: textFilter,
    resource_id: textFilter,
    start_date: isoDate('from'),
    end_date: isoDate('to'),
    phi_only: z
      .stringbool()
      .default(false)
      .meta({ type: 'boolean', description: 'Reading is not audited here: true has no entries' }),
    limit: limitQuery,
    offset: skipQuery,
  }),
  answers: {
    200: {
      description: 'A page of the log',
      schema: z.object({
        logs: z.array(entrySchema),
        total: z.int(),
        limit: z.int(),
        offset: z.int(),
      }),
    },
  },
  async handle({ deps, organizationId, query }) {
    const { limit, offset, user_id: userId } = query
    const isNobody = userId !== undefined && userId !== organizationNumber(organizationId)
    const { logs, total } =
      query.phi_only || isNobody
        ? { logs: [], total: 0 }
        : await listAudit(
            deps.database.db,
            organizationId,
            {
              isByKey: userId !== undefined,
              eventType: query.event_type,
              resourceType: query.resource_type,
              resourceId: query.resource_id,
              fromMs: query.start_date,
              toMs: query.end_date,
            },
            { limit, offset },
          )
    const shown = logs.map((log) => show(log, organizationId))
    return { status: 200, body: { logs: shown, total, limit, offset } }
  },
})

const eventTypes = defineRoute({
  method: 'get',
  path: '/api/v1/audit/event-types',
  access: 'admin',
  summary: 'Every event_type that the audit log may hold',
  query: z.object({}),
  answers: {
    200: {
      description: 'The types',
      schema: z.object({ event_types: z.array(z.enum(AUDIT_EVENT_TYPES)) }),
    },
  },
  handle: async () => ({ status: 200, body: { event_types: AUDIT_EVENT_TYPES } }),
})

export const auditRoutes: readonly Route[] = [list, eventTypes]
