import {
  findWebhookChange,
  listWebhookChanges,
  type WebhookChange,
} from '@switchhook/core/store/webhook-changes'
import { z } from 'zod'
import { CONTROLLED_PROVIDERS } from '../provider-control/gateway-urls.ts'
import type { NumberRef } from '../provider-control/provider-control.ts'
import { notFound } from './api-error.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, phoneNumberSchema } from './field-schemas.ts'
import { numberFilter, toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'
import { needsApproval, WAITING, waitingAnswer } from './webhook-changes-answer.ts'
import { approveRollback, askForRollback, rollBackNow } from './webhook-changes-roll-back.ts'
import { approveChange, rejectChange } from './webhook-changes-run.ts'
import { type Asker, numberRefOf, withDeadlineMs } from './webhook-changes-settle.ts'

const KIND = 'webhook-changes'
const PATH = '/api/v1/webhook-changes'
const NAMES = 'Webhook change'

const idSchema = z.string().regex(/^chg_[a-z2-7]{26}$/)
const params = z.strictObject({ id: idSchema })

const stateSchema = z.enum(['pending', 'applying', 'applied', 'failed', 'rejected', 'rolled_back'])
const heldSchema = z
  .looseObject({
    voice_webhook_url: z.string().nullable(),
    sms_webhook_url: z.string().nullable(),
    detached_applications: z
      .array(z.string())
      .optional()
      .describe('Of Twilio: what decided for the number and was taken off it'),
    resources: z.array(z.unknown()).describe("In the provider's words"),
  })
  .nullable()

const changeSchema = z
  .object({
    id: idSchema,
    phone_number: phoneNumberSchema,
    provider: z.enum(CONTROLLED_PROVIDERS),
    state: stateSchema,
    requested: z.record(z.string(), z.unknown()),
    before: heldSchema.describe('What the provider held; null: nothing was written yet'),
    after: heldSchema,
    error: z.string().nullable().describe('What went wrong, or what to do if it stays `applying`'),
    requested_by: z.string().describe('An API key'),
    decided_by: z.string().nullable(),
    rollback_of: idSchema.nullable(),
    created_at: createdAtSchema,
    decided_at: createdAtSchema.nullable(),
  })
  .meta({ id: 'WebhookChange' })

function show(change: WebhookChange) {
  return {
    id: change.id,
    phone_number: change.phoneNumber,
    provider: change.provider,
    state: change.state,
    requested: change.requested,
    before: change.before,
    after: change.after,
    error: change.error,
    requested_by: change.requestedBy,
    decided_by: change.decidedBy,
    rollback_of: change.rollbackOf,
    created_at: toIso(change.createdAtMs),
    decided_at: change.decidedAtMs === null ? null : toIso(change.decidedAtMs),
  }
}

/** Throws `ApiError` 404. */
async function requireChange({ deps, organizationId }: Asker, id: string): Promise<WebhookChange> {
  const change = await findWebhookChange(deps.database.db, organizationId, id)
  if (change === undefined) throw notFound(NAMES)
  return change
}

async function refOf({ deps, organizationId }: Asker, change: WebhookChange): Promise<NumberRef> {
  const provider = CONTROLLED_PROVIDERS.find((one) => one === change.provider)
  if (provider === undefined) throw new Error(`a change at ${change.provider}`)
  return await numberRefOf(deps, organizationId, provider, change.phoneNumber)
}

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: "List changes of numbers' URLs at their providers, newest first",
  query: z.strictObject({
    ...pageQuery(KIND, idSchema),
    state: stateSchema.optional(),
    phone_number: numberFilter,
  }),
  answers: { 200: { description: 'A page of changes', schema: pageSchema(changeSchema) } },
  async handle({ deps, organizationId, query }) {
    const { limit, cursor, state, phone_number: phoneNumber } = query
    const page = { limit: rowsToRead(limit), after: cursor }
    const filter = { state, phoneNumber }
    const rows = await listWebhookChanges(deps.database.db, organizationId, filter, page)
    const positionOf = ({ id, createdAtMs }: WebhookChange) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One change with what the provider held before and after',
  params,
  names: NAMES,
  answers: { 200: { description: 'The change', schema: changeSchema } },
  async handle(input) {
    return { status: 200, body: show(await requireChange(input, input.params.id)) }
  },
})

const DECIDED = {
  200: { description: 'The change', schema: changeSchema },
  409: { description: 'It is decided already, or the number cannot be changed so' },
  500: { description: 'The provider failed; what was written is undone' },
}

const approve = withDeadlineMs(
  defineRoute({
    method: 'post',
    path: `${PATH}/{id}/approve`,
    access: 'write',
    summary: 'Let a pending change or rollback happen; not by the key that asked for it',
    params,
    names: NAMES,
    answers: DECIDED,
    async handle(input) {
      const change = await requireChange(input, input.params.id)
      const approveIt = change.rollbackOf === null ? approveChange : approveRollback
      const approved = await approveIt(input, change, await refOf(input, change))
      return { status: 200, body: show(approved) }
    },
  }),
)

const reject = defineRoute({
  method: 'post',
  path: `${PATH}/{id}/reject`,
  access: 'write',
  summary: 'Drop a pending change; not by the key that asked for it',
  params,
  names: NAMES,
  answers: { 200: DECIDED[200], 409: { description: 'It is decided already' } },
  async handle(input) {
    const change = await requireChange(input, input.params.id)
    return { status: 200, body: show(await rejectChange(input, change)) }
  },
})

const rollBack = withDeadlineMs(
  defineRoute({
    method: 'post',
    path: `${PATH}/{id}/rollback`,
    access: 'write',
    summary: 'Put back at the provider what was there before the change',
    params,
    names: NAMES,
    body: z
      .strictObject({
        force: z
          .boolean()
          .optional()
          .describe('Also when the provider holds something else by now'),
      })
      .optional(),
    answers: {
      ...DECIDED,
      ...WAITING,
      409: { description: 'There is nothing to roll back, or the provider has changed since' },
    },
    async handle(input) {
      const change = await requireChange(input, input.params.id)
      const isForced = input.body?.force === true
      if (needsApproval(input)) {
        return waitingAnswer(await askForRollback(input, change, isForced), 'rollback')
      }
      const rolledBack = await rollBackNow(input, change, await refOf(input, change), isForced)
      return { status: 200, body: show(rolledBack) }
    },
  }),
)

export const webhookChangeRoutes: readonly Route[] = [list, get, approve, reject, rollBack]
