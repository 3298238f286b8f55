import { PROVIDERS } from '@switchhook/core/event'
import { findAssistant } from '@switchhook/core/store/assistants'
import {
  deletePhoneNumber,
  findPhoneNumber,
  insertPhoneNumber,
  listPhoneNumbers,
  type PhoneNumberFields,
  type PhoneNumberRecord,
  updatePhoneNumber,
} from '@switchhook/core/store/phone-numbers'
import type { Transaction } from '@switchhook/core/store/transaction'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { notFound } from './api-error.ts'
import { auditOf } from './audit-change.ts'
import { changeConfig } from './change-config.ts'
import { checkUrl } from './check-url.ts'
import { defineRoute, type Route } from './define-route.ts'
import {
  createdAtSchema,
  emailSchema,
  integerIdParams,
  integerIdSchema,
  phoneNumberSchema,
  urlSchema,
} from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'phone-numbers'
const PATH = '/api/v1/phone-numbers'
const NAMES = 'Phone number'
const CONFLICT = 'The organization has this number already'

const settings = {
  assistant_id: integerIdSchema.nullable(),
  service_id: z.string().min(1).max(64).nullable().describe('The PBX service of the number'),
  webhook_url: urlSchema.nullable().describe('Gets its messages, in the format pbx'),
  webhook_url_fallback: emailSchema.nullable().describe('Gets by mail what the URL would not take'),
}

const identity = {
  phone_number: phoneNumberSchema,
  provider: z.enum(PROVIDERS).exclude(['platform']),
}

const numberSchema = z
  .object({ id: integerIdSchema, ...identity, ...settings, created_at: createdAtSchema })
  .meta({ id: 'PhoneNumber' })

const changes = z.strictObject(settings).partial()
type Changes = z.infer<typeof changes>

const NEW: PhoneNumberFields = {
  assistantId: null,
  serviceId: null,
  webhookUrl: null,
  webhookUrlFallback: null,
}

/** `current` with what the body sets. Throws `ApiError` 422 for a URL that may not be called. */
function merge(deps: ApiDeps, current: PhoneNumberFields, body: Changes): PhoneNumberFields {
  const { assistant_id, service_id, webhook_url, webhook_url_fallback } = body
  return {
    assistantId: assistant_id === undefined ? current.assistantId : assistant_id,
    serviceId: service_id === undefined ? current.serviceId : service_id,
    webhookUrl:
      webhook_url === undefined ? current.webhookUrl : checkUrl(deps, 'webhook_url', webhook_url),
    webhookUrlFallback:
      webhook_url_fallback === undefined ? current.webhookUrlFallback : webhook_url_fallback,
  }
}

/** Throws `ApiError` 404 unless the body's assistant is the organization's. */
async function requireAssistant(
  tx: Transaction,
  organizationId: string,
  { assistant_id }: Changes,
): Promise<void> {
  if (assistant_id === undefined || assistant_id === null) return
  const assistant = await findAssistant(tx, organizationId, assistant_id)
  if (assistant === undefined) throw notFound('Assistant')
}

function show(number: PhoneNumberRecord) {
  return {
    id: number.id,
    phone_number: number.phoneNumber,
    provider: number.provider,
    assistant_id: number.assistantId,
    service_id: number.serviceId,
    webhook_url: number.webhookUrl,
    webhook_url_fallback: number.webhookUrlFallback,
    created_at: toIso(number.createdAtMs),
  }
}

const audit = auditOf('phone_number', show)

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'write',
  summary: 'Register a phone number; its URL is a destination',
  body: changes.extend(identity).meta({
    examples: [
      {
        phone_number: '+14155551234',
        provider: 'twilio',
        webhook_url: 'https://example.com/pbx',
        webhook_url_fallback: 'ops@example.com',
      },
    ],
  }),
  answers: {
    201: { description: 'The number', schema: numberSchema },
    404: { description: 'The assistant is not in your organization' },
    409: { description: CONFLICT },
  },
  async handle(input) {
    const { deps, organizationId, body } = input
    const fields = merge(deps, NEW, body)
    const number = { phoneNumber: body.phone_number, provider: body.provider }
    const record = await changeConfig(
      deps,
      async (tx) => {
        await requireAssistant(tx, organizationId, body)
        const made = await insertPhoneNumber(tx, deps.ring, organizationId, number, fields)
        await audit(tx, input, null, made)
        return made
      },
      CONFLICT,
    )
    return { status: 201, body: show(record) }
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List phone numbers, newest first',
  query: z.strictObject(pageQuery(KIND, integerIdSchema)),
  answers: { 200: { description: 'A page of numbers', schema: pageSchema(numberSchema) } },
  async handle({ deps, organizationId, query: { limit, cursor } }) {
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listPhoneNumbers(deps.database.db, organizationId, page)
    const positionOf = ({ id, createdAtMs }: PhoneNumberRecord) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One phone number',
  params: integerIdParams,
  names: NAMES,
  answers: { 200: { description: 'The number', schema: numberSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const record = await findPhoneNumber(deps.database.db, organizationId, id)
    if (record === undefined) throw notFound(NAMES)
    return { status: 200, body: show(record) }
  },
})

const patch = defineRoute({
  method: 'patch',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Change a phone number; the destination of its URL follows, null deletes it',
  params: integerIdParams,
  names: NAMES,
  body: changes.meta({ examples: [{ webhook_url: 'https://example.com/pbx' }] }),
  answers: { 200: { description: 'The number', schema: numberSchema } },
  async handle(input) {
    const { deps, organizationId, params, body } = input
    const record = await changeConfig(deps, async (tx) => {
      const current = await findPhoneNumber(tx, organizationId, params.id)
      if (current === undefined) throw notFound(NAMES)
      await requireAssistant(tx, organizationId, body)
      const fields = merge(deps, current, body)
      const changed = await updatePhoneNumber(tx, deps.ring, organizationId, current, fields)
      await audit(tx, input, current, changed)
      return changed
    })
    return { status: 200, body: show(record) }
  },
})

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Delete a phone number and the destination of its URL',
  params: integerIdParams,
  names: NAMES,
  answers: { 204: { description: 'Deleted' } },
  async handle(input) {
    const { deps, organizationId, params } = input
    await changeConfig(deps, async (tx) => {
      const number = await findPhoneNumber(tx, organizationId, params.id)
      if (number === undefined) throw notFound(NAMES)
      await deletePhoneNumber(tx, deps.ring, organizationId, number)
      await audit(tx, input, number, null)
    })
    return { status: 204 }
  },
})

export const phoneNumberRoutes: readonly Route[] = [create, list, get, patch, remove]
