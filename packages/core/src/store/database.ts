import { type ColumnType, type Generated, Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { DeliveryState, EventType, Outcome, ProviderName } from '../event.ts'
import type { Logger } from '../log.ts'
import type { CircuitTables } from './circuit-tables.ts'
import { DeadlineClient } from './deadline-client.ts'
import type { DestinationTables, Stamped } from './destination-tables.ts'
import type { LongWorkTables } from './long-work-tables.ts'
import type { MailTables } from './mail-tables.ts'

export type Scope = 'read' | 'write' | 'admin'

/** The tables by hand; an integration test compares them with the migrated schema. */
export type Database = CircuitTables &
  DestinationTables &
  MailTables &
  LongWorkTables & {
    organizations: Stamped & {
      id: string
      name: string
      webhook_change_approval: Generated<boolean>
      operations_destination_id: string | null
    }
    api_keys: Stamped & {
      id: string
      organization_id: string
      name: string
      secret_sha256: Buffer
      scopes: Scope[]
      number: Generated<number>
    }
    api_key_uses: { api_key_id: string; usage_count: number; last_used_at: Date }
    provider_accounts: Stamped & {
      id: string
      organization_id: string
      provider: ProviderName
      account_sid: string | null
      auth_token: string | null
      secondary_auth_token: string | null
      public_key: string | null
      api_key: string | null
      api_secret: string | null
      basic: string | null
      allowed_cidrs: Generated<string[]>
      token_sha256: Buffer | null
      previous_token_sha256: Buffer | null
    }
    assistants: Stamped & {
      id: Generated<number>
      organization_id: string
      name: string
      webhook_url: string | null
      sms_webhook_url: string | null
      messaging_service_sid: string | null
      webhook_fallback_email: string | null
    }
    phone_numbers: Stamped & {
      id: Generated<number>
      organization_id: string
      phone_number: string
      provider: ProviderName
      assistant_id: number | null
      service_id: string | null
      webhook_url: string | null
      webhook_url_fallback: string | null
    }
    dedupe_keys: { event_id: string; received_at: Date }
    events: {
      id: string
      received_at: Date
      organization_id: string
      provider: ProviderName
      type: EventType
      phone_number: string | null
      peer_number: string | null
      call_sid: string | null
      assistant_id: number | null
      content_type: string
      payload: Buffer
      delivery_count: number
      is_stale: Generated<boolean>
      erased_at: ColumnType<Date | null, never, Date>
    }
    deliveries: {
      id: string
      created_at: Date
      event_id: string
      event_received_at: Date
      organization_id: string
      destination_id: string
      event_type: EventType
      phone_number: string | null
      call_sid: string | null
      state: DeliveryState
      attempts: number
      due_at: Date
      fallback_at: Date | null
      reason: string | null
      updated_at: Date
      replay_of: string | null
    }
    webhook_logs: {
      id: Generated<number>
      attempted_at: Date
      delivery_id: string
      attempt: number
      event_id: string
      organization_id: string
      destination_id: string
      assistant_id: number | null
      call_sid: string | null
      webhook_url: string
      webhook_type: string
      request_content_type: string
      request_body: Buffer | null
      response_status_code: number | null
      response_body: string | null
      response_time_ms: number
      outcome: Outcome
      error_message: string | null
    }
    calls: {
      id: Generated<number>
      organization_id: string
      call_sid: string
      assistant_id: number | null
      to_phone_number: string | null
      customer_phone_number: string | null
      status: string
      duration_seconds: number | null
      started_at: Date | null
      ended_at: Date | null
      created_at: Generated<Date>
    }
    call_aliases: { alias: string; organization_id: string; call_sid: string; seen_at: Date }
    status_ranks: { subject: string; rank: number; updated_at: Date }
    quarantine: {
      id: string
      organization_id: string | null
      provider: ProviderName
      provider_account_id: string | null
      claimed_account_sid: string | null
      claimed_numbers: string[]
      reason: string
      detail: string
      is_authentic: boolean
      method: string
      target: string
      headers: ColumnType<Record<string, string>, string, string>
      client_ip: string | null
      body: Buffer
      seen_count: Generated<number>
      received_at: Date
      last_seen_at: Date
      expires_at: Date
      state: Generated<'held' | 'released'>
      released_at: Date | null
      event_ids: Generated<string[]>
    }
    webhook_changes: {
      id: string
      organization_id: string
      phone_number: string
      provider: ProviderName
      requested: ColumnType<JsonObject, string, string>
      before: ColumnType<JsonObject | null, string | null, string | null>
      after: ColumnType<JsonObject | null, string | null, string | null>
      state: 'pending' | 'applying' | 'applied' | 'failed' | 'rejected' | 'rolled_back'
      error: string | null
      requested_by: string
      decided_by: string | null
      rollback_of: string | null
      created_at: Date
      decided_at: Date | null
    }
    audit_logs: {
      id: Generated<number>
      organization_id: string
      event_type: string
      event_timestamp: Generated<Date>
      api_key_id: string | null
      ip_address: string | null
      user_agent: string | null
      request_id: string | null
      resource_type: string
      resource_id: string
      resource_name: string | null
      action: string
      status: 'success' | 'failure'
      details: ColumnType<JsonObject | null, string | null, string | null>
      old_values: ColumnType<JsonObject | null, string | null, string | null>
      new_values: ColumnType<JsonObject | null, string | null, string | null>
      error_message: string | null
    }
  }

type JsonObject = Record<string, unknown>

export type DatabaseOptions = {
  readonly url: string
  readonly applicationName: string
  readonly maxConnections: number
  /** A frozen server never answers: every statement has this deadline, and connecting has it too. */
  readonly queryTimeoutMs: number
}

/** A handle for both ways in: Kysely for the API's queries, the pool for the few fixed statements of the hot path. */
export type DatabaseHandle = {
  readonly db: Kysely<Database>
  readonly pool: pg.Pool
  close(): Promise<void>
}

// int8 as number: sequences and counts here stay below 2^53. bytea and timestamptz keep pg's own parsers.
const types: pg.CustomTypesConfig = {
  getTypeParser(oid, format) {
    if (Number(oid) === pg.types.builtins.INT8) return Number
    return pg.types.getTypeParser(oid, format)
  },
}

/** Connects on first use; never throws because Postgres is away. */
export function openDatabase(options: DatabaseOptions, log: Logger): DatabaseHandle {
  const pool = new pg.Pool({
    Client: DeadlineClient,
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.maxConnections,
    connectionTimeoutMillis: options.queryTimeoutMs,
    query_timeout: options.queryTimeoutMs,
    // The same again for the server: what nobody waits for any more would keep its backend.
    statement_timeout: options.queryTimeoutMs,
    idle_in_transaction_session_timeout: 30_000,
    keepAlive: true,
    types,
  })
  // Without a listener, a connection that is cut between two statements of a transaction ends the process. The next
  // statement fails by itself.
  pool.on('connect', (client) => client.on('error', () => undefined))
  // The same for an idle connection.
  pool.on('error', (error) => log.warn({ error: error.message }, 'database.connection_failed'))
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  return {
    db,
    pool,
    async close() {
      await db.destroy()
      // Kysely ends only a pool that it has used itself.
      if (!pool.ending) await pool.end()
    },
  }
}

/** SQLSTATE classes that blame the data, not the server: the same batch without the culprit would succeed. */
export function isDataError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^(22|23|54)/.test(String(error.code))
}

/** A day without a partition: for Postgres a check violation with this text. */
export function isMissingPartition(error: unknown): boolean {
  return isDataError(error) && /^no partition of relation/.test((error as Error).message)
}
