import type { Selectable } from 'kysely'
import type { KeyRing } from '../secrets.ts'
import type { Database } from './database.ts'
import { type ImpliedOwner, syncImpliedDestination } from './implied-destinations.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import { forgetDeletedOperations } from './organizations.ts'
import type { Queryable, Transaction } from './transaction.ts'

export type AssistantFields = {
  readonly name: string
  readonly webhookUrl: string | null
  readonly smsWebhookUrl: string | null
  readonly messagingServiceSid: string | null
  readonly webhookFallbackEmail: string | null
}

export type AssistantRecord = AssistantFields & {
  readonly id: number
  readonly createdAtMs: number
}

const NO_TARGETS = { webhookUrl: null, smsWebhookUrl: null, webhookFallbackEmail: null }

function toRecord(row: Selectable<Database['assistants']>): AssistantRecord {
  return {
    id: row.id,
    name: row.name,
    webhookUrl: row.webhook_url,
    smsWebhookUrl: row.sms_webhook_url,
    messagingServiceSid: row.messaging_service_sid,
    webhookFallbackEmail: row.webhook_fallback_email,
    createdAtMs: row.created_at.getTime(),
  }
}

function columnsOf(fields: AssistantFields) {
  return {
    name: fields.name,
    webhook_url: fields.webhookUrl,
    sms_webhook_url: fields.smsWebhookUrl,
    messaging_service_sid: fields.messagingServiceSid,
    webhook_fallback_email: fields.webhookFallbackEmail,
  }
}

type Targets = Pick<AssistantFields, 'webhookUrl' | 'smsWebhookUrl' | 'webhookFallbackEmail'>

async function syncDestinations(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  { id, name }: AssistantRecord,
  before: Targets,
  after: Targets,
): Promise<void> {
  const owner: ImpliedOwner = {
    organizationId,
    name,
    scope: { assistantId: id, phoneNumber: null },
  }
  const sms = ({ smsWebhookUrl: url, webhookFallbackEmail: fallbackEmail }: Targets) => ({
    url,
    fallbackEmail,
  })
  const voice = ({ webhookUrl: url, webhookFallbackEmail: fallbackEmail }: Targets) => ({
    url,
    fallbackEmail,
  })
  await syncImpliedDestination(tx, ring, owner, 'assistant_sms', sms(before), sms(after))
  await syncImpliedDestination(tx, ring, owner, 'assistant_voice', voice(before), voice(after))
}

/** The organization's own, but for deleted ones. */
function selectOwn(db: Queryable, organizationId: string) {
  return db
    .selectFrom('assistants')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
}

/** With the destinations that its URLs stand for. */
export async function insertAssistant(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  fields: AssistantFields,
): Promise<AssistantRecord> {
  const row = await tx
    .insertInto('assistants')
    .values({ organization_id: organizationId, ...columnsOf(fields), created_at: new Date() })
    .returningAll()
    .executeTakeFirstOrThrow()
  const assistant = toRecord(row)
  await syncDestinations(tx, ring, organizationId, assistant, NO_TARGETS, fields)
  return assistant
}

/** Newest first. Index: assistants_by_organization. */
export async function listAssistants(
  db: Queryable,
  organizationId: string,
  page: PageRequest<number>,
): Promise<AssistantRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toRecord)
}

export async function findAssistant(
  db: Queryable,
  organizationId: string,
  id: number,
): Promise<AssistantRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : toRecord(row)
}

/** `before` is what this transaction has read. The destinations that its URLs stand for follow. */
export async function updateAssistant(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  before: AssistantRecord,
  fields: AssistantFields,
): Promise<AssistantRecord> {
  const row = await tx
    .updateTable('assistants')
    .set(columnsOf(fields))
    .where('id', '=', before.id)
    .returningAll()
    .executeTakeFirstOrThrow()
  const after = toRecord(row)
  await syncDestinations(tx, ring, organizationId, after, before, after)
  return after
}

/**
 * With the destinations of its scope, which no event could reach any more. Its numbers stay, without an assistant.
 * False when the organization has no such assistant.
 */
export async function deleteAssistant(
  tx: Transaction,
  organizationId: string,
  id: number,
): Promise<boolean> {
  const deleted = await tx
    .updateTable('assistants')
    .set({ deleted_at: new Date() })
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  if (deleted === undefined) return false
  await tx
    .updateTable('phone_numbers')
    .set({ assistant_id: null })
    .where('organization_id', '=', organizationId)
    .where('assistant_id', '=', id)
    .execute()
  await tx
    .updateTable('destinations')
    .set({ deleted_at: new Date() })
    .where('organization_id', '=', organizationId)
    .where('assistant_id', '=', id)
    .where('deleted_at', 'is', null)
    .execute()
  await forgetDeletedOperations(tx, organizationId)
  return true
}
