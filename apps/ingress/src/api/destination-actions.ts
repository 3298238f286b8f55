import {
  findOverlapEndMs,
  type Rotated,
  rotateDestinationPair,
  rotateDestinationSecret,
} from '@switchhook/core/store/destination-secrets'
import { lockDestination, updateDestination } from '@switchhook/core/store/destinations'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { changeConfig } from './change-config.ts'
import { findCircuits } from './circuits-shown.ts'
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
        const current = await lockDestination(tx, deps.ring, organizationId, id)
        if (current === undefined) throw notFound(NAMES)
        const changed = await updateDestination(tx, deps.ring, id, { ...current, status })
        await auditDestination(tx, input, current, changed)
        return changed
      })
      const circuitOf = await findCircuits(deps, [id])
      return { status: 200, body: showDestination(destination, circuitOf(id)) }
    },
  })
}

/** After a rotation both sign for this long, so that a receiver can change over without losing a webhook. */
const OVERLAP_SECONDS = 86_400
const MAX_OVERLAP_SECONDS = 7 * 86_400
const NAME_OF_ROTATED: Readonly<Record<Rotated, string>> = {
  hmac: 'secret',
  ed25519: 'ed25519 pair',
}

/** Two at most sign: a receiver that has not changed over yet would refuse everything. */
function overlapConflict(type: Rotated, endsAtMs: number): ApiError {
  const what = `The ${NAME_OF_ROTATED[type]} before the present one signs until ${new Date(endsAtMs).toISOString()}`
  return new ApiError(409, `${what}: rotate after that, or give overlap_seconds to end it now`)
}

const rotateSecret = defineRoute({
  method: 'post',
  path: '/api/v1/destinations/{id}/rotate-secret',
  access: 'write',
  summary: 'Make a new signing secret, or an ed25519 pair; the one before signs beside it for 24 h',
  params,
  names: NAMES,
  body: z
    .strictObject({
      type: z
        .enum(['hmac', 'ed25519'])
        .describe('ed25519: a pair that signs (v1a) beside the secret (v1); hmac unless given'),
      overlap_seconds: z
        .int()
        .min(0)
        .max(MAX_OVERLAP_SECONDS)
        .describe(
          'For how long the one before goes on signing, 0 to end it now; 86400 unless given. A rotation with it also ends an older one that still signs',
        ),
    })
    .partial()
    .optional()
    .meta({ examples: [{ overlap_seconds: 3600 }] }),
  answers: {
    200: {
      description: 'The new secret, shown this once, or the public key of the new pair',
      schema: z.union([
        z.object({ secret: z.string().describe('whsec_…') }),
        z.object({ public_key: z.string().describe('whpk_…') }),
      ]),
    },
    409: {
      description:
        'The one before still signs since the last rotation, and no overlap_seconds is given',
    },
  },
  async handle(input) {
    const { deps, organizationId, body } = input
    const { id } = input.params
    const type = body?.type ?? 'hmac'
    const overlapMs = (body?.overlap_seconds ?? OVERLAP_SECONDS) * 1000
    const rotate = type === 'hmac' ? rotateDestinationSecret : rotateDestinationPair
    const made = await changeConfig(deps, async (tx) => {
      if (body?.overlap_seconds === undefined) {
        const endsAtMs = await findOverlapEndMs(tx, { organizationId, id }, type)
        if (endsAtMs !== undefined) throw overlapConflict(type, endsAtMs)
      }
      const told = await rotate(tx, deps.ring, { organizationId, id }, overlapMs)
      if (told === undefined) throw notFound(NAMES)
      const details = type === 'hmac' ? undefined : { type }
      await auditAction(tx, input, 'destination.secret_rotated', id, details)
      return told
    })
    return { status: 200, body: type === 'hmac' ? { secret: made } : { public_key: made } }
  },
})

export const destinationActionRoutes: readonly Route[] = [
  statusRoute('pause', 'paused', 'Pause a destination: its deliveries wait'),
  statusRoute('resume', 'active', 'Resume a destination: what waited is delivered'),
  rotateSecret,
]
