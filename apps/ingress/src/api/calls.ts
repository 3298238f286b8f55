import { type Call, findCall, findCallBySid } from '@switchhook/core/store/call-queries'
import { findWebhookLogsOfCall } from '@switchhook/core/store/webhook-log-queries'
import { z } from 'zod'
import { ApiError } from './api-error.ts'
import { defineRoute, type Route } from './define-route.ts'
import { toIso } from './list-query.ts'
import { showWebhookLog, webhookLogSchema } from './show-webhook-log.ts'

/** Burki's answer has no pages: of a call with more attempts the newest are shown. */
const MAX_LOGS = 1000

/**
 * Burki's CallResponse. What this product does not know is null, and where Burki has no null an empty text; but a call
 * without an assistant, which Burki does not have, has none here either.
 */
const callSchema = z.object({
  id: z.int(),
  call_sid: z.string(),
  to_phone_number: z.string(),
  customer_phone_number: z.string(),
  call_meta: z.record(z.string(), z.unknown()).nullable(),
  assistant_id: z.int().nullable(),
  assistant_name: z.string().nullable(),
  flow_name: z.string().nullable(),
  status: z.string(),
  duration: z.int().nullable(),
  started_at: z.iso.datetime().nullable(),
  ended_at: z.iso.datetime().nullable(),
  total_cost: z.number().nullable(),
  llm_cost: z.number().nullable(),
  tts_cost: z.number().nullable(),
  stt_cost: z.number().nullable(),
  telephony_cost: z.number().nullable(),
  cost_currency: z.string().nullable(),
})

const UNKNOWN = {
  call_meta: null,
  flow_name: null,
  total_cost: null,
  llm_cost: null,
  tts_cost: null,
  stt_cost: null,
  telephony_cost: null,
  cost_currency: null,
} as const

function showCall(call: Call): z.infer<typeof callSchema> {
  return {
    id: call.id,
    call_sid: call.callSid,
    to_phone_number: call.toPhoneNumber ?? '',
    customer_phone_number: call.customerPhoneNumber ?? '',
    assistant_id: call.assistantId,
    assistant_name: call.assistantName,
    status: call.status,
    duration: call.durationSeconds,
    started_at: call.startedAtMs === null ? null : toIso(call.startedAtMs),
    ended_at: call.endedAtMs === null ? null : toIso(call.endedAtMs),
    ...UNKNOWN,
  }
}

/** Burki's words (docs.burki.dev); absent and foreign alike. `named` is `ID 101` or `SID CA1`. */
export function callNotFound(named: string): ApiError {
  return new ApiError(404, `Call with ${named} not found in your organization`)
}

const logs = defineRoute({
  method: 'get',
  path: '/api/v1/calls/{call_id}/webhook-logs',
  access: 'read',
  summary: 'The attempts made for a call, oldest first (the newest 1000)',
  params: z.strictObject({
    call_id: z
      .string()
      .regex(/^-?\d{1,19}$/, 'Input should be a valid integer')
      .meta({ type: 'integer' }),
  }),
  // Like Burki: other parameters are ignored, an empty one filters nothing.
  query: z.object({ webhook_type: z.string().max(200).optional() }),
  answers: {
    200: { description: 'The attempts', schema: z.array(webhookLogSchema) },
    404: { description: 'The call is not in your organization' },
  },
  async handle({ deps: { database }, organizationId, params, query }) {
    const id = Number(params.call_id)
    const call = Number.isSafeInteger(id)
      ? await findCall(database.db, organizationId, id)
      : undefined
    if (call === undefined) throw callNotFound(`ID ${params.call_id}`)
    const found = await findWebhookLogsOfCall(
      database.db,
      organizationId,
      call.callSid,
      query.webhook_type || undefined,
      MAX_LOGS,
    )
    // An event that came before the call's assistant was known has none of its own.
    const body = found.map((log) =>
      showWebhookLog({ ...log, assistantId: log.assistantId ?? call.assistantId }),
    )
    return { status: 200, body }
  },
})

const getBySid = defineRoute({
  method: 'get',
  path: '/api/v1/calls/sid/{call_sid}',
  access: 'read',
  summary: "A call by its provider's id",
  params: z.strictObject({ call_sid: z.string().max(128) }),
  names: 'Call',
  answers: { 200: { description: 'The call', schema: callSchema } },
  async handle({ deps: { database }, organizationId, params: { call_sid: callSid } }) {
    const call = await findCallBySid(database.db, organizationId, callSid)
    if (call === undefined) throw callNotFound(`SID ${callSid}`)
    return { status: 200, body: showCall(call) }
  },
})

export const callRoutes: readonly Route[] = [logs, getBySid]
