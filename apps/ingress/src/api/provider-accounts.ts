import { hash } from 'node:crypto'
import { randomText } from '@switchhook/core/ids'
import {
  deleteProviderAccount,
  findProviderAccount,
  insertProviderAccount,
  listProviderAccounts,
  type ProviderAccountRecord,
  type ProviderSecrets,
  rotateProviderToken,
  updateProviderAccount,
} from '@switchhook/core/store/provider-accounts'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { auditOf } from './audit-change.ts'
import { changeConfig } from './change-config.ts'
import { defineRoute, type Route } from './define-route.ts'
import { idSchema } from './field-schemas.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'
import { accountChanges, checkFields, newAccount, partsOf } from './provider-account-body.ts'
import { accountSchema, showAccount } from './show-provider-account.ts'

const KIND = 'provider-accounts'
const PATH = '/api/v1/provider-accounts'
const NAMES = 'Provider account'
const CONFLICT = 'The organization has this account already'
const TOKEN_BYTES = 32

const accountId = idSchema('pac_')
const params = z.strictObject({ id: accountId })

function createToken(): { readonly text: string; readonly sha256: Buffer } {
  const text = randomText(TOKEN_BYTES)
  return { text, sha256: hash('sha256', text, 'buffer') }
}

const audit = auditOf('provider_account', (account: ProviderAccountRecord) => {
  const { webhook_urls, ...shown } = showAccount('', account)
  return shown
})

/** That a secret was replaced is worth knowing; what it is now is not told. */
function replacedSecrets(secrets: ProviderSecrets): object | null {
  const replaced = Object.entries(secrets).flatMap(([name, value]) =>
    value === undefined ? [] : [name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)],
  )
  return replaced.length === 0 ? null : { replaced }
}

const create = defineRoute({
  method: 'post',
  path: PATH,
  access: 'write',
  summary: 'Register an account with a provider, so that its webhooks can be verified',
  body: newAccount,
  answers: {
    201: {
      description: 'The account, without its secrets; a path token is shown this once',
      schema: accountSchema,
    },
    409: { description: CONFLICT },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { provider, ...body } = input.body
    const { fields, secrets } = partsOf(body)
    // Twilio names the account in what it signs; a path token would only be one more thing to keep.
    const token = provider === 'twilio' ? undefined : createToken()
    const sha256 = token?.sha256 ?? null
    const record = await changeConfig(
      deps,
      async (tx) => {
        const { ring } = deps
        const made = await insertProviderAccount(
          ...([tx, ring, organizationId, provider, fields, secrets, sha256] as const),
        )
        await audit(tx, input, null, made)
        return made
      },
      CONFLICT,
    )
    return { status: 201, body: showAccount(deps.publicBaseUrl, record, token?.text) }
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
    const show = (account: ProviderAccountRecord) => showAccount(deps.publicBaseUrl, account)
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One provider account, without its secrets',
  params,
  names: NAMES,
  answers: { 200: { description: 'The account', schema: accountSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const record = await findProviderAccount(deps.database.db, organizationId, id)
    if (record === undefined) throw notFound(NAMES)
    return { status: 200, body: showAccount(deps.publicBaseUrl, record) }
  },
})

const patch = defineRoute({
  method: 'patch',
  path: `${PATH}/{id}`,
  access: 'write',
  summary: 'Change the settings of a provider account, or replace its secrets',
  params,
  names: NAMES,
  body: accountChanges,
  answers: {
    200: { description: 'The account', schema: accountSchema },
    409: { description: CONFLICT },
  },
  async handle(input) {
    const { deps, organizationId, params: path, body } = input
    const { fields, secrets } = partsOf(body)
    const record = await changeConfig(
      deps,
      async (tx) => {
        const { id } = path
        const before = await findProviderAccount(tx, organizationId, id)
        if (before === undefined) throw notFound(NAMES)
        checkFields(before.provider, body)
        const after = await updateProviderAccount(
          ...([tx, deps.ring, organizationId, id, fields, secrets] as const),
        )
        if (after === undefined) throw notFound(NAMES)
        await audit(tx, input, before, after, replacedSecrets(secrets))
        return after
      },
      CONFLICT,
    )
    return { status: 200, body: showAccount(deps.publicBaseUrl, record) }
  },
})

const rotateToken = defineRoute({
  method: 'post',
  path: `${PATH}/{id}/rotate-token`,
  access: 'write',
  summary: 'Make a new path token; the one before stays good until the next rotation',
  params,
  names: NAMES,
  answers: {
    200: { description: 'The account; the new token is shown this once', schema: accountSchema },
    409: { description: 'Accounts of this provider have no path token' },
  },
  async handle(input) {
    const { deps, organizationId, params: path } = input
    const token = createToken()
    const record = await changeConfig(deps, async (tx) => {
      const account = await findProviderAccount(tx, organizationId, path.id)
      if (account === undefined) throw notFound(NAMES)
      if (!account.hasToken) throw new ApiError(409, 'This account has no path token')
      await rotateProviderToken(tx, organizationId, path.id, token.sha256)
      await auditAction(tx, input, 'provider_account.token_rotated', account.id)
      return account
    })
    return { status: 200, body: showAccount(deps.publicBaseUrl, record, token.text) }
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
  async handle(input) {
    const { deps, organizationId, params: path } = input
    await changeConfig(deps, async (tx) => {
      const before = await deleteProviderAccount(tx, organizationId, path.id)
      if (before === undefined) throw notFound(NAMES)
      await audit(tx, input, before, null)
    })
    return { status: 204 }
  },
})

export const providerAccountRoutes: readonly Route[] = [
  ...[create, list, get, patch, rotateToken, remove],
]
