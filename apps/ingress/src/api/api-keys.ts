import { API_SCOPES, type ApiScope, createApiKey } from '@switchhook/core/api-key'
import {
  type ApiKeyRecord,
  countApiKeys,
  deleteApiKey,
  findApiKeyRecord,
  insertApiKey,
  listApiKeys,
} from '@switchhook/core/store/api-keys'
import type { Transaction } from '@switchhook/core/store/transaction'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { ApiError, notFound } from './api-error.ts'
import { type Actor, auditOf } from './audit-change.ts'
import { changeConfig } from './change-config.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, nameSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'api-keys'
const PATH = '/api/v1/api-keys'
export const API_KEY_NAMES = 'API key'
/** Every process holds every key in memory. */
export const MAX_KEYS = 1000

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

const audit = auditOf('api_key', show)

type Asking = Actor & { readonly deps: ApiDeps }

/** A new key and its text, which nobody can see again. Throws `ApiError` 409 when there are too many. */
export async function addApiKey(
  input: Asking,
  name: string,
  scopes: readonly ApiScope[],
): Promise<{ record: ApiKeyRecord; text: string }> {
  const { deps, organizationId } = input
  const key = createApiKey()
  const record = await changeConfig(deps, async (tx) => {
    if ((await countApiKeys(tx, organizationId)) >= MAX_KEYS) {
      throw new ApiError(409, `An organization has at most ${MAX_KEYS} API keys`)
    }
    const made = await insertApiKey(tx, organizationId, key, { name, scopes })
    await audit(tx, input, null, made)
    return made
  })
  return { record, text: key.text }
}

/** Throws `ApiError` 404 when `find` finds no key. */
export async function removeApiKey(
  input: Asking,
  find: (tx: Transaction) => Promise<ApiKeyRecord | undefined>,
): Promise<void> {
  const { deps, organizationId } = input
  await changeConfig(deps, async (tx) => {
    const key = await find(tx)
    if (key === undefined) throw notFound(API_KEY_NAMES)
    await deleteApiKey(tx, organizationId, key.id)
    await audit(tx, input, key, null)
  })
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
  async handle(input) {
    const { name, scopes } = input.body
    const { record, text } = await addApiKey(input, name, [...new Set(scopes)])
    return { status: 201, body: { ...show(record), api_key: text } }
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
  names: API_KEY_NAMES,
  answers: { 200: { description: 'The key', schema: keySchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const record = await findApiKeyRecord(deps.database.db, organizationId, id)
    if (record === undefined) throw notFound(API_KEY_NAMES)
    return { status: 200, body: show(record) }
  },
})

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'admin',
  summary: 'Delete an API key: it ends at once, also when it is the one in use',
  params,
  names: API_KEY_NAMES,
  answers: { 204: { description: 'Deleted' } },
  async handle(input) {
    const { organizationId, params } = input
    await removeApiKey(input, (tx) => findApiKeyRecord(tx, organizationId, params.id))
    return { status: 204 }
  },
})

export const apiKeyRoutes: readonly Route[] = [create, list, get, remove]
