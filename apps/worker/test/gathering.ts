import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { type JournalEntry, writeJournal } from '@switchhook/core/store/journal'
import { claimMailSlot, type MailSlot } from '@switchhook/core/store/mail-digests'
import { ACCEPTED_AT_MS, recordOf, type TestStores } from './test-stores.ts'

export const RECIPIENT = 'owner@customer.example'
const LIMITS = { windowMs: 600_000, maxSingles: 0 }

export type DigestSlot = Extract<MailSlot, { kind: 'digest' }>

/** Makes exhausted deliveries of these entries whose mail is the same digest, which is due. */
export async function gather(
  { pool }: TestStores,
  entries: readonly JournalEntry[],
): Promise<DigestSlot> {
  await writeJournal(pool, entries)
  const owed = { attempts: 3, fallbackAtMs: ACCEPTED_AT_MS, reason: 'It answered 500.' }
  const records = entries.map((entry) => recordOf(entry, owed))
  await writeDeliveryLog(pool, records, () => undefined)
  const ids = { organizationId: 'org_a', destinationId: 'dst_sample', recipient: RECIPIENT }
  let slot: MailSlot | undefined
  for (const { event, deliveries } of entries) {
    const deliveryId = deliveries[0]?.deliveryId ?? ''
    const claim = { ...ids, deliveryId, createdAtMs: event.receivedAtMs }
    slot = await claimMailSlot(pool, claim, LIMITS)
  }
  if (slot?.kind !== 'digest') throw new Error('no digest')
  await makeDue({ pool })
  return { ...slot, dueInMs: 0 }
}

/** Digests that wait, or that a worker has. */
export async function makeDue({ pool }: Pick<TestStores, 'pool'>): Promise<void> {
  await pool.query(`update mail_digests set next_try_at = now() - interval '1 ms'`)
}

export async function clearMails({ pool }: Pick<TestStores, 'pool'>): Promise<void> {
  await pool.query('truncate mail_windows, mail_digests, fallback_mails')
}

/** How many deliveries are in each state. */
export async function countStates({
  pool,
}: Pick<TestStores, 'pool'>): Promise<Record<string, number>> {
  const { rows } = await pool.query(
    'select state, count(*) as n from deliveries group by 1 order by 1',
  )
  return Object.fromEntries(rows.map(({ state, n }) => [state, n]))
}
