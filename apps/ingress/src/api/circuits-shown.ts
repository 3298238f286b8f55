import { circuitState } from '@switchhook/core/circuits'
import { findLastCircuitChanges } from '@switchhook/core/store/circuit-changes'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { toIso } from './list-query.ts'

/** The state of a destination's circuit, which all workers share. */
export const circuitFields = {
  state: z.enum(['closed', 'open', 'half_open']),
  opened_at: z.iso.datetime().nullable(),
  next_probe_at: z.iso.datetime().nullable().describe('Nothing is sent before; then one request'),
}

type ShownCircuit = {
  readonly state: 'closed' | 'open' | 'half_open'
  readonly opened_at: string | null
  readonly next_probe_at: string | null
}

export const CLOSED_CIRCUIT: ShownCircuit = {
  state: 'closed',
  opened_at: null,
  next_probe_at: null,
}

/** From Redis, where it is; while that is away, as the history last had it. */
export async function findCircuits(
  deps: Pick<ApiDeps, 'readCircuits' | 'database'>,
  destinationIds: readonly string[],
): Promise<(destinationId: string) => ShownCircuit> {
  const shown = new Map<string, ShownCircuit>()
  try {
    for (const circuit of (await deps.readCircuits(destinationIds)).values()) {
      shown.set(circuit.id, {
        state: circuitState(circuit),
        opened_at: toIso(circuit.openedAtMs),
        next_probe_at: toIso(circuit.nextProbeAtMs),
      })
    }
  } catch {
    const last = await findLastCircuitChanges(deps.database.db, destinationIds)
    for (const { destinationId, openedAtMs, nextProbeAtMs } of last.values()) {
      if (nextProbeAtMs === null) continue
      const times = { opened_at: toIso(openedAtMs), next_probe_at: toIso(nextProbeAtMs) }
      shown.set(destinationId, { state: 'open', ...times })
    }
  }
  return (destinationId) => shown.get(destinationId) ?? CLOSED_CIRCUIT
}
