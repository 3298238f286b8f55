import { z } from 'zod'
import { defineRoute, type Method, type Route } from './define-route.ts'
import {
  checkBody,
  requireE164,
  requireNoOverrides,
  requireProvider,
} from './phone-number-webhooks-check.ts'
import { detachment, needsApproval, WAITING, waitingAnswer } from './webhook-changes-answer.ts'
import { askForChange, changeNow } from './webhook-changes-run.ts'
import { numberRefOf, toApiError, withDeadlineMs } from './webhook-changes-settle.ts'

/** What E.164 and the rest ask for is a 400 in Burki's own words; the schema tells types only. */
const textSchema = z.string().max(2048)
const flagSchema = z.boolean().nullable().optional()

const bodySchema = z
  .strictObject({
    phone_number: z.string().max(64).describe('E.164'),
    voice_webhook_url: textSchema.nullable().optional().describe('For calls'),
    sms_webhook_url: textSchema.nullable().optional().describe('For messages'),
    disable_sms: flagSchema.describe("Messages go to nobody (Twilio: to Twilio's demo)"),
    enable_sms: flagSchema.describe('Messages come to this gateway'),
    provider: z.string().max(64).nullable().optional().describe('Known from the number'),
  })
  .meta({
    examples: [
      {
        phone_number: '+14155551234',
        voice_webhook_url: 'https://example.com/voice',
        sms_webhook_url: 'https://example.com/sms',
      },
    ],
  })

const updatedSchema = z.object({
  success: z.boolean(),
  phone_number: z.string(),
  provider: z.string(),
  updated_webhooks: z.record(z.string(), z.string()),
  message: z.string(),
})

const shownSchema = z.object({
  success: z.boolean(),
  phone_number: z.string(),
  provider: z.string(),
  voice_webhook_url: z.string().nullable(),
  sms_webhook_url: z.string().nullable(),
  configuration: z.record(z.string(), z.unknown()),
})

const REFUSED = {
  400: { description: 'The number, the provider or a URL is not right' },
  404: { description: 'The number is not in your organization, or not at its provider' },
  409: { description: 'Something decides before the number itself; the text names it' },
}

const updateOn = (path: string): Route =>
  withDeadlineMs(
    defineRoute({
      method: 'put' satisfies Method,
      path,
      access: 'write',
      summary: "Change where a number's provider sends calls and messages",
      body: bodySchema,
      answers: {
        200: { description: 'It is changed at the provider', schema: updatedSchema },
        ...WAITING,
        ...REFUSED,
        500: { description: 'The provider failed; what was written is undone' },
      },
      async handle(input) {
        const { deps, organizationId, body } = input
        const { phone_number: phoneNumber } = body
        const requested = checkBody(deps.publicBaseUrl, body)
        const provider = await requireProvider(deps, organizationId, phoneNumber, body.provider)
        requireNoOverrides(provider, requested)
        const ref = await numberRefOf(deps, organizationId, provider, phoneNumber)
        if (needsApproval(input)) {
          return waitingAnswer(await askForChange(input, { ref, requested }), 'change')
        }
        const { change, updated } = await changeNow(input, { ref, requested })
        const count = Object.keys(updated).length
        const success = `Successfully updated ${count} webhook(s) for ${phoneNumber} via ${provider}`
        const message = success + detachment(change, 'was')
        const facts = { success: true, phone_number: phoneNumber, provider }
        return { status: 200, body: { ...facts, updated_webhooks: updated, message } }
      },
    }),
  )

const get = withDeadlineMs(
  defineRoute({
    method: 'get',
    path: '/api/v1/phone-numbers/{phone_number}/webhooks',
    access: 'read',
    summary: "Where a number's provider sends calls and messages",
    params: z.strictObject({ phone_number: z.string() }),
    query: z.strictObject({ provider: z.string().optional() }),
    answers: {
      200: { description: 'As the provider holds it', schema: shownSchema },
      ...REFUSED,
      500: { description: 'The provider does not answer' },
    },
    async handle({ deps, organizationId, params, query }) {
      const { phone_number: phoneNumber } = params
      requireE164(phoneNumber)
      const provider = await requireProvider(deps, organizationId, phoneNumber, query.provider)
      const ref = await numberRefOf(deps, organizationId, provider, phoneNumber)
      const reading = await deps.providerControl.readNumber(ref).catch((error: unknown) => {
        throw toApiError(error, `Failed to get webhooks for ${phoneNumber} via ${provider}`)
      })
      const { voiceUrl, smsUrl, configuration } = reading
      const urls = { voice_webhook_url: voiceUrl, sms_webhook_url: smsUrl }
      const facts = { success: true, phone_number: phoneNumber, provider }
      return { status: 200, body: { ...facts, ...urls, configuration } }
    },
  }),
)

export const phoneNumberWebhookRoutes: readonly Route[] = [
  updateOn('/phone-numbers/webhooks'),
  updateOn('/api/v1/phone-numbers/webhooks'),
  get,
]
