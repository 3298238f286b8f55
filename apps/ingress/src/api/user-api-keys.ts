import { API_SCOPES, type ApiScope, coversScope } from '@switchhook/core/api-key'
import {
  type ApiKeyWithUse,
  findApiKeyByNumber,
  listApiKeysWithUse,
} from '@switchhook/core/store/api-keys'
import { z } from 'zod'
import { API_KEY_NAMES, addApiKey, MAX_KEYS, removeApiKey } from './api-keys.ts'
import { organizationNumber } from './burki-numbers.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, integerIdInPath, nameSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'

const PATH = '/api/v1/users/me/api-keys'

/** Burki shows the beginning of a key: ours begin with `swh_` and the id, the secret comes after 17 characters. */
const PREFIX_CHARACTERS = 12

/** Burki's APIKeyResponse. */
const keySchema = z.object({
  id: z.int(),
  user_id: z.int(),
  name: z.string(),
  key_prefix: z.string(),
  last_used_at: createdAtSchema.nullable(),
  usage_count: z.int(),
  is_active: z.boolean(),
  permissions: z.record(z.string(), z.unknown()),
  rate_limit: z.record(z.string(), z.unknown()),
  created_at: createdAtSchema,
  updated_at: createdAtSchema,
})

/** `{read: true, write: false, admin: false}`: what the scopes come to. */
function permissionsOf(scopes: readonly ApiScope[]): Record<ApiScope, boolean> {
  return {
    read: coversScope(scopes, 'read'),
    write: coversScope(scopes, 'write'),
    admin: coversScope(scopes, 'admin'),
  }
}

/**
 * The scopes that permissions ask for: those that are true. Burki's own are words by area, `{"calls": "read_write"}`,
 * and areas are not told apart here: a word with "write" in it is the scope write, any other is read. A key without
 * permissions only reads.
 */
function scopesOf(permissions: Readonly<Record<string, unknown>> | null | undefined): ApiScope[] {
  const asked = Object.entries(permissions ?? {})
  const named = API_SCOPES.filter((scope) =>
    asked.some(([name, value]) => name === scope && value === true),
  )
  const mayWrite = asked.some(([, word]) => typeof word === 'string' && /write/i.test(word))
  const scopes = new Set<ApiScope>([...named, ...(mayWrite ? (['write'] as const) : [])])
  return scopes.size === 0 ? ['read'] : [...scopes]
}

function show(
  key: ApiKeyWithUse,
  organizationId: string,
  rateLimitPerSecond: number,
): z.infer<typeof keySchema> {
  return {
    id: key.number,
    user_id: organizationNumber(organizationId),
    name: key.name,
    key_prefix: `swh_${key.id}`.slice(0, PREFIX_CHARACTERS),
    last_used_at: key.lastUsedAtMs === null ? null : toIso(key.lastUsedAtMs),
    usage_count: key.usageCount,
    is_active: true,
    permissions: permissionsOf(key.scopes),
    rate_limit: { requests_per_second: rateLimitPerSecond },
    created_at: toIso(key.createdAtMs),
    updated_at: toIso(key.updatedAtMs),
  }
}

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'The API keys as Burki lists them, newest first; uses are counted within 10 s',
  // Like Burki: what it does not know in a query is ignored.
  query: z.object({}),
  answers: { 200: { description: 'The keys', schema: z.array(keySchema) } },
  async handle({ deps, organizationId }) {
    const keys = await listApiKeysWithUse(deps.database.db, organizationId, MAX_KEYS)
    const body = keys.map((key) => show(key, organizationId, deps.rateLimitPerSecond))
    return { status: 200, body }
  },
})

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'admin',
  summary: 'Create an API key as Burki does',
  body: z
    .strictObject({
      name: nameSchema,
      permissions: z
        .record(z.string(), z.unknown())
        .nullish()
        .describe('`read`, `write`, `admin`: true; without any, the key only reads'),
    })
    .meta({ examples: [{ name: 'Reports', permissions: { read: true } }] }),
  answers: {
    200: {
      description: 'The key; `key` is shown this once',
      schema: z.object({ api_key: keySchema, key: z.string() }),
    },
    409: { description: `The organization has ${MAX_KEYS} keys` },
  },
  async handle(input) {
    const { deps, organizationId, body } = input
    const { record, text } = await addApiKey(input, body.name, scopesOf(body.permissions))
    const unused = { ...record, usageCount: 0, lastUsedAtMs: null }
    const api_key = show(unused, organizationId, deps.rateLimitPerSecond)
    return { status: 200, body: { api_key, key: text } }
  },
})

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{key_id}`,
  access: 'admin',
  summary: 'Delete an API key by its number: it ends at once, also when it is the one in use',
  params: z.strictObject({ key_id: integerIdInPath }),
  names: API_KEY_NAMES,
  answers: { 204: { description: 'Deleted' } },
  async handle(input) {
    const { organizationId, params } = input
    await removeApiKey(input, (tx) => findApiKeyByNumber(tx, organizationId, params.key_id))
    return { status: 204 }
  },
})

export const userApiKeyRoutes: readonly Route[] = [list, create, remove]
