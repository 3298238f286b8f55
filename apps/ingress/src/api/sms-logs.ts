import { PROVIDERS, type ProviderName } from '@switchhook/core/event'
import {
  findAssistantNames,
  findMessageEvents,
  type MessageDirection,
} from '@switchhook/core/store/sms-log-queries'
import { z } from 'zod'
import { ApiError } from './api-error.ts'
import { messageNumber } from './burki-numbers.ts'
import { defineRoute, type Route } from './define-route.ts'
import { isoDate } from './iso-date.ts'
import { toIso } from './list-query.ts'
import { type Message, mergeMessages } from './merge-messages.ts'
import { integerFilter, limitQuery, phoneFilter, skipQuery, textFilter } from './offset-page.ts'

const MAX_SEARCH_DAYS = 30
const DAY_MS = 86_400_000
/** Another ingress's clock may be ahead of ours. */
const CLOCK_SKEW_MS = 3_600_000
/** The log is made of the newest events: what a request costs is bounded, whatever the organization gets. */
const BOUNDS = { maxEvents: 5_000, maxPayloadBytes: 16 * 1024 * 1024, timeoutMs: 1_500 }

/** The fields of docs.burki.dev, SMS logs; `event_id` is ours, and names the newest event of the message. */
const messageSchema = z.object({
  id: z.int(),
  provider: z.enum(PROVIDERS),
  provider_message_id: z.string().nullable(),
  direction: z.enum(['inbound', 'outbound']),
  from_number: z.string().nullable(),
  to_number: z.string().nullable(),
  body: z.string(),
  media_urls: z.array(z.string()),
  segment_count: z.null(),
  status: z.string(),
  provider_status: z.string().nullable(),
  error_code: z.string().nullable(),
  error_message: z.string().nullable(),
  assistant_id: z.int().nullable(),
  assistant_name: z.string().nullable(),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  event_id: z.string(),
})

function show(organizationId: string, message: Message, assistantNames: Map<number, string>) {
  const { assistantId } = message
  return {
    id: messageNumber(organizationId, ...message.key),
    provider: message.provider,
    provider_message_id: message.messageId || null,
    direction: message.direction,
    from_number: message.from,
    to_number: message.to,
    body: message.body,
    media_urls: message.mediaUrls,
    segment_count: null,
    status: message.status,
    provider_status: message.providerStatus || null,
    error_code: message.errorCode || null,
    error_message: message.errorMessage || null,
    assistant_id: assistantId,
    assistant_name: assistantId === null ? null : (assistantNames.get(assistantId) ?? null),
    created_at: toIso(message.createdAtMs),
    updated_at: toIso(message.updatedAtMs),
    event_id: message.eventId,
  }
}

const query = z.object({
  skip: skipQuery,
  limit: limitQuery,
  provider: textFilter,
  direction: textFilter.describe('inbound or outbound'),
  status: textFilter.describe("The unified status, or the provider's own word"),
  from_number: phoneFilter,
  to_number: phoneFilter,
  assistant_id: integerFilter,
  date_from: isoDate('from'),
  date_to: isoDate('to'),
  search: textFilter.describe('In the body, in any case; at most 30 days'),
})

type Query = z.output<typeof query>

const isProvider = (text: string): text is ProviderName =>
  PROVIDERS.some((provider) => provider === text)
const isDirection = (text: string): text is MessageDirection =>
  text === 'inbound' || text === 'outbound'

function refuse(parameter: keyof Query, msg: string): ApiError {
  return new ApiError(422, [{ loc: ['query', parameter], msg, type: 'value_error' }])
}

/** The time that is looked at. Throws `ApiError` 422 for one that a search must not take. */
function rangeOf({ date_from, date_to, search }: Query, nowMs: number) {
  const toMs = date_to ?? nowMs + CLOCK_SKEW_MS
  const fromMs = date_from ?? toMs - MAX_SEARCH_DAYS * DAY_MS
  if (search !== undefined && toMs - fromMs > (MAX_SEARCH_DAYS + 1) * DAY_MS) {
    throw refuse(
      'search',
      `A search takes at most ${MAX_SEARCH_DAYS} days: narrow date_from and date_to`,
    )
  }
  return { fromMs, toMs }
}

function matches({ status, search }: Query, message: Message): boolean {
  const words = [message.status, message.providerStatus.toLowerCase()]
  if (status !== undefined && !words.includes(status.toLowerCase())) return false
  return search === undefined || message.body.toLowerCase().includes(search.toLowerCase())
}

/** Postgres gave up by itself: there is too much to look at. */
function isTooSlow(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '57014'
}

const list = defineRoute({
  method: 'get',
  path: '/api/v1/sms-logs/',
  access: 'read',
  summary: `Messages, newest first, one row each: made of the newest ${BOUNDS.maxEvents} events that match`,
  // Like Burki: other parameters are ignored.
  query,
  answers: {
    200: {
      description: 'A page of messages; `total` counts those of the events looked at',
      schema: z.object({
        items: z.array(messageSchema),
        total: z.int(),
        skip: z.int(),
        limit: z.int(),
        has_more: z.boolean(),
      }),
    },
  },
  async handle({ deps: { database }, organizationId, query: asked }) {
    const { skip, limit, provider, direction } = asked
    const range = rangeOf(asked, Date.now())
    const page = { skip, limit }
    // What is no provider or direction here matches nothing.
    if (provider !== undefined && !isProvider(provider)) return nothing(page)
    if (direction !== undefined && !isDirection(direction)) return nothing(page)
    const { events, isCut } = await findMessageEvents(
      database.db,
      organizationId,
      {
        ...{ provider, direction, ...range },
        fromNumber: asked.from_number,
        toNumber: asked.to_number,
        assistantId: asked.assistant_id,
      },
      BOUNDS,
    ).catch((error: unknown) => {
      if (!isTooSlow(error)) throw error
      const detail = 'There is too much to look at: narrow date_from and date_to'
      throw new ApiError(503, detail, { 'retry-after': '1' })
    })
    const found = (await mergeMessages(events)).filter((message) => matches(asked, message))
    if (isCut && skip > 0 && skip >= found.length) {
      throw refuse('skip', 'Older messages are found with date_to only, not by skipping')
    }
    const shown = found.slice(skip, skip + limit)
    const names = await findAssistantNames(database.db, organizationId, [
      ...new Set(shown.flatMap(({ assistantId }) => assistantId ?? [])),
    ])
    const items = shown.map((message) => show(organizationId, message, names))
    const has_more = isCut || skip + shown.length < found.length
    return { status: 200, body: { items, total: found.length, ...page, has_more } }
  },
})

function nothing(page: { skip: number; limit: number }) {
  return { status: 200, body: { items: [], total: 0, ...page, has_more: false } }
}

export const smsLogRoutes: readonly Route[] = [list]
