import { API_SCOPES, createApiKey } from '@switchhook/core/api-key'
import {
  type ApiKeyRecord,
  countApiKeys,
  deleteApiKey,
  findApiKeyRecord,
  insertApiKey,
  listApiKeys,
} from '@switchhook/core/store/api-keys'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { changeConfig } from './change-config.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, nameSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'api-keys'
const PATH = '/api/v1/api-keys'
const NAMES = 'API key'
/** Every process holds every key in memory. */
const MAX_KEYS = 1000

const keyId = z.string().regex(/^[a-z2-7]{12}$/)
const params = z.strictObject({ id: keyId })

const keySchema = z
  .object({
    id: z.string(),
    name: z.string(),
    scopes: z.array(z.enum(API_SCOPES)),
    created_at: createdAtSchema,
  })
  .meta({ id: 'ApiKey' })

function show({ id, name, scopes, createdAtMs }: ApiKeyRecord) {
  return { id, name, scopes, created_at: toIso(createdAtMs) }
}

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'admin',
  summary: 'Create an API key',
  body: z
    .strictObject({
      name: nameSchema.default('API key'),
      scopes: z
        .array(z.enum(API_SCOPES))
        .min(1)
        .max(API_SCOPES.length)
        .default(['read'])
        .describe('admin covers everything, write covers read'),
    })
    .meta({ examples: [{ name: 'Reports', scopes: ['read'] }] }),
  answers: {
    201: {
      description: 'The key; `api_key` is shown this once',
      schema: keySchema.extend({ api_key: z.string() }),
    },
    409: { description: `The organization has ${MAX_KEYS} keys` },
  },
  async handle({ deps, organizationId, body }) {
    const key = createApiKey()
    const scopes = [...new Set(body.scopes)]
    const record = await changeConfig(deps, async (tx) => {
      if ((await countApiKeys(tx, organizationId)) >= MAX_KEYS) {
        throw new ApiError(409, `An organization has at most ${MAX_KEYS} API keys`)
      }
      return await insertApiKey(tx, organizationId, key, { name: body.name, scopes })
    })
    return { status: 201, body: { ...show(record), api_key: key.text } }
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List API keys, newest first',
  query: z.strictObject(pageQuery(KIND, keyId)),
  answers: { 200: { description: 'A page of keys', schema: pageSchema(keySchema) } },
  async handle({ deps, organizationId, query: { limit, cursor } }) {
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listApiKeys(deps.database.db, organizationId, page)
    const positionOf = ({ id, createdAtMs }: ApiKeyRecord) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One API key, without its secret',
  params,
  names: NAMES,
  answers: { 200: { description: 'The key', schema: keySchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const record = await findApiKeyRecord(deps.database.db, organizationId, id)
    if (record === undefined) throw notFound(NAMES)
    return { status: 200, body: show(record) }
  },
})

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'admin',
  summary: 'Delete an API key: it ends at once, also when it is the one in use',
  params,
  names: NAMES,
  answers: { 204: { description: 'Deleted' } },
  async handle({ deps, organizationId, params: { id } }) {
    const wasThere = await changeConfig(deps, (tx) => deleteApiKey(tx, organizationId, id))
    if (!wasThere) throw notFound(NAMES)
    return { status: 204 }
  },
})

export const apiKeyRoutes: readonly Route[] = [create, list, get, remove]
