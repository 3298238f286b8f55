import { DELIVERY_STATES } from '@switchhook/core/event'
import { findDestinationStatus } from '@switchhook/core/store/destinations'
import {
  countReplayed,
  countRunningReplays,
  endReplay,
  findClockMs,
  findReplay,
  insertReplayJob,
  listReplays,
  MAX_RUNNING_REPLAYS,
  type Replay,
  type ReplayRange,
} from '@switchhook/core/store/replay-jobs'
import { isUniqueViolation, type Transaction } from '@switchhook/core/store/transaction'
import { z } from 'zod'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { defineRoute, type Route } from './define-route.ts'
import { createdAtSchema, idSchema } from './field-schemas.ts'
import { isOrdered, timeRange, toIso, UNORDERED } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'replays'
const NAMES = 'Replay'
const PATH = '/api/v1/replays'
const DEFAULT_RATE_PER_SECOND = 50
/** One that never ends would keep its place for ever. */
const MIN_RATE_PER_SECOND = 0.1
const MAX_RATE_PER_SECOND = 1_000

const replayIdSchema = z.string().regex(/^rpl_[a-z2-7]{26}$/)
const params = z.strictObject({ id: replayIdSchema })
const stateSchema = z.enum(['running', 'finished', 'cancelled', 'failed'])
/** A pending delivery is still on its way. */
const deliveryStateSchema = z.enum(DELIVERY_STATES).exclude(['pending'])
const NOT_DELIVERED = ['emailed', 'given_up', 'expired', 'cancelled'] as const

const rangeFields = {
  destination_id: idSchema('dst_'),
  since: createdAtSchema,
  until: createdAtSchema.describe('The time of the request at the latest'),
  states: z.array(deliveryStateSchema),
  rate_per_second: z.number(),
  total: z.int().describe('As counted at the request; exact once it is finished'),
}

const planSchema = z.object({ ...rangeFields, dry_run: z.literal(true) }).meta({ id: 'ReplayPlan' })

const replaySchema = z
  .object({
    ...rangeFields,
    id: replayIdSchema,
    state: stateSchema,
    reason: z.string().nullable().describe('Why it ended before its end'),
    done: z.int().describe('Deliveries made so far; each names in replay_of the one it repeats'),
    skipped: z.int().describe('Not made: the payload is no longer kept'),
    created_at: createdAtSchema,
    finished_at: createdAtSchema.nullable(),
  })
  .meta({ id: 'Replay' })

function showRange(range: ReplayRange, ratePerSecond: number, total: number) {
  return {
    destination_id: range.destinationId,
    since: toIso(range.sinceMs),
    until: toIso(range.untilMs),
    states: [...range.states],
    ...{ rate_per_second: ratePerSecond, total },
  }
}

function show(replay: Replay) {
  return {
    id: replay.id,
    ...showRange(replay, replay.ratePerSecond, replay.total),
    state: replay.state,
    reason: replay.reason,
    done: replay.done,
    skipped: replay.skipped,
    created_at: toIso(replay.createdAtMs),
    finished_at: replay.finishedAtMs === null ? null : toIso(replay.finishedAtMs),
  }
}

const body = z
  .strictObject({
    since: timeRange.since.unwrap().describe('Deliveries that were made from this time on'),
    until: timeRange.until.describe('Before this time; now when absent'),
    states: z
      .array(deliveryStateSchema)
      .min(1)
      .max(deliveryStateSchema.options.length)
      .transform((states) => [...new Set(states)])
      .default([...NOT_DELIVERED])
      .describe('Those that were not delivered, when absent'),
    rate_per_second: z
      .number()
      .min(MIN_RATE_PER_SECOND)
      .max(MAX_RATE_PER_SECOND)
      .default(DEFAULT_RATE_PER_SECOND),
    dry_run: z.boolean().default(false).describe('Only counts'),
  })
  .refine(isOrdered, UNORDERED)
  .meta({ examples: [{ since: '2026-01-31T00:00:00Z', dry_run: true }] })

/** Throws `ApiError` 422 when Postgres gives up counting: SQLSTATE 57014. */
async function count(tx: Transaction, range: ReplayRange): Promise<number> {
  return await countReplayed(tx, range).catch((error: unknown) => {
    const isTooMuch = error instanceof Error && 'code' in error && error.code === '57014'
    if (!isTooMuch) throw error
    const msg = 'There is too much to count in this range: ask for a part of it'
    throw new ApiError(422, [{ loc: ['body', 'since'], msg, type: 'value_error' }])
  })
}

const start = defineRoute({
  method: 'post',
  path: '/api/v1/destinations/{id}/replay',
  access: 'write',
  summary: 'Send again what a destination did not get: oldest first, at a bounded rate',
  params: z.strictObject({ id: idSchema('dst_') }),
  names: 'Destination',
  body,
  answers: {
    200: { description: 'For dry_run: what would be sent again', schema: planSchema },
    202: { description: 'The replay, which goes on by itself', schema: replaySchema },
    409: {
      description:
        'The destination is disabled, one of its replays is running, or too many of all are',
    },
  },
  async handle(input) {
    const { deps, organizationId, apiKey } = input
    const { since, until, states, rate_per_second: ratePerSecond, dry_run } = input.body
    const destinationId = input.params.id
    const conflict = new ApiError(409, 'A replay of this destination is running')
    const tooMany = new ApiError(
      409,
      `An organization has at most ${MAX_RUNNING_REPLAYS} replays running: wait for one, or cancel it`,
    )
    return await deps.database.db
      .transaction()
      .execute(async (tx) => {
        const status = await findDestinationStatus(tx, organizationId, destinationId)
        if (status === undefined) throw notFound('Destination')
        if (status === 'disabled') throw new ApiError(409, 'The destination is disabled')
        const nowMs = await findClockMs(tx)
        // Never later: it would come across its own deliveries.
        const untilMs = Math.min(until ?? nowMs, nowMs)
        const range = { organizationId, destinationId, sinceMs: since, untilMs, states }
        const total = await count(tx, range)
        if (dry_run) {
          return { status: 200, body: { dry_run, ...showRange(range, ratePerSecond, total) } }
        }
        if ((await countRunningReplays(tx, organizationId)) >= MAX_RUNNING_REPLAYS) throw tooMany
        const facts = { ratePerSecond, total, requestedBy: apiKey.id, nowMs }
        const replay = await insertReplayJob(tx, range, facts)
        const details = showRange(range, ratePerSecond, total)
        await auditAction(tx, input, 'replay.started', replay.id, details)
        return { status: 202, body: show(replay) }
      })
      .catch((error: unknown) => {
        throw isUniqueViolation(error) ? conflict : error
      })
  },
})

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List replays, newest first',
  query: z.strictObject({
    ...pageQuery(KIND, replayIdSchema),
    destination: idSchema('dst_').optional(),
    state: stateSchema.optional(),
  }),
  answers: { 200: { description: 'A page of replays', schema: pageSchema(replaySchema) } },
  async handle({ deps, organizationId, query }) {
    const { limit, cursor, state, destination: destinationId } = query
    const page = { limit: rowsToRead(limit), after: cursor }
    const rows = await listReplays(deps.database.db, organizationId, { state, destinationId }, page)
    const positionOf = ({ id, createdAtMs }: Replay) => ({ id, timeMs: createdAtMs })
    return { status: 200, body: pageOf(KIND, limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One replay and how far it is',
  params,
  names: NAMES,
  answers: { 200: { description: 'The replay', schema: replaySchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const replay = await findReplay(deps.database.db, organizationId, id)
    if (replay === undefined) throw notFound(NAMES)
    return { status: 200, body: show(replay) }
  },
})

const cancel = defineRoute({
  method: 'post',
  path: `${PATH}/{id}/cancel`,
  access: 'write',
  summary: 'Stop a replay; the deliveries that it has made go on',
  params,
  names: NAMES,
  answers: {
    200: { description: 'The replay, cancelled', schema: replaySchema },
    409: { description: 'It does not run any more' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { id } = input.params
    const replay = await deps.database.db.transaction().execute(async (tx) => {
      if ((await findReplay(tx, organizationId, id)) === undefined) throw notFound(NAMES)
      const ended = await endReplay(tx, id, 'cancelled', 'Cancelled through the API.')
      if (ended === undefined) throw new ApiError(409, 'The replay does not run any more')
      await auditAction(tx, input, 'replay.cancelled', id, { done: ended.done })
      return ended
    })
    return { status: 200, body: show(replay) }
  },
})

export const replayRoutes: readonly Route[] = [start, list, get, cancel]
