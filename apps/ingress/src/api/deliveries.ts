import { DELIVERY_STATES, EVENT_TYPES } from '@switchhook/core/event'
import {
  findDelivery,
  listDeliveries,
  type StoredDelivery,
} from '@switchhook/core/store/delivery-queries'
import { findAttempts, findAttemptsOf } from '@switchhook/core/store/webhook-log-queries'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { notFound } from './api-error.ts'
import { defineRoute, type Route } from './define-route.ts'
import {
  callSidFilter,
  deliveryIdSchema,
  idFilter,
  isOrdered,
  numberFilter,
  timeRange,
  UNORDERED,
} from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'
import { deliveryDetailSchema, deliverySchema, showDelivery } from './show-delivery.ts'

const KIND = 'deliveries'

const listQuery = z
  .strictObject({
    ...pageQuery(KIND, deliveryIdSchema),
    ...timeRange,
    state: z.enum(DELIVERY_STATES).optional(),
    destination: idFilter,
    event: idFilter,
    type: z.enum(EVENT_TYPES).optional(),
    number: numberFilter,
    call_sid: callSidFilter,
  })
  .refine(isOrdered, UNORDERED)

/** How each delivery is shown in a list, its attempts included: one query for all of them. */
export async function showWithAttempts(
  { database }: Pick<ApiDeps, 'database'>,
  organizationId: string,
  deliveries: readonly StoredDelivery[],
): Promise<(delivery: StoredDelivery) => ReturnType<typeof showDelivery>> {
  const attempts = await findAttempts(database.db, organizationId, deliveries)
  return (delivery) => showDelivery(delivery, attempts.get(delivery.id) ?? [])
}

const list = defineRoute({
  method: 'get',
  path: '/api/v1/deliveries',
  access: 'read',
  summary: 'List deliveries, newest first',
  query: listQuery,
  answers: { 200: { description: 'A page of deliveries', schema: pageSchema(deliverySchema) } },
  async handle({ deps, organizationId, query }) {
    const rows = await listDeliveries(
      deps.database.db,
      organizationId,
      {
        state: query.state,
        destinationId: query.destination,
        eventId: query.event,
        eventType: query.type,
        phoneNumber: query.number,
        callSid: query.call_sid,
      },
      {
        limit: rowsToRead(query.limit),
        after: query.cursor,
        sinceMs: query.since,
        untilMs: query.until,
      },
    )
    const show = await showWithAttempts(deps, organizationId, rows.slice(0, query.limit))
    const positionOf = ({ id, createdAtMs }: StoredDelivery) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, query.limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: '/api/v1/deliveries/{id}',
  access: 'read',
  summary: 'One delivery with its attempts and what the destination answered',
  params: z.strictObject({ id: deliveryIdSchema }),
  names: 'Delivery',
  answers: { 200: { description: 'The delivery', schema: deliveryDetailSchema } },
  async handle({ deps: { database }, organizationId, params }) {
    const delivery = await findDelivery(database.db, organizationId, params.id)
    if (delivery === undefined) throw notFound('Delivery')
    const attempts = await findAttemptsOf(database.db, organizationId, delivery)
    return { status: 200, body: showDelivery(delivery, attempts) }
  },
})

export const deliveryRoutes: readonly Route[] = [list, get]
