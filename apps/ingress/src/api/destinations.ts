import { isDeepStrictEqual } from 'node:util'
import { findAssistant } from '@switchhook/core/store/assistants'
import {
  type DestinationRecord,
  deleteDestination,
  findDestinationRecord,
  type ImpliedBy,
  insertDestination,
  listDestinations,
  lockDestination,
  updateDestination,
} from '@switchhook/core/store/destinations'
import type { Transaction } from '@switchhook/core/store/transaction'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { changeConfig } from './change-config.ts'
import { checkUrl } from './check-url.ts'
import { findCircuits } from './circuits-shown.ts'
import { defineRoute, type Route } from './define-route.ts'
import { destinationChanges, mergeDestination, newDestination } from './destination-body.ts'
import { idSchema } from './field-schemas.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'
import { auditDestination, destinationSchema, showDestination } from './show-destination.ts'

const KIND = 'destinations'
const PATH = '/api/v1/destinations'
const NAMES = 'Destination'

const destinationId = idSchema('dst_')
const params = z.strictObject({ id: destinationId })

/** Where the URL and the scope of an implied destination are set. */
const OWNERS: Readonly<Record<NonNullable<ImpliedBy>, string>> = {
  assistant_sms: 'the sms_webhook_url of its assistant',
  assistant_voice: 'the webhook_url of its assistant',
  phone_number: 'the webhook_url of its phone number',
}

function impliedConflict(impliedBy: NonNullable<ImpliedBy>): ApiError {
  const owner = OWNERS[impliedBy]
  return new ApiError(409, `This destination stands for ${owner}: change or clear it there`)
}

/** Throws `ApiError` 404 unless the assistant, where one is given, is the organization's. */
async function requireAssistant(
  tx: Transaction,
  organizationId: string,
  assistantId: number | null,
): Promise<void> {
  if (assistantId === null) return
  const assistant = await findAssistant(tx, organizationId, assistantId)
  if (assistant === undefined) throw notFound('Assistant')
}

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'write',
  summary: 'Create a destination',
  body: destinationChanges.required({ url: true }).meta({
    examples: [
      {
        name: 'Orders',
        url: 'https://example.com/webhooks',
        format: 'burki',
        event_types: ['sms_received', 'call_ended'],
        fallback_email: 'ops@example.com',
      },
    ],
  }),
  answers: {
    201: {
      description: 'The destination; its signing secret is shown this once',
      schema: destinationSchema.extend({ secret: z.string().describe('whsec_…') }),
    },
    404: { description: 'The assistant is not in your organization' },
  },
  async handle(input) {
    const { deps, organizationId, body } = input
    const url = checkUrl(deps, 'url', body.url)
    const fields = mergeDestination(newDestination(url, body), body)
    const { destination, secret } = await changeConfig(deps, async (tx) => {
      await requireAssistant(tx, organizationId, fields.assistantId)
      const made = await insertDestination(tx, deps.ring, organizationId, fields, null)
      await auditDestination(tx, input, null, made.destination)
      return made
    })
    return { status: 201, body: { ...showDestination(destination), secret } }
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List destinations, newest first; those that URLs of assistants and numbers imply, too',
  query: z.strictObject(pageQuery(KIND, destinationId)),
  answers: {
    200: { description: 'A page of destinations', schema: pageSchema(destinationSchema) },
  },
  async handle({ deps, organizationId, query: { limit, cursor } }) {
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listDestinations(deps.database.db, deps.ring, organizationId, page)
    const positionOf = ({ id, createdAtMs }: DestinationRecord) => ({ id, timeMs: createdAtMs })
    const circuitOf = await findCircuits(
      deps,
      rows.map(({ id }) => id),
    )
    const show = (row: DestinationRecord) => showDestination(row, circuitOf(row.id))
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One destination, without its secret',
  params,
  names: NAMES,
  answers: { 200: { description: 'The destination', schema: destinationSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const destination = await findDestinationRecord(deps.database.db, deps.ring, organizationId, id)
    if (destination === undefined) throw notFound(NAMES)
    const circuitOf = await findCircuits(deps, [id])
    return { status: 200, body: showDestination(destination, circuitOf(id)) }
  },
})

const patch = defineRoute({
  method: 'patch',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Change a destination; what waits for it is delivered by the new settings',
  params,
  names: NAMES,
  body: destinationChanges.meta({ examples: [{ retry: { max_attempts: 4 } }] }),
  answers: {
    200: { description: 'The destination', schema: destinationSchema },
    409: { description: 'Its URL and scope belong to the assistant or number it stands for' },
  },
  async handle(input) {
    const { deps, organizationId, body } = input
    const { id } = input.params
    const destination = await changeConfig(deps, async (tx) => {
      const current = await lockDestination(tx, deps.ring, organizationId, id)
      if (current === undefined) throw notFound(NAMES)
      const url = body.url === undefined ? current.url : checkUrl(deps, 'url', body.url)
      const fields = { ...mergeDestination(current, body), url }
      const isMoved =
        url !== current.url ||
        fields.assistantId !== current.assistantId ||
        fields.phoneNumber !== current.phoneNumber
      if (current.impliedBy !== null && isMoved) throw impliedConflict(current.impliedBy)
      await requireAssistant(tx, organizationId, fields.assistantId)
      const changed = await updateDestination(tx, deps.ring, id, fields)
      const isHeaderChanged = !isDeepStrictEqual(current.headers, changed.headers)
      const details = isHeaderChanged ? { replaced: ['headers'] } : null
      await auditDestination(tx, input, current, changed, details)
      return changed
    })
    const circuitOf = await findCircuits(deps, [id])
    return { status: 200, body: showDestination(destination, circuitOf(id)) }
  },
})

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Delete a destination: nothing is sent to it any more',
  params,
  names: NAMES,
  answers: {
    204: { description: 'Deleted' },
    409: { description: 'It goes when the URL field it stands for is cleared' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { id } = input.params
    await changeConfig(deps, async (tx) => {
      const current = await lockDestination(tx, deps.ring, organizationId, id)
      if (current === undefined) throw notFound(NAMES)
      if (current.impliedBy !== null) throw impliedConflict(current.impliedBy)
      await deleteDestination(tx, id)
      await auditDestination(tx, input, current, null)
    })
    return { status: 204 }
  },
})

export const destinationRoutes: readonly Route[] = [create, list, get, patch, remove]
