import type { Selectable } from 'kysely'
import { createSigningSecret } from '../delivery/signature.ts'
import type { Destination } from '../event.ts'
import { randomId } from '../ids.ts'
import { encryptSecret, type KeyRing } from '../secrets.ts'
import { sealOf, toDestination } from './config-changes.ts'
import type { Database } from './database.ts'
import { openHeaders, sealHeaders } from './destination-headers.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import { forgetDeletedOperations } from './organizations.ts'
import type { Queryable, Transaction } from './transaction.ts'

type Secrets =
  | 'sealedHeaders'
  | 'secret'
  | 'previousSecret'
  | 'previousSecretExpiresAtMs'
  | 'ed25519Key'
  | 'previousEd25519Key'
  | 'previousEd25519KeyExpiresAtMs'

/** What a destination's owner decides about it. Its headers are open here, and sealed where they are stored. */
export type DestinationFields = Omit<
  Destination,
  Secrets | 'id' | 'organizationId' | 'disabledReason'
> & {
  readonly rateLimitPerSecond: number | null
  readonly maxConcurrency: number
  readonly freshnessSeconds: number | null
}

/** The field of an assistant or number that made a destination; null for one made through the API. */
export type ImpliedBy = Database['destinations']['implied_by']

/** A destination as its organization sees it: never its secrets, but for its own headers. */
export type DestinationRecord = DestinationFields & {
  readonly id: string
  /** `whpk_…`; null while it has no ed25519 pair. */
  readonly ed25519PublicKey: string | null
  readonly disabledAtMs: number | null
  readonly disabledReason: string | null
  readonly impliedBy: ImpliedBy
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

/** Throws `UnreadableSecretError` when its headers cannot be opened. */
export function toDestinationRecord(
  row: Selectable<Database['destinations']>,
  ring: KeyRing,
): DestinationRecord {
  const destination = toDestination(row)
  const { secret, previousSecret, previousSecretExpiresAtMs, organizationId, ...known } =
    destination
  const {
    sealedHeaders,
    ed25519Key,
    previousEd25519Key,
    previousEd25519KeyExpiresAtMs,
    ...fields
  } = known
  return {
    ...fields,
    headers: openHeaders(ring, destination),
    ed25519PublicKey: row.ed25519_public_key,
    disabledAtMs: row.disabled_at?.getTime() ?? null,
    rateLimitPerSecond: row.rate_limit_per_second,
    maxConcurrency: row.max_concurrency,
    freshnessSeconds: row.freshness_seconds,
    impliedBy: row.implied_by,
    createdAtMs: row.created_at.getTime(),
    updatedAtMs: row.updated_at.getTime(),
  }
}

function columnsOf(id: string, fields: DestinationFields, ring: KeyRing) {
  return {
    name: fields.name,
    url: fields.url,
    format: fields.format,
    event_types: [...fields.eventTypes],
    assistant_id: fields.assistantId,
    phone_number: fields.phoneNumber,
    filter: fields.filter === null ? null : JSON.stringify(fields.filter),
    skip_stale: fields.skipStale,
    fallback_email: fields.fallbackEmail,
    success_rule: fields.successRule,
    timeout_ms: fields.timeoutMs,
    max_attempts: fields.retry.maxAttempts,
    delays_seconds: [...fields.retry.delaysSeconds],
    jitter: fields.retry.jitter,
    rate_limit_per_second: fields.rateLimitPerSecond,
    max_concurrency: fields.maxConcurrency,
    freshness_seconds: fields.freshnessSeconds,
    headers: '{}',
    sealed_headers: sealHeaders(ring, id, fields.headers),
    status: fields.status,
  }
}

/** The organization's own, but for deleted ones. */
function selectOwn(db: Queryable, organizationId: string) {
  return db
    .selectFrom('destinations')
    .selectAll()
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
}

/** Makes its signing secret, too: this is the only time that it is told. */
export async function insertDestination(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  fields: DestinationFields,
  impliedBy: ImpliedBy,
): Promise<{ destination: DestinationRecord; secret: string }> {
  const id = randomId('dst_')
  const secret = createSigningSecret()
  const row = await tx
    .insertInto('destinations')
    .values({
      id,
      organization_id: organizationId,
      ...columnsOf(id, fields, ring),
      secret: encryptSecret(ring, secret, sealOf(id, 'secret')),
      implied_by: impliedBy,
      created_at: new Date(),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return { destination: toDestinationRecord(row, ring), secret }
}

/** Newest first. Index: destinations_by_organization. */
export async function listDestinations(
  db: Queryable,
  ring: KeyRing,
  organizationId: string,
  page: PageRequest<string>,
): Promise<DestinationRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map((row) => toDestinationRecord(row, ring))
}

/** Those of Kudosity's format that no URL field implies, newest first: what its drop-in calls webhooks. */
export async function listKudosityDestinations(
  db: Queryable,
  ring: KeyRing,
  organizationId: string,
  limit: number,
): Promise<DestinationRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where('format', '=', 'kudosity')
    .where('implied_by', 'is', null)
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(limit)
    .execute()
  return rows.map((row) => toDestinationRecord(row, ring))
}

export async function findDestinationRecord(
  db: Queryable,
  ring: KeyRing,
  organizationId: string,
  id: string,
): Promise<DestinationRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : toDestinationRecord(row, ring)
}

/** Undefined for one that the organization does not have. */
export async function findDestinationStatus(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<Destination['status'] | undefined> {
  const query = db.selectFrom('destinations').select('status').where('id', '=', id)
  const row = await query
    .where('organization_id', '=', organizationId)
    .where('deleted_at', 'is', null)
    .executeTakeFirst()
  return row?.status
}

/** The record, and nobody else changes it before this transaction ends, not even a worker that disables it. */
export async function lockDestination(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  id: string,
): Promise<DestinationRecord | undefined> {
  const row = await selectOwn(tx, organizationId)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  return row === undefined ? undefined : toDestinationRecord(row, ring)
}

/**
 * Of a destination that this transaction has locked. One that is set active again starts anew: what disabled it is
 * forgotten, and so is how long it had failed.
 */
export async function updateDestination(
  tx: Transaction,
  ring: KeyRing,
  id: string,
  fields: DestinationFields,
): Promise<DestinationRecord> {
  const isDisabled = fields.status === 'disabled'
  if (!isDisabled) {
    const disabled = tx.selectFrom('destinations').select('id').where('status', '=', 'disabled')
    await tx
      .deleteFrom('destination_failures')
      .where('destination_id', '=', id)
      .where('destination_id', 'in', disabled.where('id', '=', id))
      .execute()
  }
  const row = await tx
    .updateTable('destinations')
    .set(({ ref, fn, val }) => ({
      ...columnsOf(id, fields, ring),
      disabled_at: isDisabled ? fn.coalesce(ref('disabled_at'), val(new Date())) : null,
      disabled_reason: isDisabled ? ref('disabled_reason') : null,
    }))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()
  return toDestinationRecord(row, ring)
}

/** Of a destination that this transaction has locked. */
export async function deleteDestination(tx: Transaction, id: string): Promise<void> {
  const { organization_id: organizationId } = await tx
    .updateTable('destinations')
    .set({ deleted_at: new Date() })
    .where('id', '=', id)
    .returning('organization_id')
    .executeTakeFirstOrThrow()
  await forgetDeletedOperations(tx, organizationId)
}
