import { sql } from 'kysely'
import { randomText } from '../ids.ts'
import { masked, nullIfTheirs } from './privacy-mentions.ts'
import type { Transaction } from './transaction.ts'

/** Whose traces are looked for: those of one number in one organization. */
export type Person = { readonly organizationId: string; readonly phoneNumber: string }

const PLACEHOLDER_BYTES = 10

/**
 * Takes the number out of the names of calls, in all tables at once, so that what belongs together still does. What
 * stands there instead is random: of a digest one could find the number by trying all. Names without it stay.
 * Indexes: the unique one of calls, events_by_call, deliveries_by_event, webhook_logs_by_call.
 */
export async function maskCallSids(
  tx: Transaction,
  { organizationId, phoneNumber }: Person,
  callSids: readonly string[],
): Promise<void> {
  const placeholder = () => `erased-${randomText(PLACEHOLDER_BYTES)}`
  const renamed = [...new Set(callSids)]
    .map((before) => ({ before, after: masked(before, phoneNumber, placeholder()) }))
    .filter(({ before, after }) => before !== after)
  if (renamed.length === 0) return
  const befores = renamed.map(({ before }) => before)
  const afters = renamed.map(({ after }) => after)
  const names = sql`unnest(${befores}::text[], ${afters}::text[]) as name (before, after)`
  await sql`
    update calls
       set call_sid = name.after,
           customer_phone_number = ${nullIfTheirs('customer_phone_number', phoneNumber)},
           to_phone_number = ${nullIfTheirs('to_phone_number', phoneNumber)}
      from ${names} where organization_id = ${organizationId} and call_sid = name.before`.execute(
    tx,
  )
  const { rows } = await sql<{ id: string }>`
    update events set call_sid = name.after
      from ${names} where organization_id = ${organizationId} and call_sid = name.before
    returning id`.execute(tx)
  await sql`
    update deliveries set call_sid = name.after
      from ${names} where event_id = any(${rows.map(({ id }) => id)}) and call_sid = name.before`.execute(
    tx,
  )
  await sql`
    update webhook_logs set call_sid = name.after
      from ${names} where organization_id = ${organizationId} and call_sid = name.before`.execute(
    tx,
  )
  await sql`
    update call_aliases set call_sid = name.after
      from ${names} where organization_id = ${organizationId} and call_sid = name.before`.execute(
    tx,
  )
}
