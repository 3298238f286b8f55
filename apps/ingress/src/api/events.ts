import { isUtf8 } from 'node:buffer'
import { DELIVERY_STATES, EVENT_TYPES, PROVIDERS } from '@switchhook/core/event'
import { listDeliveries } from '@switchhook/core/store/delivery-queries'
import { type EventSummary, findEvent, listEvents } from '@switchhook/core/store/event-queries'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { ApiError, notFound } from './api-error.ts'
import { defineRoute, type Route } from './define-route.ts'
import { showWithAttempts } from './deliveries.ts'
import {
  callSidFilter,
  eventIdSchema,
  idFilter,
  isOrdered,
  numberFilter,
  timeRange,
  toIso,
  UNORDERED,
} from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'
import { type PreparedEvent, prepareEvents, publishBody } from './publish-event.ts'
import { deliverySchema } from './show-delivery.ts'

const KIND = 'events'
const MAX_BATCH_EVENTS = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** Further ones are found by `GET /api/v1/deliveries?event=`. */
const MAX_DELIVERIES_SHOWN = 200

const publishedSchema = z.object({
  id: z.string(),
  deliveries: z.array(z.string()),
  duplicate: z.boolean(),
})

const eventSchema = z.object({
  id: z.string(),
  provider: z.enum(PROVIDERS),
  type: z.enum(EVENT_TYPES),
  received_at: z.iso.datetime(),
  phone_number: z.string().nullable(),
  peer_number: z.string().nullable(),
  call_sid: z.string().nullable(),
  assistant_id: z.int().nullable(),
  content_type: z.string(),
  delivery_count: z.int(),
  routed: z.boolean().describe('False: no destination wanted it so far'),
  is_stale: z.boolean().describe('It came after a later status of the same message or call'),
  erased_at: z.iso.datetime().nullable().describe('Its payload and the person were taken out'),
})

const eventDetailSchema = eventSchema.extend({
  payload: z.string(),
  payload_encoding: z.enum(['utf8', 'base64']),
  deliveries: z.array(deliverySchema),
})

async function publish(
  deps: ApiDeps,
  { event, content }: PreparedEvent,
): Promise<z.infer<typeof publishedSchema>> {
  const result = await deps.accept(event, content)
  if (result.kind === 'unavailable') {
    const detail = 'Nothing could be stored. Send it again with the same idempotency_key.'
    throw new ApiError(503, detail, { 'retry-after': '1' })
  }
  const { kind, deliveryIds } = result
  return { id: event.id, deliveries: [...deliveryIds], duplicate: kind === 'duplicate' }
}

const publishOne = defineRoute({
  method: 'post',
  path: '/api/v1/events',
  access: 'write',
  summary: 'Publish an event of your own',
  body: publishBody,
  answers: {
    202: { description: 'Durable, and owed to these deliveries', schema: publishedSchema },
    404: { description: 'The call, assistant or number is not in your organization' },
  },
  async handle({ deps, organizationId, body }) {
    const [event] = await prepareEvents(deps, organizationId, [body], () => [], Date.now())
    if (event === undefined) throw new Error('no event was made of the body')
    return { status: 202, body: await publish(deps, event) }
  },
})

const publishBatch = defineRoute({
  method: 'post',
  path: '/api/v1/events/batch',
  access: 'write',
  summary: `Publish up to ${MAX_BATCH_EVENTS} events: all are valid, or none is taken`,
  body: z.strictObject({ events: z.array(publishBody).min(1).max(MAX_BATCH_EVENTS) }),
  maxBodyBytes: MAX_BATCH_BYTES,
  answers: {
    202: {
      description: 'All durable; one item per event, in order',
      schema: z.object({ items: z.array(publishedSchema) }),
    },
    404: { description: 'A call, assistant or number is not in your organization' },
  },
  async handle({ deps, organizationId, body }) {
    const locate = (index: number) => ['events', index]
    const events = await prepareEvents(deps, organizationId, body.events, locate, Date.now())
    const items = await Promise.all(events.map((event) => publish(deps, event)))
    return { status: 202, body: { items } }
  },
})

function showEvent(event: EventSummary): z.infer<typeof eventSchema> {
  return {
    id: event.id,
    provider: event.provider,
    type: event.type,
    received_at: toIso(event.receivedAtMs),
    phone_number: event.phoneNumber,
    peer_number: event.peerNumber,
    call_sid: event.callSid,
    assistant_id: event.assistantId,
    content_type: event.contentType,
    delivery_count: event.deliveryCount,
    routed: event.deliveryCount > 0,
    is_stale: event.isStale,
    erased_at: event.erasedAtMs === null ? null : toIso(event.erasedAtMs),
  }
}

const list = defineRoute({
  method: 'get',
  path: '/api/v1/events',
  access: 'read',
  summary: 'List events, newest first',
  query: z
    .strictObject({
      ...pageQuery(KIND, eventIdSchema),
      ...timeRange,
      type: z.enum(EVENT_TYPES).optional(),
      number: numberFilter,
      call_sid: callSidFilter,
      routed: z
        .enum(['true', 'false'])
        .transform((text) => text === 'true')
        .optional()
        .describe('false: those that no destination wanted'),
      destination: idFilter.describe('With a delivery to it'),
      state: z.enum(DELIVERY_STATES).optional().describe('With a delivery in this state'),
    })
    .refine(isOrdered, UNORDERED),
  answers: { 200: { description: 'A page of events', schema: pageSchema(eventSchema) } },
  async handle({ deps, organizationId, query }) {
    const rows = await listEvents(
      deps.database.db,
      organizationId,
      {
        ...{ type: query.type, phoneNumber: query.number, callSid: query.call_sid },
        ...{ isRouted: query.routed, destinationId: query.destination, state: query.state },
      },
      {
        limit: rowsToRead(query.limit),
        after: query.cursor,
        sinceMs: query.since,
        untilMs: query.until,
      },
    )
    const positionOf = ({ id, receivedAtMs }: EventSummary) => ({ id, timeMs: receivedAtMs })
    return { status: 200, body: pageOf(KIND, query.limit, rows, positionOf, showEvent) }
  },
})

const get = defineRoute({
  method: 'get',
  path: '/api/v1/events/{id}',
  access: 'read',
  summary: 'One event with its payload and its newest 200 deliveries',
  params: z.strictObject({ id: eventIdSchema }),
  names: 'Event',
  answers: { 200: { description: 'The event', schema: eventDetailSchema } },
  async handle({ deps, organizationId, params }) {
    const { db } = deps.database
    const event = await findEvent(db, organizationId, params.id)
    if (event === undefined) throw notFound('Event')
    const deliveries = await listDeliveries(
      db,
      organizationId,
      { eventId: event.id },
      // No delivery is older than its event, so no older day need be looked at.
      { limit: MAX_DELIVERIES_SHOWN, sinceMs: event.receivedAtMs },
    )
    const show = await showWithAttempts(deps, organizationId, deliveries)
    const encoding = isUtf8(event.payload) ? 'utf8' : 'base64'
    const body = {
      ...showEvent(event),
      payload: event.payload.toString(encoding),
      payload_encoding: encoding,
      deliveries: deliveries.map(show),
    }
    return { status: 200, body }
  },
})

export const eventRoutes: readonly Route[] = [publishOne, publishBatch, list, get]
