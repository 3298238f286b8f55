import { writeAudit } from '@switchhook/core/store/audit-logs'
import {
  type AssignedNumber,
  importPhoneNumbers,
  listAssignedNumbers,
  type ProviderOwnedNumber,
} from '@switchhook/core/store/organization-numbers'
import {
  listProviderCredentials,
  type ProviderCredentials,
} from '@switchhook/core/store/provider-credentials'
import { z } from 'zod'
import { CONTROLLED_PROVIDERS } from '../provider-control/gateway-urls.ts'
import { codeOf } from '../provider-control/provider-errors.ts'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'
import { changeConfig } from './change-config.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, integerIdSchema, phoneNumberSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { type Asker, withDeadlineMs } from './webhook-changes-settle.ts'

const PATH = '/api/v1/assistants/organization/phone-numbers'

/** Of one account; also how many the drop-in list shows, which knows no pages. */
const MAX_NUMBERS = 10_000
/** Numbers that an audit row names. */
const MAX_AUDITED = 100

const syncedSchema = z.object({
  success: z.boolean(),
  message: z.string(),
  synced_count: z.int(),
})

type Listed = { readonly numbers: readonly ProviderOwnedNumber[]; readonly failed: number }

/** What can be read of the accounts; one that fails does not keep the others from being read. */
async function listNumbers(
  { providerControl, log }: ApiDeps,
  organizationId: string,
  accounts: readonly ProviderCredentials[],
): Promise<Listed> {
  const numbers = new Map<string, ProviderOwnedNumber>()
  let failed = 0
  for (const account of accounts) {
    const { provider, accountId } = account
    try {
      for (const phoneNumber of await providerControl.listNumbers(account, MAX_NUMBERS)) {
        const isNumber = phoneNumberSchema.safeParse(phoneNumber).success
        if (isNumber && !numbers.has(phoneNumber)) {
          numbers.set(phoneNumber, { phoneNumber, provider })
        }
      }
    } catch (error) {
      failed += 1
      const facts = { organization_id: organizationId, provider, provider_account_id: accountId }
      log.warn({ ...facts, code: codeOf(error) }, 'number_sync.failed')
    }
  }
  return { numbers: [...numbers.values()], failed }
}

/** Adds what the organization does not have; what it has stays as it is, and nobody else's is looked at. */
async function importNumbers(
  { deps, organizationId, apiKey, client }: Asker,
  numbers: readonly ProviderOwnedNumber[],
): Promise<number> {
  if (numbers.length === 0) return 0
  return await changeConfig(deps, async (tx) => {
    const added = await importPhoneNumbers(tx, organizationId, numbers)
    if (added.length === 0) return 0
    await writeAudit(tx, {
      ...{ organizationId, eventType: 'phone_number.imported', apiKeyId: apiKey.id, ...client },
      ...{ resourceType: 'organization', resourceId: organizationId, action: 'import' },
      details: { synced_count: added.length, phone_numbers: added.slice(0, MAX_AUDITED) },
    })
    return added.length
  })
}

const sync = withDeadlineMs(
  defineRoute({
    method: 'post',
    path: `${PATH}/sync`,
    access: 'write',
    summary: 'Import the numbers of all Twilio and Telnyx accounts',
    answers: {
      200: { description: 'How many numbers are new', schema: syncedSchema },
      500: { description: 'No account could be read' },
    },
    async handle(input) {
      const { deps, organizationId } = input
      const { database, ring, log } = deps
      const accounts = await listProviderCredentials(
        ...([database.db, ring, organizationId, CONTROLLED_PROVIDERS, log] as const),
      )
      const { numbers, failed } = await listNumbers(deps, organizationId, accounts)
      if (failed > 0 && failed === accounts.length) {
        throw new ApiError(500, 'Failed to sync phone numbers: no provider account could be read')
      }
      const synced_count = await importNumbers(input, numbers)
      const synced = `Successfully synced ${synced_count} phone number(s)`
      const message = failed === 0 ? synced : `${synced}; ${failed} account(s) could not be read`
      return { status: 200, body: { success: failed === 0, message, synced_count } }
    },
  }),
)

const flag = z
  .string()
  .regex(/^(true|false|1|0)$/i, 'true or false')
  .transform((text) => /^(true|1)$/i.test(text))
  .meta({ type: 'boolean' })

const assignedSchema = z.object({
  id: integerIdSchema,
  phone_number: phoneNumberSchema,
  friendly_name: z.string().nullable(),
  provider: z.string(),
  twilio_sid: z.string().describe('Always empty: the provider is asked by number'),
  is_active: z.boolean(),
  is_verified_caller_id: z.boolean(),
  capabilities: z.record(z.string(), z.boolean()),
  sip_trunk_id: z.string().nullable(),
  allowed_country_codes: z.array(z.string()).nullable(),
  assistant: z.object({ id: integerIdSchema, name: z.string(), is_active: z.boolean() }).nullable(),
  flow: z.null(),
  created_at: createdAtSchema,
  updated_at: createdAtSchema,
})

function show(number: AssignedNumber): z.infer<typeof assignedSchema> {
  const { assistant } = number
  return {
    id: number.id,
    phone_number: number.phoneNumber,
    friendly_name: number.phoneNumber,
    provider: number.provider,
    twilio_sid: '',
    is_active: true,
    is_verified_caller_id: false,
    capabilities: { sms: true, voice: number.provider !== 'kudosity' },
    sip_trunk_id: null,
    allowed_country_codes: null,
    assistant: assistant === null ? null : { ...assistant, is_active: true },
    flow: null,
    created_at: toIso(number.createdAtMs),
    updated_at: toIso(number.updatedAtMs),
  }
}

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: `The organization's numbers and their assistants, newest first, at most ${MAX_NUMBERS}`,
  query: z.strictObject({
    include_assigned: flag.optional(),
    include_unassigned: flag.optional(),
    include_inactive: flag.optional().describe('No number is inactive here'),
  }),
  answers: { 200: { description: 'The numbers', schema: z.array(assignedSchema) } },
  async handle({ deps, organizationId, query }) {
    const { include_assigned: assigned = true, include_unassigned: unassigned = true } = query
    const which = { assigned, unassigned }
    const rows = await listAssignedNumbers(deps.database.db, organizationId, which, MAX_NUMBERS)
    return { status: 200, body: rows.map(show) }
  },
})

export const numberSyncRoutes: readonly Route[] = [sync, list]
