import type { Selectable } from 'kysely'
import type { ProviderName } from '../event.ts'
import type { KeyRing } from '../secrets.ts'
import type { Database } from './database.ts'
import { syncImpliedDestination } from './implied-destinations.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

export type PhoneNumberFields = {
  readonly assistantId: number | null
  readonly serviceId: string | null
  readonly webhookUrl: string | null
  /** A mail address: what the PBX calls webhook_url_fallback. */
  readonly webhookUrlFallback: string | null
}

export type PhoneNumberRecord = PhoneNumberFields & {
  readonly id: number
  /** E.164; never changes. */
  readonly phoneNumber: string
  readonly provider: ProviderName
  readonly createdAtMs: number
}

const NO_TARGET = { webhookUrl: null, webhookUrlFallback: null }

function toRecord(row: Selectable<Database['phone_numbers']>): PhoneNumberRecord {
  return {
    id: row.id,
    phoneNumber: row.phone_number,
    provider: row.provider,
    assistantId: row.assistant_id,
    serviceId: row.service_id,
    webhookUrl: row.webhook_url,
    webhookUrlFallback: row.webhook_url_fallback,
    createdAtMs: row.created_at.getTime(),
  }
}

function columnsOf(fields: PhoneNumberFields) {
  return {
    assistant_id: fields.assistantId,
    service_id: fields.serviceId,
    webhook_url: fields.webhookUrl,
    webhook_url_fallback: fields.webhookUrlFallback,
  }
}

type Target = Pick<PhoneNumberFields, 'webhookUrl' | 'webhookUrlFallback'>

async function syncDestination(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  phoneNumber: string,
  before: Target,
  after: Target,
): Promise<void> {
  const target = ({ webhookUrl: url, webhookUrlFallback: fallbackEmail }: Target) => ({
    url,
    fallbackEmail,
  })
  const scope = { assistantId: null, phoneNumber }
  const owner = { organizationId, name: phoneNumber, scope }
  await syncImpliedDestination(tx, ring, owner, 'phone_number', target(before), target(after))
}

/** The organization's own, but for deleted ones. */
function selectOwn(db: Queryable, organizationId: string) {
  return db
    .selectFrom('phone_numbers')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
}

/** With the destination that its URL stands for. Fails with a unique violation when the organization has it already. */
export async function insertPhoneNumber(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  number: Pick<PhoneNumberRecord, 'phoneNumber' | 'provider'>,
  fields: PhoneNumberFields,
): Promise<PhoneNumberRecord> {
  const row = await tx
    .insertInto('phone_numbers')
    .values({
      organization_id: organizationId,
      phone_number: number.phoneNumber,
      provider: number.provider,
      ...columnsOf(fields),
      created_at: new Date(),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  await syncDestination(tx, ring, organizationId, number.phoneNumber, NO_TARGET, fields)
  return toRecord(row)
}

/** Newest first. Index: phone_numbers_by_organization. */
export async function listPhoneNumbers(
  db: Queryable,
  organizationId: string,
  page: PageRequest<number>,
): Promise<PhoneNumberRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toRecord)
}

export async function findPhoneNumber(
  db: Queryable,
  organizationId: string,
  id: number,
): Promise<PhoneNumberRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : toRecord(row)
}

/** `before` is what this transaction has read. The destination that its URL stands for follows. */
export async function updatePhoneNumber(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  before: PhoneNumberRecord,
  fields: PhoneNumberFields,
): Promise<PhoneNumberRecord> {
  const row = await tx
    .updateTable('phone_numbers')
    .set(columnsOf(fields))
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow()
  const after = toRecord(row)
  await syncDestination(tx, ring, organizationId, before.phoneNumber, before, after)
  return after
}

/** With the destination that its URL stands for. `number` is what this transaction has read. */
export async function deletePhoneNumber(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  number: PhoneNumberRecord,
): Promise<void> {
  await tx
    .updateTable('phone_numbers')
    .set({ deleted_at: new Date() })
    .where('id', '=', number.id)
    .execute()
  await syncDestination(tx, ring, organizationId, number.phoneNumber, number, NO_TARGET)
}
