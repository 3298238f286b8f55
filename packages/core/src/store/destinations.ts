import type { Selectable } from 'kysely'
import { createSigningSecret } from '../delivery/signature.ts'
import type { Destination } from '../event.ts'
import { randomId } from '../ids.ts'
import { encryptSecret, type KeyRing } from '../secrets.ts'
import { sealOf, toDestination } from './config-changes.ts'
import type { Database } from './database.ts'
import { type PageRequest, withinPage } from './keyset.ts'
import type { Queryable, Transaction } from './transaction.ts'

/** After a rotation both secrets sign for this long, so that a receiver can change over without losing a webhook. */
const SECRET_OVERLAP_MS = 24 * 3_600_000

type Secrets = 'secret' | 'previousSecret' | 'previousSecretExpiresAtMs'

/** What a destination's owner decides about it. */
export type DestinationFields = Omit<Destination, Secrets | 'id' | 'organizationId'> & {
  readonly rateLimitPerSecond: number | null
  readonly maxConcurrency: number
  readonly freshnessSeconds: number | null
}

/** The field of an assistant or number that made a destination; null for one made through the API. */
export type ImpliedBy = Database['destinations']['implied_by']

/** A destination as its organization sees it: never its secrets. */
export type DestinationRecord = DestinationFields & {
  readonly id: string
  readonly impliedBy: ImpliedBy
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export function toDestinationRecord(row: Selectable<Database['destinations']>): DestinationRecord {
  const { secret, previousSecret, previousSecretExpiresAtMs, organizationId, ...fields } =
    toDestination(row)
  return {
    ...fields,
    rateLimitPerSecond: row.rate_limit_per_second,
    maxConcurrency: row.max_concurrency,
    freshnessSeconds: row.freshness_seconds,
    impliedBy: row.implied_by,
    createdAtMs: row.created_at.getTime(),
    updatedAtMs: row.updated_at.getTime(),
  }
}

function columnsOf(fields: DestinationFields) {
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
    headers: JSON.stringify(fields.headers),
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
      ...columnsOf(fields),
      secret: encryptSecret(ring, secret, sealOf(id, 'secret')),
      implied_by: impliedBy,
      created_at: new Date(),
    })
    .returningAll()
    .executeTakeFirstOrThrow()
  return { destination: toDestinationRecord(row), secret }
}

/** Newest first. Index: destinations_by_organization. */
export async function listDestinations(
  db: Queryable,
  organizationId: string,
  page: PageRequest<string>,
): Promise<DestinationRecord[]> {
  const rows = await selectOwn(db, organizationId)
    .where(withinPage('created_at', 'id', page))
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
  return rows.map(toDestinationRecord)
}

/** Those of Kudosity's format that no URL field implies, newest first: what its drop-in calls webhooks. */
export async function listKudosityDestinations(
  db: Queryable,
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
  return rows.map(toDestinationRecord)
}

export async function findDestinationRecord(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<DestinationRecord | undefined> {
  const row = await selectOwn(db, organizationId).where('id', '=', id).executeTakeFirst()
  return row === undefined ? undefined : toDestinationRecord(row)
}

/** The same, and nobody else changes it before this transaction ends, not even a worker that disables it. */
export async function lockDestination(
  tx: Transaction,
  organizationId: string,
  id: string,
): Promise<DestinationRecord | undefined> {
  const row = await selectOwn(tx, organizationId)
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  return row === undefined ? undefined : toDestinationRecord(row)
}

/** Of a destination that this transaction has locked. */
export async function updateDestination(
  tx: Transaction,
  id: string,
  fields: DestinationFields,
): Promise<DestinationRecord> {
  const row = await tx
    .updateTable('destinations')
    .set(columnsOf(fields))
    .where('id', '=', id)
    .returningAll()
    .executeTakeFirstOrThrow()
  return toDestinationRecord(row)
}

/** The new secret; the one before signs beside it for 24 h, any older one ends now. Undefined for an unknown id. */
export async function rotateDestinationSecret(
  tx: Transaction,
  ring: KeyRing,
  organizationId: string,
  id: string,
): Promise<string | undefined> {
  const secret = createSigningSecret()
  const row = await tx
    .updateTable('destinations')
    .set(({ ref }) => ({
      secret: encryptSecret(ring, secret, sealOf(id, 'secret')),
      previous_secret: ref('secret'),
      previous_secret_expires_at: new Date(Date.now() + SECRET_OVERLAP_MS),
    }))
    .where('organization_id', '=', organizationId)
    .where('id', '=', id)
    .where('deleted_at', 'is', null)
    .returning('id')
    .executeTakeFirst()
  return row === undefined ? undefined : secret
}

/** Of a destination that this transaction has locked. */
export async function deleteDestination(tx: Transaction, id: string): Promise<void> {
  await tx
    .updateTable('destinations')
    .set({ deleted_at: new Date() })
    .where('id', '=', id)
    .execute()
}
