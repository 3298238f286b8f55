import type { ColumnType, Generated } from 'kysely'
import type { DestinationFilter, FormatName } from '../event.ts'

/** Set by the database; the trigger of migration 0001 stamps version and updated_at. */
export type Stamped = {
  created_at: Generated<Date>
  updated_at: Generated<Date>
  deleted_at: ColumnType<Date | null, never, Date>
  version: Generated<number>
}

/** The tables about destinations: see `Database`. */
export type DestinationTables = {
  destinations: Stamped & {
    id: string
    organization_id: string
    name: string
    url: string
    format: FormatName
    event_types: string[]
    assistant_id: number | null
    phone_number: string | null
    filter: ColumnType<DestinationFilter | null, string | null, string | null>
    fallback_email: string | null
    success_rule: '2xx' | 'exact_200'
    timeout_ms: number
    max_attempts: number
    delays_seconds: number[]
    jitter: boolean
    rate_limit_per_second: number | null
    max_concurrency: number
    freshness_seconds: number | null
    headers: ColumnType<Record<string, string>, string, string>
    status: 'active' | 'paused' | 'disabled'
    skip_stale: Generated<boolean>
    secret: string
    previous_secret: string | null
    previous_secret_expires_at: Date | null
    implied_by: 'assistant_sms' | 'assistant_voice' | 'phone_number' | null
    sealed_headers: string | null
    ed25519_key: string | null
    previous_ed25519_key: string | null
    previous_ed25519_key_expires_at: Date | null
    ed25519_public_key: string | null
    disabled_at: Date | null
    disabled_reason: string | null
  }
  destination_failures: {
    destination_id: string
    failing_since: Date
    last_failed_at: Date
    warnings: Generated<number>
    warned_at: Date | null
  }
  destination_notices: {
    id: Generated<number>
    destination_id: string
    kind: 'failing' | 'disabled'
    reason: string
    failing_since: Date | null
    created_at: Date
    told_at: Date | null
  }
}
