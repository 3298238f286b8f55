import { API_SCOPES, createApiKey } from '@switchhook/core/api-key'
import { insertApiKey } from '@switchhook/core/store/api-keys'
import {
  createOrganization,
  findOrganization,
  renameOrganization,
} from '@switchhook/core/store/organizations'
import { z } from 'zod'
import { notFound } from './api-error.ts'
import { changeConfig } from './change-config.ts'
import { defineAdminRoute, defineRoute, type Route } from './define-route.ts'
import { nameSchema } from './field-schemas.ts'

const organizationSchema = z
  .object({ id: z.string(), name: z.string() })
  .meta({ id: 'Organization' })

const create = defineAdminRoute({
  method: 'post',
  path: '/api/v1/organizations',
  summary: 'Create an organization and its first API key, which may do everything in it',
  body: z.strictObject({ name: nameSchema }).meta({ examples: [{ name: 'Example Pty Ltd' }] }),
  answers: {
    201: {
      description: 'The organization; the key is shown this once',
      schema: organizationSchema.extend({ api_key: z.string() }),
    },
  },
  async handle({ deps, body }) {
    const key = createApiKey()
    const organization = await changeConfig(deps, async (tx) => {
      const created = await createOrganization(tx, body.name)
      await insertApiKey(tx, created.id, key, { name: 'First key', scopes: API_SCOPES })
      return created
    })
    return { status: 201, body: { ...organization, api_key: key.text } }
  },
})

const get = defineRoute({
  method: 'get',
  path: '/api/v1/organization',
  access: 'read',
  summary: 'The organization of the API key',
  answers: { 200: { description: 'The organization', schema: organizationSchema } },
  async handle({ deps, organizationId }) {
    const organization = await findOrganization(deps.database.db, organizationId)
    if (organization === undefined) throw notFound('Organization')
    return { status: 200, body: organization }
  },
})

const patch = defineRoute({
  method: 'patch',
  path: '/api/v1/organization',
  access: 'admin',
  summary: 'Change the settings of the organization',
  body: z
    .strictObject({ name: nameSchema.optional() })
    .meta({ examples: [{ name: 'Example Pty Ltd' }] }),
  answers: { 200: { description: 'The organization', schema: organizationSchema } },
  async handle({ deps, organizationId, body: { name } }) {
    const organization = await changeConfig(deps, (tx) =>
      name === undefined
        ? findOrganization(tx, organizationId)
        : renameOrganization(tx, organizationId, name),
    )
    if (organization === undefined) throw notFound('Organization')
    return { status: 200, body: organization }
  },
})

export const organizationRoutes: readonly Route[] = [create, get, patch]
