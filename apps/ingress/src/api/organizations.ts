import { API_SCOPES, createApiKey } from '@switchhook/core/api-key'
import { insertApiKey } from '@switchhook/core/store/api-keys'
import { findDestinationStatus } from '@switchhook/core/store/destinations'
import {
  createOrganization,
  findOrganization,
  type OrganizationRecord,
  updateOrganization,
} from '@switchhook/core/store/organizations'
import { z } from 'zod'
import { notFound } from './api-error.ts'
import { auditOf } from './audit-change.ts'
import { changeConfig } from './change-config.ts'
import { defineAdminRoute, defineRoute, type Route } from './define-route.ts'
import { idSchema, nameSchema } from './field-schemas.ts'

const settings = {
  name: nameSchema,
  webhook_change_approval: z
    .boolean()
    .describe("A change of a number's URLs at its provider waits until another key approves"),
  operations_destination_id: idSchema('dst_')
    .nullable()
    .describe(
      'Gets the operational events, and it alone: circuit.opened, circuit.closed, destination.disabled, delivery.given_up, mail.failed',
    ),
}

const organizationSchema = z.object({ id: z.string(), ...settings }).meta({ id: 'Organization' })

function show(organization: OrganizationRecord): z.infer<typeof organizationSchema> {
  return {
    id: organization.id,
    name: organization.name,
    webhook_change_approval: organization.needsChangeApproval,
    operations_destination_id: organization.operationsDestinationId,
  }
}

const audit = auditOf('organization', show)

const create = defineAdminRoute({
  method: 'post',
  path: '/api/v1/organizations',
  summary: 'Create an organization and its first API key, which may do everything in it',
  body: z.strictObject({ name: nameSchema }).meta({ examples: [{ name: 'Example Pty Ltd' }] }),
  answers: {
    201: {
      description: 'The organization; the key is shown this once',
      schema: z.object({ id: z.string(), name: z.string(), api_key: z.string() }),
    },
  },
  async handle({ deps, client, body }) {
    const key = createApiKey()
    const { id, name } = await changeConfig(deps, async (tx) => {
      const created = await createOrganization(tx, body.name)
      await insertApiKey(tx, created.id, key, { name: 'First key', scopes: API_SCOPES })
      await audit(tx, { organizationId: created.id, client }, null, created)
      return created
    })
    return { status: 201, body: { id, name, api_key: key.text } }
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
    return { status: 200, body: show(organization) }
  },
})

const patch = defineRoute({
  method: 'patch',
  path: '/api/v1/organization',
  access: 'admin',
  summary: 'Change the settings of the organization',
  body: z
    .strictObject(settings)
    .partial()
    .meta({ examples: [{ name: 'Example Pty Ltd', webhook_change_approval: true }] }),
  answers: {
    200: { description: 'The organization', schema: organizationSchema },
    404: { description: 'The destination is not in your organization' },
  },
  async handle(input) {
    const { deps, organizationId, body } = input
    const organization = await changeConfig(deps, async (tx) => {
      const current = await findOrganization(tx, organizationId)
      if (current === undefined) throw notFound('Organization')
      const destinationId = body.operations_destination_id
      if (typeof destinationId === 'string') {
        const status = await findDestinationStatus(tx, organizationId, destinationId)
        if (status === undefined) throw notFound('Destination')
      }
      const changed = await updateOrganization(tx, organizationId, {
        name: body.name ?? current.name,
        needsChangeApproval: body.webhook_change_approval ?? current.needsChangeApproval,
        operationsDestinationId:
          destinationId === undefined ? current.operationsDestinationId : destinationId,
      })
      await audit(tx, input, current, changed)
      return changed
    })
    return { status: 200, body: show(organization) }
  },
})

export const organizationRoutes: readonly Route[] = [create, get, patch]
