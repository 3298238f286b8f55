import { findDelivery, type StoredDelivery } from '@switchhook/core/store/delivery-queries'
import { findDestinationStatus } from '@switchhook/core/store/destinations'
import { findEvent } from '@switchhook/core/store/event-queries'
import { cancelDelivery, inReplayTransaction, insertReplay } from '@switchhook/core/store/replays'
import type { Queryable } from '@switchhook/core/store/transaction'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { defineRoute, type Route } from './define-route.ts'
import { deliveryIdSchema } from './list-query.ts'
import { enqueueNew, refuseNotKept, toAccepted } from './owe-delivery.ts'
import { deliverySchema, showDelivery } from './show-delivery.ts'

const NAMES = 'Delivery'
const params = z.strictObject({ id: deliveryIdSchema })
const CANCELLED = 'Cancelled through the API.'

async function requireDelivery(
  db: Queryable,
  organizationId: string,
  id: string,
): Promise<StoredDelivery> {
  const delivery = await findDelivery(db, organizationId, id)
  if (delivery === undefined) throw notFound(NAMES)
  return delivery
}

/** Throws `ApiError` 409 for a destination that nothing can be sent to. */
export async function requireReachable(
  db: Queryable,
  organizationId: string,
  destinationId: string,
): Promise<void> {
  const status = await findDestinationStatus(db, organizationId, destinationId)
  if (status === undefined) throw new ApiError(409, 'Its destination was deleted')
  if (status === 'disabled') throw new ApiError(409, 'Its destination is disabled')
}

const replay = defineRoute({
  method: 'post',
  path: '/api/v1/deliveries/{id}/replay',
  access: 'write',
  summary: 'Send it again: a new delivery of the same event, with the same webhook-id',
  params,
  names: NAMES,
  answers: {
    202: { description: 'The new delivery', schema: deliverySchema },
    409: { description: 'It is still pending, or its destination or payload is gone' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { db } = deps.database
    const original = await requireDelivery(db, organizationId, input.params.id)
    if (original.state === 'pending') {
      throw new ApiError(409, 'The delivery is still pending: there is nothing to replay yet')
    }
    await requireReachable(db, organizationId, original.destinationId)
    const event = await findEvent(db, organizationId, original.eventId)
    if (event === undefined || event.erasedAtMs !== null) {
      throw new ApiError(409, 'Its payload is no longer kept')
    }
    const nowMs = Date.now()
    const made = await inReplayTransaction(deps.database, nowMs, async (tx) => {
      const owed = await insertReplay(tx, event, original, nowMs)
      const details = { delivery_id: owed.deliveryId, event_id: event.id }
      await auditAction(tx, input, 'delivery.replayed', original.id, details)
      return owed
    }).catch(refuseNotKept)
    await enqueueNew(deps, toAccepted(event), [made])
    const stored = await requireDelivery(db, organizationId, made.deliveryId)
    return { status: 202, body: showDelivery(stored, []) }
  },
})

/** Throws `ApiError` 503 while the queue does not answer. */
async function drop({ dropDelivery, log }: ApiDeps, delivery: StoredDelivery): Promise<void> {
  try {
    await dropDelivery(delivery.id, delivery.destinationId)
  } catch (error) {
    log.warn({ error, delivery_id: delivery.id }, 'delivery.not_dropped')
    throw new ApiError(503, 'The queue does not answer', { 'retry-after': '1' })
  }
}

const cancel = defineRoute({
  method: 'post',
  path: '/api/v1/deliveries/{id}/cancel',
  access: 'write',
  summary: 'Stop trying a pending delivery; an attempt on its way just now is not called back',
  params,
  names: NAMES,
  answers: {
    200: { description: 'The delivery, cancelled', schema: deliverySchema },
    409: { description: 'It is not pending any more' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { db } = deps.database
    const delivery = await requireDelivery(db, organizationId, input.params.id)
    const conflict = () => new ApiError(409, 'The delivery is not pending any more')
    if (delivery.state !== 'pending') throw conflict()
    // First the job: should Postgres fail now, the requeuer makes another. The other way round it would still be sent.
    await drop(deps, delivery)
    await db.transaction().execute(async (tx) => {
      if (!(await cancelDelivery(tx, organizationId, delivery, CANCELLED))) throw conflict()
      await auditAction(tx, input, 'delivery.cancelled', delivery.id)
    })
    // Whoever accepted it a moment ago may have handed it over in between.
    await drop(deps, delivery)
    const stored = await requireDelivery(db, organizationId, delivery.id)
    return { status: 200, body: showDelivery(stored, []) }
  },
})

export const deliveryActionRoutes: readonly Route[] = [replay, cancel]
