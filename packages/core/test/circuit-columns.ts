/** For schema.test.ts: the tables of migration 0004. */
export const CIRCUIT_TABLES = {
  circuit_changes: {
    id: 'int8',
    organization_id: 'text',
    destination_id: 'text',
    kind: 'text',
    changed_at: 'timestamptz',
    opened_at: 'timestamptz',
    pause_ms: 'int4 null',
    next_probe_at: 'timestamptz null',
  },
} as const
