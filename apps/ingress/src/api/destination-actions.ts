import {
  lockDestination,
  rotateDestinationSecret,
  updateDestination,
} from '@switchhook/core/store/destinations'
import { z } from 'zod'
import { notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { changeConfig } from './change-config.ts'
import { defineRoute, type Route } from './define-route.ts'
import { idSchema } from './field-schemas.ts'
import { auditDestination, destinationSchema, showDestination } from './show-destination.ts'

const NAMES = 'Destination'
const params = z.strictObject({ id: idSchema('dst_') })

function statusRoute(action: string, status: 'active' | 'paused', summary: string): Route {
  return defineRoute({
    method: 'post',
    path: `/api/v1/destinations/{id}/${action}`,
    access: 'write',
    summary,
    params,
    names: NAMES,
    answers: { 200: { description: 'The destination', schema: destinationSchema } },
    async handle(input) {
      const { deps, organizationId } = input
      const { id } = input.params
      const destination = await changeConfig(deps, async (tx) => {
        const current = await lockDestination(tx, organizationId, id)
        if (current === undefined) throw notFound(NAMES)
        const changed = await updateDestination(tx, id, { ...current, status })
        await auditDestination(tx, input, current, changed)
        return changed
      })
      return { status: 200, body: showDestination(destination) }
    },
  })
}

const rotateSecret = defineRoute({
  method: 'post',
  path: '/api/v1/destinations/{id}/rotate-secret',
  access: 'write',
  summary: 'Make a new signing secret; the one before signs beside it for 24 h',
  params,
  names: NAMES,
  answers: {
    200: {
      description: 'The new secret, shown this once',
      schema: z.object({ secret: z.string().describe('whsec_…') }),
    },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { id } = input.params
    const secret = await changeConfig(deps, async (tx) => {
      const made = await rotateDestinationSecret(tx, deps.ring, organizationId, id)
      if (made === undefined) throw notFound(NAMES)
      await auditAction(tx, input, 'destination.secret_rotated', id)
      return made
    })
    return { status: 200, body: { secret } }
  },
})

export const destinationActionRoutes: readonly Route[] = [
  statusRoute('pause', 'paused', 'Pause a destination: its deliveries wait'),
  statusRoute('resume', 'active', 'Resume a destination: what waited is delivered'),
  rotateSecret,
]
