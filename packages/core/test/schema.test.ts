import type { Selectable } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Database } from '../src/store/database.ts'
import { findPendingMigrations, migrate } from '../src/store/migrate.ts'
import { CIRCUIT_TABLES } from './circuit-columns.ts'
import { DESTINATION_TABLES, stamped } from './destination-columns.ts'
import { LONG_WORK_TABLES } from './long-work-columns.ts'
import { MAIL_TABLES } from './mail-columns.ts'
import { createTestDatabase, openTestDatabase, type TestDatabase } from './test-database.ts'

/** How Postgres names the type of a TypeScript one; ' null' where null is allowed. */
type SqlName<Value> = Value extends string
  ? 'text'
  : Value extends number
    ? 'int2' | 'int4' | 'int8' | 'float8'
    : Value extends boolean
      ? 'bool'
      : Value extends Date
        ? 'timestamptz'
        : Value extends Buffer
          ? 'bytea'
          : Value extends readonly string[]
            ? '_text'
            : Value extends readonly number[]
              ? '_float8'
              : 'jsonb'
type SqlType<Value> = null extends Value ? `${SqlName<NonNullable<Value>>} null` : SqlName<Value>
type Columns<Table> = { [Column in keyof Selectable<Table>]: SqlType<Selectable<Table>[Column]> }

/** The compiler compares this with `Database`, the test with the migrated schema. */
const TABLES = {
  organizations: {
    ...stamped,
    id: 'text',
    name: 'text',
    webhook_change_approval: 'bool',
    operations_destination_id: 'text null',
  },
  api_keys: {
    ...stamped,
    id: 'text',
    organization_id: 'text',
    name: 'text',
    secret_sha256: 'bytea',
    scopes: '_text',
    number: 'int8',
  },
  api_key_uses: { api_key_id: 'text', usage_count: 'int8', last_used_at: 'timestamptz' },
  provider_accounts: {
    ...stamped,
    id: 'text',
    organization_id: 'text',
    provider: 'text',
    account_sid: 'text null',
    auth_token: 'text null',
    secondary_auth_token: 'text null',
    public_key: 'text null',
    api_key: 'text null',
    api_secret: 'text null',
    basic: 'text null',
    allowed_cidrs: '_text',
    token_sha256: 'bytea null',
    previous_token_sha256: 'bytea null',
  },
  assistants: {
    ...stamped,
    id: 'int8',
    organization_id: 'text',
    name: 'text',
    webhook_url: 'text null',
    sms_webhook_url: 'text null',
    messaging_service_sid: 'text null',
    webhook_fallback_email: 'text null',
  },
  phone_numbers: {
    ...stamped,
    id: 'int8',
    organization_id: 'text',
    phone_number: 'text',
    provider: 'text',
    assistant_id: 'int8 null',
    service_id: 'text null',
    webhook_url: 'text null',
    webhook_url_fallback: 'text null',
  },
  dedupe_keys: { event_id: 'text', received_at: 'timestamptz' },
  events: {
    id: 'text',
    received_at: 'timestamptz',
    organization_id: 'text',
    provider: 'text',
    type: 'text',
    phone_number: 'text null',
    peer_number: 'text null',
    call_sid: 'text null',
    assistant_id: 'int8 null',
    content_type: 'text',
    payload: 'bytea',
    delivery_count: 'int4',
    is_stale: 'bool',
    erased_at: 'timestamptz null',
  },
  deliveries: {
    id: 'text',
    created_at: 'timestamptz',
    event_id: 'text',
    event_received_at: 'timestamptz',
    organization_id: 'text',
    destination_id: 'text',
    event_type: 'text',
    phone_number: 'text null',
    call_sid: 'text null',
    state: 'text',
    attempts: 'int4',
    due_at: 'timestamptz',
    fallback_at: 'timestamptz null',
    reason: 'text null',
    updated_at: 'timestamptz',
    replay_of: 'text null',
  },
  webhook_logs: {
    id: 'int8',
    attempted_at: 'timestamptz',
    delivery_id: 'text',
    attempt: 'int4',
    event_id: 'text',
    organization_id: 'text',
    destination_id: 'text',
    assistant_id: 'int8 null',
    call_sid: 'text null',
    webhook_url: 'text',
    webhook_type: 'text',
    request_content_type: 'text',
    request_body: 'bytea null',
    response_status_code: 'int4 null',
    response_body: 'text null',
    response_time_ms: 'int4',
    outcome: 'text',
    error_message: 'text null',
  },
  calls: {
    id: 'int8',
    organization_id: 'text',
    call_sid: 'text',
    assistant_id: 'int8 null',
    to_phone_number: 'text null',
    customer_phone_number: 'text null',
    status: 'text',
    duration_seconds: 'int4 null',
    started_at: 'timestamptz null',
    ended_at: 'timestamptz null',
    created_at: 'timestamptz',
  },
  call_aliases: {
    alias: 'text',
    organization_id: 'text',
    call_sid: 'text',
    seen_at: 'timestamptz',
  },
  status_ranks: { subject: 'text', rank: 'int2', updated_at: 'timestamptz' },
  quarantine: {
    id: 'text',
    organization_id: 'text null',
    provider: 'text',
    provider_account_id: 'text null',
    claimed_account_sid: 'text null',
    claimed_numbers: '_text',
    reason: 'text',
    detail: 'text',
    is_authentic: 'bool',
    method: 'text',
    target: 'text',
    headers: 'jsonb',
    client_ip: 'text null',
    body: 'bytea',
    seen_count: 'int4',
    received_at: 'timestamptz',
    last_seen_at: 'timestamptz',
    expires_at: 'timestamptz',
    state: 'text',
    released_at: 'timestamptz null',
    event_ids: '_text',
  },
  webhook_changes: {
    id: 'text',
    organization_id: 'text',
    phone_number: 'text',
    provider: 'text',
    requested: 'jsonb',
    before: 'jsonb null',
    after: 'jsonb null',
    state: 'text',
    error: 'text null',
    requested_by: 'text',
    decided_by: 'text null',
    rollback_of: 'text null',
    created_at: 'timestamptz',
    decided_at: 'timestamptz null',
  },
  audit_logs: {
    id: 'int8',
    organization_id: 'text',
    event_type: 'text',
    event_timestamp: 'timestamptz',
    api_key_id: 'text null',
    ip_address: 'text null',
    user_agent: 'text null',
    request_id: 'text null',
    resource_type: 'text',
    resource_id: 'text',
    resource_name: 'text null',
    action: 'text',
    status: 'text',
    details: 'jsonb null',
    old_values: 'jsonb null',
    new_values: 'jsonb null',
    error_message: 'text null',
  },
  ...CIRCUIT_TABLES,
  ...MAIL_TABLES,
  ...LONG_WORK_TABLES,
  ...DESTINATION_TABLES,
} as const satisfies { [Table in keyof Database]: Columns<Database[Table]> }

const FIND_COLUMNS = `
  select table_name, column_name, udt_name || case is_nullable when 'YES' then ' null' else '' end as type
    from information_schema.columns
    join pg_class on oid = format('%I', table_name)::regclass
   where table_schema = 'public' and relkind in ('r', 'p') and not relispartition and table_name not like 'kysely%'`

describe('the migrations', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await createTestDatabase('empty')
  })
  afterAll(() => database.drop())

  it('are each applied once when four processes start them at the same time', async () => {
    expect(await findPendingMigrations(database.db)).not.toEqual([])
    const handles = Array.from({ length: 4 }, () => openTestDatabase(database.url))
    const applied = await Promise.all(handles.map(migrate))
    await Promise.all(handles.map((handle) => handle.close()))
    expect(applied.filter((names) => names.length > 0)).toHaveLength(1)
    expect(await findPendingMigrations(database.db)).toEqual([])
  })

  it('change nothing when they are started again', async () => {
    expect(await migrate(database)).toEqual([])
  })

  it('make the tables that the type Database describes, column for column', async () => {
    const { rows } =
      await database.pool.query<Record<'table_name' | 'column_name' | 'type', string>>(FIND_COLUMNS)
    const found: Record<string, Record<string, string>> = {}
    for (const row of rows) {
      found[row.table_name] = { ...found[row.table_name], [row.column_name]: row.type }
    }
    expect(found).toEqual(TABLES)
  })
})
