import { withDeadline } from '@switchhook/core/deadline'
import { type AcceptedEvent, EVENT_TYPES } from '@switchhook/core/event'
import { eventId, randomText } from '@switchhook/core/ids'
import { type PlatformPayload, platform } from '@switchhook/core/providers/platform'
import type { EventContent } from '@switchhook/core/providers/provider'
import { type Call, findCalls } from '@switchhook/core/store/call-queries'
import { isStoreUnavailable } from '@switchhook/core/store/unavailable'
import { z } from 'zod'
import type { ApiDeps } from './api-deps.ts'
import { invalidField, notFound } from './api-error.ts'
import { callNotFound } from './calls.ts'

const MAX_DATA_BYTES = 131_072
const CONTENT_TYPE = 'application/json'
/** With the time that accepting takes below the router's deadline: what was answered 503 is not stored afterwards. */
const FIND_CALLS_TIMEOUT_MS = 1_200

/**
 * True when JSON.parse has kept every number of the value as it was sent: a long integer would be delivered as another
 * one, 1e400 as null. Walks with a list of its own, like validation.ts.
 */
function isExact(root: unknown): boolean {
  const waiting: unknown[] = [root]
  while (waiting.length > 0) {
    const value = waiting.pop()
    if (typeof value === 'number') {
      const isRounded = Number.isInteger(value) && !Number.isSafeInteger(value)
      if (isRounded || !Number.isFinite(value)) return false
    }
    if (typeof value === 'object' && value !== null) waiting.push(...Object.values(value))
  }
  return true
}

const isSmall = (data: unknown): boolean =>
  Buffer.byteLength(JSON.stringify(data)) <= MAX_DATA_BYTES

export const publishBody = z.strictObject({
  type: z.enum(EVENT_TYPES).exclude(['unknown', 'operational']),
  data: z
    .record(z.string(), z.unknown())
    .refine(isSmall, `Larger than ${MAX_DATA_BYTES} bytes of JSON`)
    .refine(isExact, 'Holds a number that JSON cannot carry exactly: send it as text'),
  call_sid: z.string().min(1).max(128).optional(),
  call_id: z.int().positive().optional(),
  assistant_id: z.int().positive().optional(),
  phone_number: z
    .string()
    .regex(/^\+[1-9]\d{6,14}$/, 'A number in E.164 format, like +14155551234')
    .optional(),
  occurred_at: z.iso.datetime({ offset: true }).optional(),
  idempotency_key: z.string().min(1).max(255).optional(),
})

export type PublishInput = z.output<typeof publishBody>

type Deps = Pick<ApiDeps, 'database' | 'snapshot' | 'log'>

/** An event that is not stored yet, and what it says. */
export type PreparedEvent = { readonly event: AcceptedEvent; readonly content: EventContent }

/** What the caller or the number says; neither needs Postgres. */
function assistantOf(
  { snapshot }: Deps,
  organizationId: string,
  input: PublishInput,
): number | undefined {
  if (input.assistant_id !== undefined) return input.assistant_id
  if (input.phone_number === undefined) return undefined
  return snapshot.findPhoneNumber(organizationId, input.phone_number)?.assistantId ?? undefined
}

/**
 * Every call that the inputs name by number, or whose assistant has to be known: one query, or none. With Postgres away
 * a call's assistant is not known: the event is taken all the same, for the destinations of its number and organization.
 */
async function findNamedCalls(
  deps: Deps,
  organizationId: string,
  inputs: readonly PublishInput[],
): Promise<Call[]> {
  const ids = inputs.flatMap(({ call_id }) => call_id ?? [])
  const callSids = inputs.flatMap((input) =>
    assistantOf(deps, organizationId, input) === undefined ? (input.call_sid ?? []) : [],
  )
  const { db } = deps.database
  const finding = findCalls(db, organizationId, [...new Set(ids)], [...new Set(callSids)])
  try {
    return await withDeadline(finding, FIND_CALLS_TIMEOUT_MS, 'calls')
  } catch (error) {
    if (ids.length > 0 || !isStoreUnavailable(error)) throw error
    deps.log.warn({ error, organization_id: organizationId }, 'publish.calls_unknown')
    return []
  }
}

/** Where in the body an event stands: `[]`, or `['events', 3]`. */
type At = readonly (string | number)[]

function checkOwned({ snapshot }: Deps, organizationId: string, input: PublishInput, at: At): void {
  const where = at.length === 0 ? '' : ` of ${at.join('.')}`
  const { assistant_id: assistantId, phone_number: phoneNumber } = input
  if (assistantId !== undefined) {
    const assistant = snapshot.findAssistant(assistantId)
    if (assistant?.organizationId !== organizationId) throw notFound(`Assistant${where}`)
  }
  if (phoneNumber !== undefined && !snapshot.findPhoneNumber(organizationId, phoneNumber)) {
    throw notFound(`Phone number${where}`)
  }
}

function callSidOf(input: PublishInput, callsById: ReadonlyMap<number, Call>, at: At) {
  if (input.call_id === undefined) return input.call_sid
  const call = callsById.get(input.call_id)
  if (call === undefined) throw callNotFound(`ID ${input.call_id}`)
  if (input.call_sid !== undefined && input.call_sid !== call.callSid) {
    throw invalidField([...at, 'call_id'], 'Names another call than call_sid')
  }
  return call.callSid
}

/** An event of the platform's own. Its idempotency key makes its id. */
export function eventOf(
  organizationId: string,
  document: PlatformPayload,
  assistantId: number | null,
  nowMs: number,
): PreparedEvent {
  const payload = Buffer.from(JSON.stringify(document))
  const [content] = platform.read(payload, CONTENT_TYPE)
  if (content === undefined) throw new Error('a platform event without content')
  const event = {
    id: eventId(organizationId, 'platform', document.idempotency_key),
    organizationId,
    provider: 'platform' as const,
    type: document.type,
    receivedAtMs: nowMs,
    phoneNumber: document.phone_number ?? null,
    peerNumber: content.peerNumber,
    callSid: document.call_sid ?? null,
    assistantId,
    order: content.order,
    isStale: false,
    contentType: CONTENT_TYPE,
    payload,
  }
  return { event, content }
}

function createEvent(
  organizationId: string,
  input: PublishInput,
  callSid: string | undefined,
  assistantId: number | null,
  nowMs: number,
): PreparedEvent {
  const { type, data, phone_number, occurred_at } = input
  const idempotency_key = input.idempotency_key ?? randomText(16)
  const document = {
    ...{ type, data, call_sid: callSid, phone_number, idempotency_key, occurred_at },
  }
  return eventOf(organizationId, document, assistantId, nowMs)
}

/**
 * The events that the inputs ask for, in order, none of them stored yet. An event without an assistant is its
 * number's, or its call's. Throws `ApiError` 404 or 422 when one names what the organization does not have;
 * `locate` tells where in the body an input stands.
 */
export async function prepareEvents(
  deps: Deps,
  organizationId: string,
  inputs: readonly PublishInput[],
  locate: (index: number) => At,
  nowMs: number,
): Promise<PreparedEvent[]> {
  for (const [index, input] of inputs.entries()) {
    checkOwned(deps, organizationId, input, locate(index))
  }
  const calls = await findNamedCalls(deps, organizationId, inputs)
  const callsById = new Map(calls.map((call) => [call.id, call]))
  const assistants = new Map(calls.map((call) => [call.callSid, call.assistantId]))
  return inputs.map((input, index) => {
    const callSid = callSidOf(input, callsById, locate(index))
    const known = callSid === undefined ? undefined : assistants.get(callSid)
    const assistantId = assistantOf(deps, organizationId, input) ?? known ?? null
    // An earlier event of the same batch may be the one that tells the call's assistant.
    if (callSid !== undefined) assistants.set(callSid, known ?? assistantId)
    return createEvent(organizationId, input, callSid, assistantId, nowMs)
  })
}
