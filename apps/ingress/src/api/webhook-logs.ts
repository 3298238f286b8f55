import { OUTCOMES } from '@switchhook/core/event'
import { listWebhookLogs, type WebhookLog } from '@switchhook/core/store/webhook-log-queries'
import { z } from 'zod'
import { defineRoute, type Route } from './define-route.ts'
import { callSidFilter, idFilter, isOrdered, timeRange, UNORDERED } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'
import { showWebhookLog, webhookLogSchema } from './show-webhook-log.ts'

const KIND = 'webhook-logs'

const list = defineRoute({
  method: 'get',
  path: '/api/v1/webhook-logs',
  access: 'read',
  summary: 'List attempts, newest first',
  query: z
    .strictObject({
      ...pageQuery(KIND, z.int().nonnegative()),
      ...timeRange,
      destination: idFilter,
      delivery: idFilter,
      event: idFilter,
      type: z.string().min(1).max(50).optional().describe('webhook_type, sms_received for one'),
      outcome: z.enum(OUTCOMES).optional(),
      success: z.enum(['true', 'false']).optional(),
      call_sid: callSidFilter,
    })
    .refine(isOrdered, UNORDERED),
  answers: { 200: { description: 'A page of attempts', schema: pageSchema(webhookLogSchema) } },
  async handle({ deps, organizationId, query }) {
    const rows = await listWebhookLogs(
      deps.database.db,
      organizationId,
      {
        destinationId: query.destination,
        deliveryId: query.delivery,
        eventId: query.event,
        webhookType: query.type,
        outcome: query.outcome,
        isSuccess: query.success === undefined ? undefined : query.success === 'true',
        callSid: query.call_sid,
      },
      {
        limit: rowsToRead(query.limit),
        after: query.cursor,
        sinceMs: query.since,
        untilMs: query.until,
      },
    )
    const positionOf = ({ id, attemptedAtMs }: WebhookLog) => ({ id, timeMs: attemptedAtMs })
    return { status: 200, body: pageOf(KIND, query.limit, rows, positionOf, showWebhookLog) }
  },
})

export const webhookLogRoutes: readonly Route[] = [list]
