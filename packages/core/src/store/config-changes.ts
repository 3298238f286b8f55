import { createSecretKey, hash } from 'node:crypto'
import { type Kysely, type Selectable, sql } from 'kysely'
import { z } from 'zod'
import type { ProviderName } from '../event.ts'
import type { Logger } from '../log.ts'
import { parseTelnyxPublicKey } from '../providers/telnyx-key.ts'
import type { ConfigChanges, DestinationRow, ProviderAccount } from '../routing/snapshot.ts'
import { decryptSecret, type KeyRing } from '../secrets.ts'
import type { Database } from './database.ts'

const ROWS_AT_ONCE = 1_000

/** What a secret column is sealed to: see `encryptSecret`. */
export const sealOf = (rowId: string, column: string): string => `${rowId}.${column}`

type AccountRow = Selectable<Database['provider_accounts']>

/** The columns that hold what a provider signs with; Telnyx's public key is no secret and apart. */
const VERIFY_COLUMNS = {
  twilio: ['auth_token', 'secondary_auth_token'],
  telnyx: [],
  kudosity: ['api_secret'],
  pbx: [],
  platform: [],
} as const satisfies Record<ProviderName, readonly (keyof AccountRow)[]>

/** Throws what `decryptSecret` throws. */
function openColumn(
  row: AccountRow,
  column: 'auth_token' | 'secondary_auth_token' | 'api_secret' | 'basic',
  ring: KeyRing,
): string | null {
  const envelope = row[column]
  return envelope === null ? null : decryptSecret(ring, envelope, sealOf(row.id, column))
}

const basicSchema = z.object({ username: z.string(), password: z.string() })

/** As the Authorization header spells it, so that one hash is compared with another. */
function basicHashOf(row: AccountRow, ring: KeyRing): Buffer | null {
  const text = openColumn(row, 'basic', ring)
  if (text === null) return null
  const { username, password } = basicSchema.parse(JSON.parse(text))
  return hash('sha256', `${username}:${password}`, 'buffer')
}

/**
 * A secret that cannot be opened (its key was removed too early) must not stop the other tenants: the account is
 * loaded without it, its webhooks are answered 503, and the log says why.
 */
function toAccount(row: AccountRow, ring: KeyRing, log: Logger): ProviderAccount {
  let isUnreadable = false
  function tryOpen<T>(column: string, open: () => T): T | null {
    try {
      return open()
    } catch (error) {
      log.error({ provider_account_id: row.id, column, error }, 'secret.unreadable')
      isUnreadable = true
      return null
    }
  }
  const secrets = VERIFY_COLUMNS[row.provider].flatMap((column) => {
    const secret = tryOpen(column, () => openColumn(row, column, ring))
    return secret === null ? [] : [createSecretKey(secret, 'utf8')]
  })
  const publicKey = row.public_key === null ? undefined : parseTelnyxPublicKey(row.public_key)
  return {
    id: row.id,
    organizationId: row.organization_id,
    provider: row.provider,
    accountSid: row.account_sid,
    createdAtMs: row.created_at.getTime(),
    verifyKeys: publicKey === undefined ? secrets : [publicKey],
    basicSha256: tryOpen('basic', () => basicHashOf(row, ring)),
    allowedCidrs: row.allowed_cidrs,
    tokenHashes: [row.token_sha256, row.previous_token_sha256].flatMap(
      (sha256) => sha256?.toString('hex') ?? [],
    ),
    isUnreadable,
    ...versionOf(row),
  }
}

function versionOf(row: { version: number; deleted_at: Date | null }): {
  version: number
  isDeleted: boolean
} {
  return { version: row.version, isDeleted: row.deleted_at !== null }
}

type Share = <Value>(value: Value) => Value

/** What most destinations have alike (their schedule, their tenant) is kept once for all that are read together. */
function createSharing(): Share {
  const kept = new Map<string, unknown>()
  return <Value>(value: Value): Value => {
    const key = JSON.stringify(value)
    // Of the same JSON, so of the same type; and nobody changes what is in a snapshot.
    if (kept.has(key)) return kept.get(key) as Value
    kept.set(key, value)
    return value
  }
}

/** A destinations row in the product's words. */
export function toDestination(
  row: Selectable<Database['destinations']>,
  share: Share = (value) => value,
): DestinationRow {
  // One literal without a spread: its fields then lie within the object, and there may be 100,000 of them.
  return {
    id: row.id,
    organizationId: share(row.organization_id),
    name: row.name,
    url: row.url,
    format: share(row.format),
    eventTypes: share(row.event_types),
    assistantId: row.assistant_id,
    phoneNumber: row.phone_number,
    filter: share(row.filter),
    skipStale: row.skip_stale,
    fallbackEmail: row.fallback_email,
    successRule: share(row.success_rule),
    timeoutMs: row.timeout_ms,
    retry: share({
      maxAttempts: row.max_attempts,
      delaysSeconds: row.delays_seconds,
      jitter: row.jitter,
    }),
    maxConcurrency: row.max_concurrency,
    rateLimitPerSecond: row.rate_limit_per_second,
    freshnessSeconds: row.freshness_seconds,
    headers: share(row.headers),
    sealedHeaders: row.sealed_headers,
    status: share(row.status),
    disabledReason: row.disabled_reason,
    secret: row.secret,
    previousSecret: row.previous_secret,
    previousSecretExpiresAtMs: row.previous_secret_expires_at?.getTime() ?? null,
    ed25519Key: row.ed25519_key,
    previousEd25519Key: row.previous_ed25519_key,
    previousEd25519KeyExpiresAtMs: row.previous_ed25519_key_expires_at?.getTime() ?? null,
    version: row.version,
    isDeleted: row.deleted_at !== null,
  }
}

/** All pages after one another, so that only one is in memory beside what is kept of them. A version is one row's. */
async function readPages<Row extends { readonly version: number }, Kept>(
  since: number,
  readPage: (afterVersion: number, limit: number) => Promise<Row[]>,
  keep: (row: Row) => Kept,
): Promise<Kept[]> {
  const all: Kept[] = []
  let after = since
  for (;;) {
    const page = await readPage(after, ROWS_AT_ONCE)
    for (const row of page) all.push(keep(row))
    const last = page.at(-1)
    if (last === undefined || page.length < ROWS_AT_ONCE) return all
    after = last.version
  }
}

/**
 * Every configuration row written since `version` (0: all), deleted ones included. A database whose versions are behind
 * was restored, or is new: then it is read whole. An empty one says nothing: what is in memory goes on.
 */
export async function findConfigChanges(
  db: Kysely<Database>,
  version: number,
  ring: KeyRing,
  log: Logger,
): Promise<ConfigChanges> {
  // One moment for all tables: a destination never arrives without the assistant it names.
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (tx) => {
      const latest = await sql<{
        version: number
      }>`select last_value as version from config_version`
        .execute(tx)
        .then(({ rows }) => rows[0]?.version ?? 0)
      const isBehind = latest < version
      const since = isBehind ? 0 : version
      const organizations = await tx
        .selectFrom('organizations')
        .selectAll()
        .where('version', '>', since)
        .execute()
      const apiKeys = await tx
        .selectFrom('api_keys')
        .selectAll()
        .where('version', '>', since)
        .execute()
      const accounts = await tx
        .selectFrom('provider_accounts')
        .selectAll()
        .where('version', '>', since)
        .execute()
      const assistants = await tx
        .selectFrom('assistants')
        .selectAll()
        .where('version', '>', since)
        .execute()
      const numbers = await readPages(
        since,
        (after, limit) =>
          tx
            .selectFrom('phone_numbers')
            .selectAll()
            .where('version', '>', after)
            .orderBy('version')
            .limit(limit)
            .execute(),
        (row) => ({
          id: row.id,
          organizationId: row.organization_id,
          phoneNumber: row.phone_number,
          assistantId: row.assistant_id,
          serviceId: row.service_id,
          ...versionOf(row),
        }),
      )
      const share = createSharing()
      const destinations = await readPages(
        since,
        (after, limit) =>
          tx
            .selectFrom('destinations')
            .selectAll()
            .where('version', '>', after)
            .orderBy('version')
            .limit(limit)
            .execute(),
        (row) => toDestination(row, share),
      )
      return {
        isWhole: isBehind && organizations.length > 0,
        organizations: organizations.map((row) => ({
          id: row.id,
          name: row.name,
          needsChangeApproval: row.webhook_change_approval,
          operationsDestinationId: row.operations_destination_id,
          ...versionOf(row),
        })),
        apiKeys: apiKeys.map((row) => ({
          id: row.id,
          organizationId: row.organization_id,
          secretSha256: row.secret_sha256,
          scopes: row.scopes,
          ...versionOf(row),
        })),
        providerAccounts: accounts.map((row) => toAccount(row, ring, log)),
        assistants: assistants.map((row) => ({
          id: row.id,
          organizationId: row.organization_id,
          fallbackEmail: row.webhook_fallback_email,
          ...versionOf(row),
        })),
        phoneNumbers: numbers,
        destinations,
      }
    })
}
