import type { Kysely } from 'kysely'
import type { Database } from './database.ts'

export type Call = {
  readonly id: number
  readonly callSid: string
  readonly assistantId: number | null
  readonly assistantName: string | null
  readonly toPhoneNumber: string | null
  readonly customerPhoneNumber: string | null
  readonly status: string
  readonly durationSeconds: number | null
  readonly startedAtMs: number | null
  readonly endedAtMs: number | null
}

function selectCalls(db: Kysely<Database>, organizationId: string) {
  return db
    .selectFrom('calls')
    .leftJoin('assistants', (join) =>
      join
        .onRef('assistants.id', '=', 'calls.assistant_id')
        .onRef('assistants.organization_id', '=', 'calls.organization_id'),
    )
    .selectAll('calls')
    .select('assistants.name as assistant_name')
    .where('calls.organization_id', '=', organizationId)
}

type CallRow = Awaited<ReturnType<ReturnType<typeof selectCalls>['execute']>>[number]

function toCall(row: CallRow): Call {
  return {
    id: row.id,
    callSid: row.call_sid,
    assistantId: row.assistant_id,
    assistantName: row.assistant_name,
    toPhoneNumber: row.to_phone_number,
    customerPhoneNumber: row.customer_phone_number,
    status: row.status,
    durationSeconds: row.duration_seconds,
    startedAtMs: row.started_at?.getTime() ?? null,
    endedAtMs: row.ended_at?.getTime() ?? null,
  }
}

export async function findCall(
  db: Kysely<Database>,
  organizationId: string,
  callId: number,
): Promise<Call | undefined> {
  const row = await selectCalls(db, organizationId)
    .where('calls.id', '=', callId)
    .executeTakeFirst()
  return row && toCall(row)
}

export async function findCallBySid(
  db: Kysely<Database>,
  organizationId: string,
  callSid: string,
): Promise<Call | undefined> {
  const row = await selectCalls(db, organizationId)
    .where('calls.call_sid', '=', callSid)
    .executeTakeFirst()
  return row && toCall(row)
}

/** Those of the calls that the organization has, by number or by call_sid, each once. */
export async function findCalls(
  db: Kysely<Database>,
  organizationId: string,
  ids: readonly number[],
  callSids: readonly string[],
): Promise<Call[]> {
  if (ids.length === 0 && callSids.length === 0) return []
  const rows = await selectCalls(db, organizationId)
    .where((eb) =>
      eb.or([
        eb('calls.id', '=', eb.fn.any(eb.val([...ids]))),
        eb('calls.call_sid', '=', eb.fn.any(eb.val([...callSids]))),
      ]),
    )
    .execute()
  return rows.map(toCall)
}
