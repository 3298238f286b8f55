import type { Generated } from 'kysely'
import type { DeliveryState } from '../event.ts'

/** The tables of what a worker does step by step (migration 0006): see `Database`. */
export type LongWorkTables = {
  replays: {
    id: string
    organization_id: string
    destination_id: string
    since: Date
    until: Date
    states: DeliveryState[]
    rate_per_second: number
    state: 'running' | 'finished' | 'cancelled' | 'failed'
    reason: string | null
    total: number
    done: Generated<number>
    skipped: Generated<number>
    position_at: Date | null
    position_id: string | null
    paced_at: Date
    requested_by: string
    created_at: Date
    finished_at: Date | null
  }
  erasures: {
    id: string
    organization_id: string
    phone_number: string | null
    state: 'running' | 'finished' | 'failed'
    reason: string | null
    phase: 'calls' | 'events' | 'quarantine' | 'logs'
    position_at: Date | null
    position_id: string | null
    events_erased: Generated<number>
    deliveries_cancelled: Generated<number>
    attempts_erased: Generated<number>
    calls_erased: Generated<number>
    quarantined_deleted: Generated<number>
    requested_by: string
    created_at: Date
    finished_at: Date | null
  }
}
