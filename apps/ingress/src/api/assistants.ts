import {
  type AssistantFields,
  type AssistantRecord,
  deleteAssistant,
  findAssistant,
  insertAssistant,
  listAssistants,
  updateAssistant,
} from '@switchhook/core/store/assistants'
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
  nameSchema,
  urlSchema,
} from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'assistants'
const PATH = '/api/v1/assistants'
const NAMES = 'Assistant'

const settings = {
  webhook_url: urlSchema.nullable().describe('Gets its voice events, in the format burki'),
  sms_webhook_url: urlSchema.nullable().describe('Gets its messages, in the format burki'),
  messaging_service_sid: z
    .string()
    .regex(/^MG[0-9A-Za-z]{32}$/, 'Must be "MG" and 32 letters or digits')
    .nullable(),
  webhook_fallback_email: emailSchema
    .nullable()
    .describe('Gets by mail what neither URL would take'),
}

const assistantSchema = z
  .object({ id: integerIdSchema, name: nameSchema, ...settings, created_at: createdAtSchema })
  .meta({ id: 'Assistant' })

const changes = z.strictObject({ name: nameSchema, ...settings }).partial()
type Changes = z.infer<typeof changes>

const NEW: Omit<AssistantFields, 'name'> = {
  webhookUrl: null,
  smsWebhookUrl: null,
  messagingServiceSid: null,
  webhookFallbackEmail: null,
}

/** `current` with what the body sets. Throws `ApiError` 422 for a URL that may not be called. */
function merge(deps: ApiDeps, current: AssistantFields, body: Changes): AssistantFields {
  const { webhook_url, sms_webhook_url, messaging_service_sid, webhook_fallback_email } = body
  return {
    name: body.name ?? current.name,
    webhookUrl:
      webhook_url === undefined ? current.webhookUrl : checkUrl(deps, 'webhook_url', webhook_url),
    smsWebhookUrl:
      sms_webhook_url === undefined
        ? current.smsWebhookUrl
        : checkUrl(deps, 'sms_webhook_url', sms_webhook_url),
    messagingServiceSid:
      messaging_service_sid === undefined ? current.messagingServiceSid : messaging_service_sid,
    webhookFallbackEmail:
      webhook_fallback_email === undefined ? current.webhookFallbackEmail : webhook_fallback_email,
  }
}

function show(assistant: AssistantRecord): z.infer<typeof assistantSchema> {
  return {
    id: assistant.id,
    name: assistant.name,
    webhook_url: assistant.webhookUrl,
    sms_webhook_url: assistant.smsWebhookUrl,
    messaging_service_sid: assistant.messagingServiceSid,
    webhook_fallback_email: assistant.webhookFallbackEmail,
    created_at: toIso(assistant.createdAtMs),
  }
}

const audit = auditOf('assistant', show)

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'write',
  summary: 'Create an assistant; each of its URLs is a destination',
  body: changes.required({ name: true }).meta({
    examples: [{ name: 'Front desk', sms_webhook_url: 'https://example.com/sms' }],
  }),
  answers: { 201: { description: 'The assistant', schema: assistantSchema } },
  async handle(input) {
    const { deps, organizationId, body } = input
    const fields = merge(deps, { ...NEW, name: body.name }, body)
    const record = await changeConfig(deps, async (tx) => {
      const made = await insertAssistant(tx, deps.ring, organizationId, fields)
      await audit(tx, input, null, made)
      return made
    })
    return { status: 201, body: show(record) }
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List assistants, newest first',
  query: z.strictObject(pageQuery(KIND, integerIdSchema)),
  answers: { 200: { description: 'A page of assistants', schema: pageSchema(assistantSchema) } },
  async handle({ deps, organizationId, query: { limit, cursor } }) {
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listAssistants(deps.database.db, organizationId, page)
    const positionOf = ({ id, createdAtMs }: AssistantRecord) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One assistant',
  params: integerIdParams,
  names: NAMES,
  answers: { 200: { description: 'The assistant', schema: assistantSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const record = await findAssistant(deps.database.db, organizationId, id)
    if (record === undefined) throw notFound(NAMES)
    return { status: 200, body: show(record) }
  },
})

const changeWith = (method: 'patch' | 'put') =>
  defineRoute({
    method,
    path: `${PATH}/{id}`,
    access: 'write',
    summary: 'Change an assistant; the destinations of its URLs follow, null deletes one',
    params: integerIdParams,
    names: NAMES,
    body: changes.meta({ examples: [{ sms_webhook_url: 'https://example.com/sms' }] }),
    answers: { 200: { description: 'The assistant', schema: assistantSchema } },
    async handle(input) {
      const { deps, organizationId, params, body } = input
      const record = await changeConfig(deps, async (tx) => {
        const current = await findAssistant(tx, organizationId, params.id)
        if (current === undefined) throw notFound(NAMES)
        const fields = merge(deps, current, body)
        const changed = await updateAssistant(tx, deps.ring, organizationId, current, fields)
        await audit(tx, input, current, changed)
        return changed
      })
      return { status: 200, body: show(record) }
    },
  })

const patch = changeWith('patch')
/** Burki's own way to change some fields: what is left out stays (docs.burki.dev, Update Assistant). */
const put = changeWith('put')

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Delete an assistant and the destinations of its scope; its numbers stay',
  params: integerIdParams,
  names: NAMES,
  answers: { 204: { description: 'Deleted' } },
  async handle(input) {
    const { deps, organizationId, params } = input
    await changeConfig(deps, async (tx) => {
      const current = await findAssistant(tx, organizationId, params.id)
      if (current === undefined) throw notFound(NAMES)
      await deleteAssistant(tx, organizationId, params.id)
      await audit(tx, input, current, null)
    })
    return { status: 204 }
  },
})

export const assistantRoutes: readonly Route[] = [create, list, get, patch, put, remove]
