import { contentOf } from '@switchhook/core/providers/content-of'
import { type EventContent, MalformedPayloadError } from '@switchhook/core/providers/provider'
import { route } from '@switchhook/core/routing/route'
import { findDestinationStatus } from '@switchhook/core/store/destinations'
import { findEvent, type StoredEvent } from '@switchhook/core/store/event-queries'
import { inReplayTransaction, insertEventReplay } from '@switchhook/core/store/replays'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { defineRoute, type Route } from './define-route.ts'
import { requireReachable } from './delivery-actions.ts'
import { idSchema } from './field-schemas.ts'
import { eventIdSchema } from './list-query.ts'
import { enqueueNew, refuseNotKept, toAccepted } from './owe-delivery.ts'

/** Throws `ApiError` 409 for a payload that nobody can route: it can still be sent where somebody says. */
function readContent(event: StoredEvent): EventContent {
  try {
    return contentOf(event)
  } catch (error) {
    if (!(error instanceof MalformedPayloadError)) throw error
    throw new ApiError(409, 'Its payload cannot be read: name a destination_id')
  }
}

/** Where today's configuration sends a stored event: its number may have got another assistant since. */
function destinationsOf({ snapshot }: ApiDeps, event: StoredEvent): readonly string[] {
  const { organizationId, phoneNumber } = event
  const number =
    phoneNumber === null ? undefined : snapshot.findPhoneNumber(organizationId, phoneNumber)
  const assistantId = number?.assistantId ?? event.assistantId
  return route(snapshot, { organizationId, phoneNumber, assistantId }, readContent(event))
    .filter(({ skipStale }) => !(skipStale && event.isStale))
    .map(({ id }) => id)
}

const replay = defineRoute({
  method: 'post',
  path: '/api/v1/events/{id}/replay',
  access: 'write',
  summary: "Route a stored event by today's configuration, or send it to one destination",
  params: z.strictObject({ id: eventIdSchema }),
  names: 'Event',
  body: z
    .strictObject({
      destination_id: idSchema('dst_')
        .optional()
        .describe('Sends it there, whatever that destination asks for'),
    })
    .optional(),
  answers: {
    202: {
      description: 'The new deliveries; none when no destination wants it today either',
      schema: z.object({ id: z.string(), deliveries: z.array(z.string()) }),
    },
    409: { description: 'The destination is disabled, or the payload is gone or cannot be read' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { db } = deps.database
    const event = await findEvent(db, organizationId, input.params.id)
    if (event === undefined) throw notFound('Event')
    if (event.erasedAtMs !== null) throw new ApiError(409, 'Its payload is no longer kept')
    const destinationId = input.body?.destination_id
    if (destinationId !== undefined) {
      const status = await findDestinationStatus(db, organizationId, destinationId)
      if (status === undefined) throw notFound('Destination')
      await requireReachable(db, organizationId, destinationId)
    }
    const ids = destinationId === undefined ? destinationsOf(deps, event) : [destinationId]
    const nowMs = Date.now()
    const made = await inReplayTransaction(deps.database, nowMs, async (tx) => {
      const owed = await insertEventReplay(tx, event, ids, nowMs)
      const deliveries = owed.map(({ deliveryId }) => deliveryId)
      await auditAction(tx, input, 'event.replayed', event.id, { deliveries })
      return owed
    }).catch(refuseNotKept)
    await enqueueNew(deps, toAccepted(event), made)
    const deliveries = made.map(({ deliveryId }) => deliveryId)
    return { status: 202, body: { id: event.id, deliveries } }
  },
})

export const eventActionRoutes: readonly Route[] = [replay]
