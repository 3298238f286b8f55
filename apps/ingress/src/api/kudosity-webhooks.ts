import type { DestinationFilter } from '@switchhook/core/event'
import { KUDOSITY_TYPES } from '@switchhook/core/formats/kudosity-types'
import {
  type DestinationFields,
  type DestinationRecord,
  deleteDestination,
  findDestinationRecord,
  insertDestination,
  listKudosityDestinations,
  lockDestination,
  updateDestination,
} from '@switchhook/core/store/destinations'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { notFound } from './api-error.ts'
import { changeConfig } from './change-config.ts'
import { checkUrl } from './check-url.ts'
import { defineRoute, type Route } from './define-route.ts'
import { newDestination } from './destination-body.ts'
import {
  compactFilter,
  filterSchema,
  kudosityNameSchema,
  typesOfFilter,
} from './destination-filter.ts'
import { kudosityDialect } from './dialects.ts'
import { idSchema, nameSchema, urlSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { auditDestination } from './show-destination.ts'

const PATH = '/v2/webhook'
const NAMES = 'Webhook'
/** Kudosity's list has no pages. */
const MAX_WEBHOOKS = 1000
const MAX_RATE_LIMIT = 10_000

/** What all of its routes share. Kudosity ignores a query that it does not know. */
const shared = { dialect: kudosityDialect, query: z.object({}) } as const
const ofOne = { params: z.strictObject({ id: idSchema('dst_') }), names: NAMES } as const

const webhookSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    url: z.string(),
    filter: filterSchema.optional(),
    rate_limit: z.int(),
    is_sandbox: z.boolean(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: 'KudosityWebhook' })

/** Kudosity's WebhookRequest. What an answer shows besides may be sent back, and is ignored. */
const webhookRequest = z
  .strictObject({
    name: nameSchema.min(2).max(100),
    url: urlSchema,
    event_type: kudosityNameSchema.optional().meta({ deprecated: true }),
    filter: filterSchema.optional(),
    rate_limit: z.int().min(0).max(MAX_RATE_LIMIT).nullable().optional(),
    is_sandbox: z.boolean().optional().meta({ deprecated: true }),
    id: z.unknown().optional(),
    created_at: z.unknown().optional(),
    updated_at: z.unknown().optional(),
  })
  .meta({
    examples: [
      {
        name: 'My Webhook',
        url: 'https://example.com/webhook',
        filter: { event_type: ['SMS_INBOUND', 'SMS_STATUS'] },
        rate_limit: 50,
      },
    ],
  })
type WebhookRequest = z.infer<typeof webhookRequest>

type Settings = Pick<
  DestinationFields,
  'name' | 'url' | 'filter' | 'eventTypes' | 'rateLimitPerSecond'
>

/** What the body sets, the defaults for what it leaves out. Throws `ApiError` 422 for a URL that may not be called. */
function settingsOf(deps: ApiDeps, body: WebhookRequest): Settings {
  const named = [...(body.filter?.event_type ?? []), ...(body.event_type ? [body.event_type] : [])]
  const filter = compactFilter({ ...body.filter, event_type: [...new Set(named)] })
  return {
    name: body.name,
    url: checkUrl(deps, 'url', body.url),
    filter,
    // Kudosity has these and no others: a call would break who reads its events strictly.
    eventTypes: typesOfFilter(filter) ?? ALL_TYPES,
    rateLimitPerSecond: body.rate_limit || null,
  }
}

const ALL_TYPES = Object.keys(KUDOSITY_TYPES)
const NAMES_BY_TYPE: Readonly<Record<string, string>> = KUDOSITY_TYPES

/** A destination made elsewhere has types without Kudosity's names in its filter; all of them are no filter. */
function shownFilter({ filter, eventTypes }: DestinationRecord): DestinationFilter | null {
  const named = eventTypes.flatMap((type) => NAMES_BY_TYPE[type] ?? [])
  const names = named.length === ALL_TYPES.length ? [] : named
  return compactFilter({ event_type: names, ...filter })
}

function show(destination: DestinationRecord) {
  return {
    id: destination.id,
    name: destination.name,
    url: destination.url,
    filter: shownFilter(destination),
    rate_limit: Math.ceil(destination.rateLimitPerSecond ?? 0),
    is_sandbox: false,
    created_at: toIso(destination.createdAtMs),
    updated_at: toIso(destination.updatedAtMs),
  }
}

/** Throws `ApiError` 404 for a destination that is no webhook of Kudosity's format. */
function requireWebhook(destination: DestinationRecord | undefined): DestinationRecord {
  const isWebhook = destination?.format === 'kudosity' && destination.impliedBy === null
  if (destination === undefined || !isWebhook) throw notFound(NAMES)
  return destination
}

const create = defineRoute({
  ...shared,
  method: 'post',
  path: PATH,
  access: 'write',
  summary: "Create a webhook, as with Kudosity: a destination in Kudosity's format",
  body: webhookRequest,
  answers: { 201: { description: 'The webhook', schema: webhookSchema } },
  async handle(input) {
    const { deps, organizationId, body } = input
    const settings = settingsOf(deps, body)
    const fields = { ...newDestination(settings.url, { format: 'kudosity' }), ...settings }
    const made = await changeConfig(deps, async (tx) => {
      const { destination } = await insertDestination(tx, deps.ring, organizationId, fields, null)
      await auditDestination(tx, input, null, destination)
      return destination
    })
    return { status: 201, body: show(made) }
  },
})

const list = defineRoute({
  ...shared,
  method: 'get',
  path: PATH,
  access: 'read',
  summary: `The webhooks in Kudosity's format, newest first (the newest ${MAX_WEBHOOKS})`,
  answers: {
    200: {
      description: 'The webhooks',
      schema: z.object({ webhooks: z.array(webhookSchema) }),
    },
  },
  async handle({ deps, organizationId }) {
    const found = await listKudosityDestinations(
      deps.database.db,
      deps.ring,
      organizationId,
      MAX_WEBHOOKS,
    )
    return { status: 200, body: { webhooks: found.map(show) } }
  },
})

const get = defineRoute({
  ...shared,
  ...ofOne,
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One webhook',
  answers: { 200: { description: 'The webhook', schema: webhookSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const found = await findDestinationRecord(deps.database.db, deps.ring, organizationId, id)
    return { status: 200, body: show(requireWebhook(found)) }
  },
})

const put = defineRoute({
  ...shared,
  ...ofOne,
  method: 'put',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Change a webhook; what is left out gets its default again',
  body: webhookRequest,
  answers: { 200: { description: 'The webhook', schema: webhookSchema } },
  async handle(input) {
    const { deps, organizationId, body } = input
    const { id } = input.params
    const settings = settingsOf(deps, body)
    const changed = await changeConfig(deps, async (tx) => {
      const before = requireWebhook(await lockDestination(tx, deps.ring, organizationId, id))
      const after = await updateDestination(tx, deps.ring, id, { ...before, ...settings })
      await auditDestination(tx, input, before, after)
      return after
    })
    return { status: 200, body: show(changed) }
  },
})

const remove = defineRoute({
  ...shared,
  ...ofOne,
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Delete a webhook',
  answers: {
    200: { description: 'Deleted', schema: z.object({ message: z.literal('deleted') }) },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { id } = input.params
    await changeConfig(deps, async (tx) => {
      const before = requireWebhook(await lockDestination(tx, deps.ring, organizationId, id))
      await deleteDestination(tx, id)
      await auditDestination(tx, input, before, null)
    })
    return { status: 200, body: { message: 'deleted' } }
  },
})

export const kudosityWebhookRoutes: readonly Route[] = [create, list, get, put, remove]
