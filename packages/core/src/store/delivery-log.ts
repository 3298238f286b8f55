import type pg from 'pg'
import type { DeliveryState, EventType, Outcome } from '../event.ts'
import { isDataError, isMissingPartition } from './database.ts'
import { ensurePartitions } from './partitions.ts'

/** What became of a delivery, with the attempt that made it so, if one was made. */
export type DeliveryRecord = {
  readonly deliveryId: string
  readonly createdAtMs: number
  readonly eventId: string
  readonly eventReceivedAtMs: number
  readonly organizationId: string
  readonly destinationId: string
  readonly eventType: EventType
  readonly phoneNumber: string | null
  readonly callSid: string | null
  readonly assistantId: number | null
  readonly state: DeliveryState
  /** Attempts made so far, this one included. */
  readonly attempts: number
  readonly dueAtMs: number
  /** When the attempts were used up and the mail became owed; null before. */
  readonly fallbackAtMs: number | null
  readonly reason: string | null
  readonly attempt: AttemptRecord | null
}

/** One row of webhook_logs. Bodies are base64 when they are not text: a record may travel through Redis. */
export type AttemptRecord = {
  readonly attempt: number
  readonly attemptedAtMs: number
  readonly url: string
  readonly webhookType: string
  readonly requestContentType: string
  readonly requestBodyBase64: string | null
  readonly statusCode: number | null
  readonly responseBody: string | null
  readonly responseTimeMs: number
  readonly outcome: Outcome
  readonly error: string | null
}

/** For when there is no room for the bodies, or one of them is refused. */
export function withoutBodies(record: DeliveryRecord): DeliveryRecord {
  const { attempt } = record
  return {
    ...record,
    attempt: attempt && { ...attempt, requestBodyBase64: null, responseBody: null },
  }
}

/**
 * Log rows and delivery states in one statement, one commit. Both may be written twice: the log's key holds the
 * attempt, and a final state stays, as does one of a later attempt unless a final one comes: a worker that was taken for
 * dead may still bring the 200. The state is an upsert rather than an update,
 * because the delivery's own row may still wait in the spool, and because a tuple finds its partition by itself.
 */
const RECORD = `
with logs as (
  insert into webhook_logs (delivery_id, attempt, attempted_at, event_id, organization_id, destination_id, assistant_id,
                            call_sid, webhook_url, webhook_type, request_content_type, request_body,
                            response_status_code, response_body, response_time_ms, outcome, error_message)
  select * from unnest($1::text[], $2::int[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                       $8::text[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::int[], $14::text[],
                       $15::int[], $16::text[], $17::text[])
  on conflict do nothing
)
insert into deliveries (id, created_at, event_id, event_received_at, organization_id, destination_id, event_type,
                        phone_number, call_sid, state, attempts, due_at, fallback_at, reason, updated_at)
select row.*, now() from unnest($18::text[], $19::timestamptz[], $20::text[], $21::timestamptz[], $22::text[],
                         $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::int[],
                         $29::timestamptz[], $30::timestamptz[], $31::text[]) as row
on conflict (id, created_at) do update set
  state = excluded.state, attempts = greatest(deliveries.attempts, excluded.attempts), due_at = excluded.due_at,
  fallback_at = coalesce(deliveries.fallback_at, excluded.fallback_at), reason = excluded.reason,
  updated_at = excluded.updated_at
where deliveries.state = 'pending' and (excluded.state <> 'pending' or excluded.attempts >= deliveries.attempts)`

const toDate = (atMs: number | null): Date | null => (atMs === null ? null : new Date(atMs))

/** The latest record of each delivery: one statement may touch a row only once. */
function latestOf(records: readonly DeliveryRecord[]): DeliveryRecord[] {
  const latest = new Map<string, DeliveryRecord>()
  for (const record of records) {
    const known = latest.get(record.deliveryId)
    const isSettled = known !== undefined && known.state !== 'pending'
    const isOlder = known !== undefined && known.attempts > record.attempts
    if (!isSettled && (!isOlder || record.state !== 'pending'))
      latest.set(record.deliveryId, record)
  }
  // Sorted, so that two batches never lock the same rows in opposite order.
  return [...latest.values()].sort((a, b) => (a.deliveryId < b.deliveryId ? -1 : 1))
}

function parametersOf(records: readonly DeliveryRecord[]): unknown[] {
  const logs = records.flatMap((record) =>
    record.attempt === null ? [] : [{ record, attempt: record.attempt }],
  )
  const states = latestOf(records)
  return [
    logs.map(({ record }) => record.deliveryId),
    logs.map(({ attempt }) => attempt.attempt),
    logs.map(({ attempt }) => toDate(attempt.attemptedAtMs)),
    logs.map(({ record }) => record.eventId),
    logs.map(({ record }) => record.organizationId),
    logs.map(({ record }) => record.destinationId),
    logs.map(({ record }) => record.assistantId),
    logs.map(({ record }) => record.callSid),
    logs.map(({ attempt }) => attempt.url),
    logs.map(({ attempt }) => attempt.webhookType),
    logs.map(({ attempt }) => attempt.requestContentType),
    logs.map(({ attempt }) =>
      attempt.requestBodyBase64 === null ? null : Buffer.from(attempt.requestBodyBase64, 'base64'),
    ),
    logs.map(({ attempt }) => attempt.statusCode),
    logs.map(({ attempt }) => attempt.responseBody),
    logs.map(({ attempt }) => attempt.responseTimeMs),
    logs.map(({ attempt }) => attempt.outcome),
    logs.map(({ attempt }) => attempt.error),
    states.map((record) => record.deliveryId),
    states.map((record) => toDate(record.createdAtMs)),
    states.map((record) => record.eventId),
    states.map((record) => toDate(record.eventReceivedAtMs)),
    states.map((record) => record.organizationId),
    states.map((record) => record.destinationId),
    states.map((record) => record.eventType),
    states.map((record) => record.phoneNumber),
    states.map((record) => record.callSid),
    states.map((record) => record.state),
    states.map((record) => record.attempts),
    states.map((record) => toDate(record.dueAtMs)),
    states.map((record) => toDate(record.fallbackAtMs)),
    states.map((record) => record.reason),
  ]
}

async function writeOnce(pool: pg.Pool, records: readonly DeliveryRecord[]): Promise<void> {
  const statement = { name: 'record', text: RECORD, values: parametersOf(records) }
  await pool.query(statement).catch(async (error: unknown) => {
    if (!isMissingPartition(error)) throw error
    for (const record of records) {
      await ensurePartitions(pool, record.createdAtMs)
      await ensurePartitions(pool, record.attempt?.attemptedAtMs ?? Date.now())
    }
    await pool.query(statement)
  })
}

/**
 * Commits the records together. A record that Postgres refuses for its content is found by halving the batch, told to
 * `onPoison` and committed without its bodies if that helps: a delivery whose outcome is not on record is made again.
 * The others are committed. Throws only when Postgres itself fails.
 */
export async function writeDeliveryLog(
  pool: pg.Pool,
  records: readonly DeliveryRecord[],
  onPoison: (record: DeliveryRecord, error: unknown) => void,
): Promise<void> {
  if (records.length === 0) return
  try {
    await writeOnce(pool, records)
  } catch (error) {
    if (!isDataError(error)) throw error
    const [only] = records
    if (records.length === 1 && only !== undefined) {
      onPoison(only, error)
      await writeOnce(pool, [withoutBodies(only)]).catch((again: unknown) => {
        if (!isDataError(again)) throw again
      })
      return
    }
    const middle = Math.ceil(records.length / 2)
    await writeDeliveryLog(pool, records.slice(0, middle), onPoison)
    await writeDeliveryLog(pool, records.slice(middle), onPoison)
  }
}
