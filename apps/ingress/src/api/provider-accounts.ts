import { PROVIDERS } from '@switchhook/core/event'
import {
  deleteProviderAccount,
  findProviderAccount,
  insertProviderAccount,
  listProviderAccounts,
  type ProviderAccountRecord,
  replaceProviderSecrets,
} from '@switchhook/core/store/provider-accounts'
import { z } from 'zod'
import { notFound } from './api-error.ts'
import { changeConfig } from './change-config.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, idSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'provider-accounts'
const PATH = '/api/v1/provider-accounts'
const NAMES = 'Provider account'
const CONFLICT = 'The organization has this account already'

/** Where Twilio is told to send: each path is served, the first is what Burki's users know. */
const TWILIO_PATHS = ['/twilio-sms-webhook', '/webhooks/sms/twilio']

const accountId = idSchema('pac_')
const params = z.strictObject({ id: accountId })

const tokenSchema = z
  .string()
  .regex(/^[\x21-\x7e]{1,200}$/, 'Must be 1 to 200 visible ASCII characters')
  .meta({ writeOnly: true })

const accountSchema = z
  .object({
    id: z.string(),
    provider: z.enum(PROVIDERS),
    account_sid: z.string().nullable(),
    has_secondary_auth_token: z.boolean(),
    webhook_urls: z.array(z.string()),
    created_at: createdAtSchema,
  })
  .meta({ id: 'ProviderAccount' })

function createShow(publicBaseUrl: string) {
  return (account: ProviderAccountRecord) => ({
    id: account.id,
    provider: account.provider,
    account_sid: account.accountSid,
    has_secondary_auth_token: account.hasSecondaryAuthToken,
    webhook_urls: TWILIO_PATHS.map((path) => publicBaseUrl + path),
    created_at: toIso(account.createdAtMs),
  })
}

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'write',
  summary: 'Register an account with a provider, so that its webhooks can be verified',
  body: z
    .strictObject({
      provider: z.enum(['twilio']),
      account_sid: z
        .string()
        .regex(/^AC[0-9A-Za-z]{32}$/, 'Must be "AC" and 32 letters or digits')
        .describe('Twilio calls it Account SID'),
      auth_token: tokenSchema,
      secondary_auth_token: tokenSchema
        .nullable()
        .optional()
        .describe('While tokens are rotated: signatures of both hold'),
    })
    .meta({
      examples: [
        { provider: 'twilio', account_sid: `AC${'0'.repeat(32)}`, auth_token: 'your_auth_token' },
      ],
    }),
  answers: {
    201: { description: 'The account, without its tokens', schema: accountSchema },
    409: { description: CONFLICT },
  },
  async handle({ deps, organizationId, body }) {
    const account = { provider: body.provider, accountSid: body.account_sid }
    const secrets = { authToken: body.auth_token, secondaryAuthToken: body.secondary_auth_token }
    const record = await changeConfig(
      deps,
      (tx) => insertProviderAccount(tx, deps.ring, organizationId, account, secrets),
      CONFLICT,
    )
    return { status: 201, body: createShow(deps.publicBaseUrl)(record) }
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List provider accounts, newest first',
  query: z.strictObject(pageQuery(KIND, accountId)),
  answers: { 200: { description: 'A page of accounts', schema: pageSchema(accountSchema) } },
  async handle({ deps, organizationId, query: { limit, cursor } }) {
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listProviderAccounts(deps.database.db, organizationId, page)
    const positionOf = ({ id, createdAtMs }: ProviderAccountRecord) => ({ id, timeMs: createdAtMs })
    const show = createShow(deps.publicBaseUrl)
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One provider account, without its tokens',
  params,
  names: NAMES,
  answers: { 200: { description: 'The account', schema: accountSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const record = await findProviderAccount(deps.database.db, organizationId, id)
    if (record === undefined) throw notFound(NAMES)
    return { status: 200, body: createShow(deps.publicBaseUrl)(record) }
  },
})

const patch = defineRoute({
  method: 'patch',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Replace the tokens of a provider account',
  params,
  names: NAMES,
  body: z
    .strictObject({
      auth_token: tokenSchema.optional(),
      secondary_auth_token: tokenSchema.nullable().optional().describe('null takes it away'),
    })
    .meta({ examples: [{ secondary_auth_token: 'your_new_token' }] }),
  answers: { 200: { description: 'The account', schema: accountSchema } },
  async handle({ deps, organizationId, params: { id }, body }) {
    const secrets = { authToken: body.auth_token, secondaryAuthToken: body.secondary_auth_token }
    const record = await changeConfig(deps, (tx) =>
      replaceProviderSecrets(tx, deps.ring, organizationId, id, secrets),
    )
    if (record === undefined) throw notFound(NAMES)
    return { status: 200, body: createShow(deps.publicBaseUrl)(record) }
  },
})

const remove = defineRoute({
  method: 'delete',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Delete a provider account: its webhooks are refused from then on',
  params,
  names: NAMES,
  answers: { 204: { description: 'Deleted' } },
  async handle({ deps, organizationId, params: { id } }) {
    const wasThere = await changeConfig(deps, (tx) => deleteProviderAccount(tx, organizationId, id))
    if (!wasThere) throw notFound(NAMES)
    return { status: 204 }
  },
})

export const providerAccountRoutes: readonly Route[] = [create, list, get, patch, remove]
