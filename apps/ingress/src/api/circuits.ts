import {
  listCircuitChanges,
  type StoredCircuitChange,
} from '@switchhook/core/store/circuit-changes'
import { findDestinationRecord } from '@switchhook/core/store/destinations'
import { z } from 'zod'
import { notFound } from './api-error.ts'
import { circuitFields, findCircuits } from './circuits-shown.ts'
import { defineRoute, type Route } from './define-route.ts'
import { idSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, rowsToRead } from './pagination.ts'

const NAMES = 'Destination'
const KIND = 'circuit-changes'

const changeSchema = z.object({
  kind: z.enum(['opened', 'probe_failed', 'closed']),
  at: z.iso.datetime(),
  opened_at: z.iso.datetime(),
  pause_seconds: z.number().nullable(),
  next_probe_at: z.iso.datetime().nullable(),
})

function showChange(change: StoredCircuitChange): z.infer<typeof changeSchema> {
  return {
    kind: change.kind,
    at: toIso(change.atMs),
    opened_at: toIso(change.openedAtMs),
    pause_seconds: change.pauseMs === null ? null : change.pauseMs / 1000,
    next_probe_at: change.nextProbeAtMs === null ? null : toIso(change.nextProbeAtMs),
  }
}

const get = defineRoute({
  method: 'get',
  path: '/api/v1/destinations/{id}/circuit',
  access: 'read',
  summary: 'The circuit of a destination: its state now, and what it did, newest first',
  params: z.strictObject({ id: idSchema('dst_') }),
  names: NAMES,
  query: z.strictObject(pageQuery(KIND, z.int().nonnegative())),
  answers: {
    200: {
      description: 'The state, and a page of changes',
      schema: z.object({
        ...circuitFields,
        items: z.array(changeSchema),
        next_cursor: z.string().nullable(),
      }),
    },
  },
  async handle({ deps, organizationId, params: { id }, query: { limit, cursor } }) {
    const { db } = deps.database
    const destination = await findDestinationRecord(db, deps.ring, organizationId, id)
    if (destination === undefined) throw notFound(NAMES)
    const page = { limit: rowsToRead(limit), after: cursor }
    const [circuitOf, changes] = await Promise.all([
      findCircuits(deps, [id]),
      listCircuitChanges(db, organizationId, id, page),
    ])
    const positionOf = (change: StoredCircuitChange) => ({ id: change.id, timeMs: change.atMs })
    const history = pageOf(KIND, limit, changes, positionOf, showChange)
    return { status: 200, body: { ...circuitOf(id), ...history } }
  },
})

export const circuitRoutes: readonly Route[] = [get]
