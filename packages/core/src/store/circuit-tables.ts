import type { Generated } from 'kysely'

/** What migration 0004 made, as `Database` has it. */
export type CircuitTables = {
  circuit_changes: {
    id: Generated<number>
    organization_id: string
    destination_id: string
    kind: 'opened' | 'probe_failed' | 'closed'
    changed_at: Date
    opened_at: Date
    pause_ms: number | null
    next_probe_at: Date | null
  }
}
