import { type Kysely, type Selectable, sql } from 'kysely'
import type { Outcome } from '../event.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'

/** What one attempt came to, without the bodies: short enough to stand in a list. */
export type AttemptSummary = {
  readonly deliveryId: string
  readonly attempt: number
  readonly attemptedAtMs: number
  readonly url: string
  readonly statusCode: number | null
  readonly responseTimeMs: number
  readonly outcome: Outcome
  readonly error: string | null
}

export type StoredAttempt = AttemptSummary & { readonly responseBody: string | null }

/** One row of webhook_logs, with the number of its call where it has one. */
export type WebhookLog = StoredAttempt & {
  readonly id: number
  readonly callId: number | null
  readonly assistantId: number | null
  readonly eventId: string
  readonly destinationId: string
  readonly webhookType: string
  readonly requestContentType: string
  /** Null when it was larger than what a log keeps. */
  readonly requestBody: Buffer | null
}

export type WebhookLogFilter = {
  readonly destinationId?: string | undefined
  readonly deliveryId?: string | undefined
  readonly eventId?: string | undefined
  readonly webhookType?: string | undefined
  readonly outcome?: Outcome | undefined
  readonly isSuccess?: boolean | undefined
  readonly callSid?: string | undefined
}

const SUMMARY_COLUMNS = [
  'log.delivery_id',
  'log.attempt',
  'log.attempted_at',
  'log.webhook_url',
  'log.response_status_code',
  'log.response_time_ms',
  'log.outcome',
  'log.error_message',
] as const

type SummaryRow = Pick<
  Database['webhook_logs'],
  | 'delivery_id'
  | 'attempt'
  | 'attempted_at'
  | 'webhook_url'
  | 'response_status_code'
  | 'response_time_ms'
  | 'outcome'
  | 'error_message'
>

function toSummary(row: SummaryRow): AttemptSummary {
  return {
    deliveryId: row.delivery_id,
    attempt: row.attempt,
    attemptedAtMs: row.attempted_at.getTime(),
    url: row.webhook_url,
    statusCode: row.response_status_code,
    responseTimeMs: row.response_time_ms,
    outcome: row.outcome,
    error: row.error_message,
  }
}

/** A worker's clock may run behind the ingress that stamped the delivery. */
const CLOCK_SKEW_MS = 3_600_000
/** Twice the most attempts a destination may ask for: a redelivered job repeats some. */
const MAX_ATTEMPTS_SHOWN = 100

type DeliveryRef = { readonly id: string; readonly createdAtMs: number }

/** The attempts of some deliveries of one organization, in order, by delivery id. One look-up of the key per delivery and day. */
export async function findAttempts(
  db: Kysely<Database>,
  organizationId: string,
  deliveries: readonly DeliveryRef[],
): Promise<Map<string, AttemptSummary[]>> {
  const byDelivery = new Map<string, AttemptSummary[]>(deliveries.map(({ id }) => [id, []]))
  if (deliveries.length === 0) return byDelivery
  const oldestMs = Math.min(...deliveries.map(({ createdAtMs }) => createdAtMs))
  const rows = await db
    .selectFrom('webhook_logs as log')
    .select(SUMMARY_COLUMNS)
    .where('log.organization_id', '=', organizationId)
    .where('log.delivery_id', '=', sql<string>`any(${[...byDelivery.keys()]})`)
    .where('log.attempted_at', '>=', new Date(oldestMs - CLOCK_SKEW_MS))
    .orderBy('log.attempted_at')
    .orderBy('log.attempt')
    .limit(deliveries.length * MAX_ATTEMPTS_SHOWN)
    .execute()
  for (const row of rows) byDelivery.get(row.delivery_id)?.push(toSummary(row))
  return byDelivery
}

/** The attempts of one delivery, in order, with what the destination answered. */
export async function findAttemptsOf(
  db: Kysely<Database>,
  organizationId: string,
  delivery: DeliveryRef,
): Promise<StoredAttempt[]> {
  const rows = await db
    .selectFrom('webhook_logs as log')
    .select([...SUMMARY_COLUMNS, 'log.response_body'])
    .where('log.organization_id', '=', organizationId)
    .where('log.delivery_id', '=', delivery.id)
    .where('log.attempted_at', '>=', new Date(delivery.createdAtMs - CLOCK_SKEW_MS))
    .orderBy('log.attempted_at')
    .orderBy('log.attempt')
    .limit(MAX_ATTEMPTS_SHOWN)
    .execute()
  return rows.map((row) => ({ ...toSummary(row), responseBody: row.response_body }))
}

function selectLogs(db: Kysely<Database>, organizationId: string) {
  return db
    .selectFrom('webhook_logs as log')
    .leftJoin('calls as call', (join) =>
      join
        .onRef('call.organization_id', '=', 'log.organization_id')
        .onRef('call.call_sid', '=', 'log.call_sid'),
    )
    .selectAll('log')
    .select('call.id as call_id')
    .where('log.organization_id', '=', organizationId)
}

type LogRow = Selectable<Database['webhook_logs']> & { readonly call_id: number | null }

function toLog(row: LogRow): WebhookLog {
  return {
    ...toSummary(row),
    id: row.id,
    callId: row.call_id,
    assistantId: row.assistant_id,
    eventId: row.event_id,
    destinationId: row.destination_id,
    webhookType: row.webhook_type,
    requestContentType: row.request_content_type,
    requestBody: row.request_body,
    responseBody: row.response_body,
  }
}

/**
 * The organization's log, newest first. Indexes: webhook_logs_by_organization, webhook_logs_by_call, the key for a
 * delivery, and for an event the deliveries that deliveries_by_event tells.
 */
export async function listWebhookLogs(
  db: Kysely<Database>,
  organizationId: string,
  filter: WebhookLogFilter,
  page: PageRequest<number>,
): Promise<WebhookLog[]> {
  let query = selectLogs(db, organizationId).where(withinPage('log.attempted_at', 'log.id', page))
  if (filter.destinationId !== undefined) {
    query = query.where('log.destination_id', '=', filter.destinationId)
  }
  if (filter.deliveryId !== undefined) {
    query = query.where('log.delivery_id', '=', filter.deliveryId)
  }
  const { eventId } = filter
  if (eventId !== undefined) {
    query = query
      .where('log.event_id', '=', eventId)
      .where('log.delivery_id', 'in', (sub) =>
        sub
          .selectFrom('deliveries')
          .select('deliveries.id')
          .where('deliveries.event_id', '=', eventId),
      )
  }
  if (filter.webhookType !== undefined) {
    query = query.where('log.webhook_type', '=', filter.webhookType)
  }
  if (filter.outcome !== undefined) query = query.where('log.outcome', '=', filter.outcome)
  if (filter.isSuccess !== undefined) {
    query = query.where('log.outcome', filter.isSuccess ? '=' : '<>', 'delivered')
  }
  if (filter.callSid !== undefined) query = query.where('log.call_sid', '=', filter.callSid)
  const rows = await query
    .orderBy('log.attempted_at', 'desc')
    .orderBy('log.id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toLog)
}

/** The newest `limit` attempts of one call, oldest first. Index: webhook_logs_by_call. */
export async function findWebhookLogsOfCall(
  db: Kysely<Database>,
  organizationId: string,
  callSid: string,
  webhookType: string | undefined,
  limit: number,
): Promise<WebhookLog[]> {
  const filter = { callSid, webhookType }
  return (await listWebhookLogs(db, organizationId, filter, { limit })).reverse()
}
