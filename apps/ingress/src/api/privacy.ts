import {
  countRunningErasures,
  ERASURE_PHASES,
  type Erasure,
  findErasure,
  insertErasure,
  listErasures,
} from '@switchhook/core/store/privacy'
import { findClockMs } from '@switchhook/core/store/replay-jobs'
import { isUniqueViolation } from '@switchhook/core/store/transaction'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema } from './field-schemas.ts'
import { toIso } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'erasures'
const NAMES = 'Erasure'
const PATH = '/api/v1/privacy/erasures'
/** Each goes through everything that the organization has. */
const MAX_RUNNING = 100

const erasureIdSchema = z.string().regex(/^era_[a-z2-7]{26}$/)

/** Shorter ones are no person's, and would be found within anything. */
const personSchema = z
  .string()
  .regex(/^\+[1-9]\d{6,14}$/, 'Must be in E.164 format, +14155551234 for one')
  .meta({ examples: ['+14155551234'] })

const erasureSchema = z
  .object({
    id: erasureIdSchema,
    state: z.enum(['running', 'finished', 'failed']),
    reason: z.string().nullable().describe('Why it failed'),
    phase: z.enum(ERASURE_PHASES).describe('What it goes through now, or went through last'),
    events_erased: z.int(),
    deliveries_cancelled: z.int(),
    attempts_erased: z.int(),
    calls_erased: z.int(),
    quarantined_deleted: z.int(),
    created_at: createdAtSchema,
    finished_at: createdAtSchema.nullable(),
  })
  .meta({ id: 'Erasure' })

/** Without the number: it is what must not be kept. */
function show(erasure: Erasure) {
  return {
    id: erasure.id,
    state: erasure.state,
    reason: erasure.reason,
    phase: erasure.phase,
    events_erased: erasure.eventsErased,
    deliveries_cancelled: erasure.deliveriesCancelled,
    attempts_erased: erasure.attemptsErased,
    calls_erased: erasure.callsErased,
    quarantined_deleted: erasure.quarantinedDeleted,
    created_at: toIso(erasure.createdAtMs),
    finished_at: erasure.finishedAtMs === null ? null : toIso(erasure.finishedAtMs),
  }
}

const erase = defineRoute({
  method: 'post',
  path: '/api/v1/privacy/erase',
  access: 'admin',
  summary:
    "Erase one person: their number, messages and calls, wherever they are kept; can't be undone",
  body: z
    .strictObject({ phone_number: personSchema.describe("The person's, not one of yours") })
    .meta({ examples: [{ phone_number: '+14155551234' }] }),
  answers: {
    202: { description: 'The erasure, which goes on by itself', schema: erasureSchema },
    409: { description: 'One of this number is running, or the number is one of your own' },
    429: { description: `${MAX_RUNNING} erasures are running, or the key asks too often` },
  },
  async handle(input) {
    const { deps, organizationId, apiKey } = input
    const { phone_number: phoneNumber } = input.body
    if (deps.snapshot.findPhoneNumber(organizationId, phoneNumber) !== undefined) {
      throw new ApiError(409, 'The number is one of your own: delete it first')
    }
    const conflict = new ApiError(409, 'An erasure of this number is running')
    const erasure = await deps.database.db
      .transaction()
      .execute(async (tx) => {
        if ((await countRunningErasures(tx, organizationId)) >= MAX_RUNNING) {
          throw new ApiError(429, 'Too many erasures are running', { 'retry-after': '60' })
        }
        const nowMs = await findClockMs(tx)
        const facts = { organizationId, phoneNumber, requestedBy: apiKey.id, nowMs }
        const made = await insertErasure(tx, facts)
        // Without the number here, too.
        await auditAction(tx, input, 'erasure.requested', made.id)
        return made
      })
      .catch((error: unknown) => {
        throw isUniqueViolation(error) ? conflict : error
      })
    return { status: 202, body: show(erasure) }
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'admin',
  summary: 'List erasures, newest first; none tells whose it was',
  query: z.strictObject({ ...pageQuery(KIND, erasureIdSchema) }),
  answers: { 200: { description: 'A page of erasures', schema: pageSchema(erasureSchema) } },
  async handle({ deps, organizationId, query: { limit, cursor } }) {
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listErasures(deps.database.db, organizationId, page)
    const positionOf = ({ id, createdAtMs }: Erasure) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'admin',
  summary: 'One erasure and how far it is',
  params: z.strictObject({ id: erasureIdSchema }),
  names: NAMES,
  answers: { 200: { description: 'The erasure', schema: erasureSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const erasure = await findErasure(deps.database.db, organizationId, id)
    if (erasure === undefined) throw notFound(NAMES)
    return { status: 200, body: show(erasure) }
  },
})

export const privacyRoutes: readonly Route[] = [erase, list, get]
