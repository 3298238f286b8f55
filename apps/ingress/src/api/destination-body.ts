import { EVENT_TYPES, type RetryPolicy } from '@switchhook/core/event'
import { SUPPORTED_FORMATS } from '@switchhook/core/formats/registry'
import type { DestinationFields } from '@switchhook/core/store/destinations'
import { DESTINATION_DEFAULTS } from '@switchhook/core/store/implied-destinations'
import { z } from 'zod'
import { invalidField } from './api-error.ts'
import { customHeadersSchema } from './custom-headers.ts'
import { compactFilter, filterSchema, typesOfFilter } from './destination-filter.ts'
import {
  emailSchema,
  integerIdSchema,
  nameSchema,
  phoneNumberSchema,
  urlSchema,
} from './field-schemas.ts'

const MAX_ATTEMPTS = 50
const MAX_DELAY_SECONDS = 7 * 86_400
const MAX_FRESHNESS_SECONDS = 30 * 86_400

const eventTypesSchema = z
  .array(z.enum([...EVENT_TYPES, '*']))
  .min(1)
  .max(EVENT_TYPES.length)
  .refine((types) => !types.includes('*') || types.length === 1, 'Give "*" alone, or types')
  .refine((types) => new Set(types).size === types.length, 'A type is given twice')
  .describe('`*` alone means all, as when none are given')

export const retrySchema = z.strictObject({
  max_attempts: z.int().min(1).max(MAX_ATTEMPTS).describe('Attempts in all, the first included'),
  delays_seconds: z
    .array(z.number().min(0).max(MAX_DELAY_SECONDS))
    .max(MAX_ATTEMPTS)
    .describe('Before attempt 2, 3, …; the last one stands for all that follow'),
  jitter: z.boolean().describe('Each delay ±20 %'),
})

/** What can be set, by the names of the API; destinations are shown with the same. */
export const destinationSettings = {
  name: nameSchema.describe('The host of the URL unless given'),
  url: urlSchema,
  format: z.enum(SUPPORTED_FORMATS).describe('burki unless given'),
  event_types: eventTypesSchema,
  assistant_id: integerIdSchema.nullable().describe("Only this assistant's events"),
  phone_number: phoneNumberSchema.nullable().describe("Only this number's events"),
  filter: filterSchema.describe('Which events of its types it wants'),
  skip_stale: z.boolean().describe('Leaves out statuses that come after a later one'),
  fallback_email: emailSchema.nullable().describe('Gets by mail what could not be delivered'),
  success_rule: z.enum(['exact_200', '2xx']).describe('2xx unless given, but exact_200 for pbx'),
  timeout_ms: z.int().min(100).max(30_000).describe('For the whole attempt; 10000 unless given'),
  rate_limit_per_second: z.number().min(0.001).max(10_000).nullable(),
  max_concurrency: z.int().min(1).max(1000).describe('Attempts at once; 50 unless given'),
  freshness_seconds: z
    .int()
    .min(1)
    .max(MAX_FRESHNESS_SECONDS)
    .nullable()
    .describe('What is older is not delivered any more'),
  headers: customHeadersSchema.describe('Sent with every attempt'),
  status: z.enum(['active', 'paused', 'disabled']),
}

/** The body of PATCH; that of POST needs a url. */
export const destinationChanges = z
  .strictObject({ ...destinationSettings, retry: retrySchema.partial() })
  .partial()
type Changes = z.infer<typeof destinationChanges>

/** What a new destination is before its body is looked at. */
export function newDestination(url: string, { format = 'burki' }: Changes): DestinationFields {
  return {
    ...DESTINATION_DEFAULTS,
    name: new URL(url).hostname.slice(0, 200),
    url,
    format,
    eventTypes: ['*'],
    assistantId: null,
    phoneNumber: null,
    fallbackEmail: null,
    // The PBX takes nothing else for success (url.net.au, "Receive SMS via webhook").
    successRule: format === 'pbx' ? 'exact_200' : '2xx',
  }
}

type Choice = Pick<DestinationFields, 'eventTypes' | 'filter'>

/** Kudosity's names in the filter and the types stay in step: whichever the body sets, types first, is the choice. */
function mergeChoice(current: Choice, body: Changes): Choice {
  const filter = body.filter === undefined ? current.filter : compactFilter(body.filter)
  if (body.event_types !== undefined) {
    const { event_type, ...rest } = filter ?? {}
    const kept = body.filter === undefined ? compactFilter(rest) : filter
    return { eventTypes: body.event_types, filter: kept }
  }
  return { eventTypes: typesOfFilter(body.filter) ?? current.eventTypes, filter }
}

function mergeRetry(current: RetryPolicy, changes: Changes['retry'] = {}): RetryPolicy {
  const retry = {
    maxAttempts: changes.max_attempts ?? current.maxAttempts,
    delaysSeconds: changes.delays_seconds ?? current.delaysSeconds,
    jitter: changes.jitter ?? current.jitter,
  }
  if (retry.maxAttempts > 1 && retry.delaysSeconds.length === 0) {
    throw invalidField(['retry', 'delays_seconds'], 'May be empty only when max_attempts is 1')
  }
  return retry
}

/** `current` with what the body sets; its url is the caller's to check. Throws `ApiError` 422 where fields contradict. */
export function mergeDestination(current: DestinationFields, body: Changes): DestinationFields {
  const pick = <T>(changed: T | undefined, kept: T): T => (changed === undefined ? kept : changed)
  const fields: DestinationFields = {
    name: pick(body.name, current.name),
    url: current.url,
    format: pick(body.format, current.format),
    ...mergeChoice(current, body),
    skipStale: pick(body.skip_stale, current.skipStale),
    assistantId: pick(body.assistant_id, current.assistantId),
    phoneNumber: pick(body.phone_number, current.phoneNumber),
    fallbackEmail: pick(body.fallback_email, current.fallbackEmail),
    successRule: pick(body.success_rule, current.successRule),
    timeoutMs: pick(body.timeout_ms, current.timeoutMs),
    retry: mergeRetry(current.retry, body.retry),
    rateLimitPerSecond: pick(body.rate_limit_per_second, current.rateLimitPerSecond),
    maxConcurrency: pick(body.max_concurrency, current.maxConcurrency),
    freshnessSeconds: pick(body.freshness_seconds, current.freshnessSeconds),
    headers: pick(body.headers, current.headers),
    status: pick(body.status, current.status),
  }
  if (fields.assistantId !== null && fields.phoneNumber !== null) {
    throw invalidField(['assistant_id'], 'Give assistant_id or phone_number, not both')
  }
  return fields
}
