import { PROVIDERS } from '@switchhook/core/event'
import {
  findQuarantined,
  listQuarantine,
  type QuarantinedWebhook,
} from '@switchhook/core/store/quarantine-queries'
import { z } from 'zod'
import type { ApiDeps, Reexamine } from './api-deps.ts'
import { ApiError, notFound } from './api-error.ts'
import { auditAction } from './audit-action.ts'
import { defineRoute, type Route } from './define-route.ts'
import { isOrdered, timeRange, toIso, UNORDERED } from './list-query.ts'
import { pageOf, pageQuery, pageSchema, rowsToRead } from './pagination.ts'

const KIND = 'quarantine'
const PATH = '/api/v1/quarantine'
const NAMES = 'Quarantined webhook'

const quarantineId = z.string().regex(/^qua_\w{1,60}$/)
const params = z.strictObject({ id: quarantineId })

const quarantinedSchema = z
  .object({
    id: z.string(),
    provider: z.enum(PROVIDERS),
    provider_account_id: z.string().nullable(),
    claimed_account_sid: z.string().nullable(),
    claimed_numbers: z.array(z.string()),
    reason: z.string(),
    detail: z.string().describe('What a person can do about it'),
    is_authentic: z.boolean().describe('Its signature held, but nobody here owns its number'),
    method: z.string(),
    state: z.enum(['held', 'released']),
    seen_count: z.int(),
    received_at: z.iso.datetime(),
    last_seen_at: z.iso.datetime(),
    expires_at: z.iso.datetime(),
    released_at: z.iso.datetime().nullable(),
    event_ids: z.array(z.string()),
    target: z.string().nullable(),
    headers: z.record(z.string(), z.string()).nullable(),
    client_ip: z.string().nullable(),
    body_preview: z.string().nullable().describe('Its first 2 KiB as text'),
    body_bytes: z.int().nullable(),
  })
  .meta({
    id: 'QuarantinedWebhook',
    description:
      'What a webhook holds is null while only its own claim makes it yours: anybody can claim a number',
  })

/** As text that nothing can be hidden in: no control characters but line breaks and tabs, no half character. */
function previewOf(start: Buffer): string {
  const text = new TextDecoder().decode(start, { stream: true })
  return text.replaceAll(/[^\P{C}\n\r\t]/gu, '\ufffd')
}

function showRequest(request: QuarantinedWebhook['request']) {
  return {
    target: request?.target ?? null,
    headers: request === null ? null : { ...request.headers },
    client_ip: request?.clientIp ?? null,
    body_preview: request === null ? null : previewOf(request.bodyStart),
    body_bytes: request?.bodyBytes ?? null,
  }
}

function show(webhook: QuarantinedWebhook): z.infer<typeof quarantinedSchema> {
  const { releasedAtMs } = webhook
  return {
    id: webhook.id,
    provider: webhook.provider,
    provider_account_id: webhook.providerAccountId,
    claimed_account_sid: webhook.claimedAccountSid,
    claimed_numbers: [...webhook.claimedNumbers],
    reason: webhook.reason,
    detail: webhook.detail,
    is_authentic: webhook.isAuthentic,
    method: webhook.method,
    state: webhook.state,
    seen_count: webhook.seenCount,
    received_at: toIso(webhook.receivedAtMs),
    last_seen_at: toIso(webhook.lastSeenAtMs),
    expires_at: toIso(webhook.expiresAtMs),
    released_at: releasedAtMs === null ? null : toIso(releasedAtMs),
    event_ids: [...webhook.eventIds],
    ...showRequest(webhook.request),
  }
}

const list = defineRoute({
  method: 'get',
  path: PATH,
  access: 'read',
  summary: 'List webhooks that were not believed, or not yours to receive, newest first',
  query: z
    .strictObject({
      ...pageQuery(KIND, quarantineId),
      ...timeRange,
      provider: z.enum(PROVIDERS).optional(),
      reason: z.string().min(1).max(64).optional(),
      state: z.enum(['held', 'released']).optional(),
    })
    .refine(isOrdered, UNORDERED),
  answers: { 200: { description: 'A page of webhooks', schema: pageSchema(quarantinedSchema) } },
  async handle({ deps, organizationId, query }) {
    const rows = await listQuarantine(deps.database.db, organizationId, query, {
      limit: rowsToRead(query.limit),
      after: query.cursor,
      sinceMs: query.since,
      untilMs: query.until,
    })
    const positionOf = ({ id, receivedAtMs }: QuarantinedWebhook) => ({ id, timeMs: receivedAtMs })
    return { status: 200, body: pageOf(KIND, query.limit, rows, positionOf, show) }
  },
})

const get = defineRoute({
  method: 'get',
  path: `${PATH}/{id}`,
  access: 'read',
  summary: 'One quarantined webhook',
  params,
  names: NAMES,
  answers: { 200: { description: 'The webhook', schema: quarantinedSchema } },
  async handle({ deps, organizationId, params: { id } }) {
    const webhook = await findQuarantined(deps.database.db, organizationId, id)
    if (webhook === undefined) throw notFound(NAMES)
    return { status: 200, body: show(webhook) }
  },
})

/** Throws `ApiError` 404 for what the organization may not see, 503 when nothing can be told now. */
async function reexamine(deps: ApiDeps, how: Reexamine, organizationId: string, id: string) {
  const visible = await findQuarantined(deps.database.db, organizationId, id)
  const result = visible && (await how(organizationId, id))
  if (result === undefined) throw notFound(NAMES)
  if (result.kind === 'unavailable') {
    throw new ApiError(503, 'That cannot be told now', { 'retry-after': '1' })
  }
  return result
}

const reverify = defineRoute({
  method: 'post',
  path: `${PATH}/{id}/reverify`,
  access: 'write',
  summary: "Verify it again with today's accounts and numbers; nothing is delivered",
  params,
  names: NAMES,
  answers: {
    200: {
      description: 'Whether it holds now',
      schema: z.object({
        id: z.string(),
        verified: z.boolean(),
        reason: z.string().nullable(),
        detail: z.string().nullable(),
      }),
    },
  },
  async handle({ deps, organizationId, params: { id } }) {
    const result = await reexamine(deps, deps.quarantine.reverify, organizationId, id)
    const { reason, detail } = result.kind === 'failed' ? result : { reason: null, detail: null }
    return { status: 200, body: { id, verified: result.kind !== 'failed', reason, detail } }
  },
})

const release = defineRoute({
  method: 'post',
  path: `${PATH}/{id}/release`,
  access: 'write',
  summary: 'Accept it as if it had just come, if it verifies now',
  params,
  names: NAMES,
  answers: {
    202: {
      description: 'Its events, durable and owed to these deliveries',
      schema: z.object({ event_ids: z.array(z.string()), deliveries: z.array(z.string()) }),
    },
    409: { description: 'It does not verify' },
  },
  async handle(input) {
    const { deps, organizationId } = input
    const { id } = input.params
    const result = await reexamine(deps, deps.quarantine.release, organizationId, id)
    if (result.kind === 'failed') throw new ApiError(409, result.detail)
    if (result.kind !== 'released') throw new Error(`a release that is ${result.kind}`)
    const event_ids = [...result.eventIds]
    await auditAction(deps.database.db, input, 'quarantine.released', id, { event_ids })
    return { status: 202, body: { event_ids, deliveries: [...result.deliveryIds] } }
  },
})

export const quarantineRoutes: readonly Route[] = [list, get, reverify, release]
