import { createEgressRules } from '@switchhook/core/egress-rules'
import { findNumberProvider } from '@switchhook/core/store/organization-numbers'
import { CONTROLLED_PROVIDERS, type ControlledProvider } from '../provider-control/gateway-urls.ts'
import type { ApiDeps } from './api-deps.ts'
import { ApiError } from './api-error.ts'
import { phoneNumberSchema } from './field-schemas.ts'
import type { RequestedFields } from './webhook-changes-run.ts'
import { numberNotFound } from './webhook-changes-settle.ts'

/** The provider calls these, from outside: what our own deliveries may reach does not matter. */
const publicOnly = createEgressRules({ allowedCidrs: [], allowHttp: false })

/** Source: www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides. */
const TWILIO_OVERRIDES = /^(rc|rp|ct|rt|tt|e|sni)=[\w,.-]+(&(rc|rp|ct|rt|tt|e|sni)=[\w,.-]+)*$/

/** The body of either generation of Burki's API. */
export type WebhooksBody = RequestedFields & {
  readonly phone_number: string
  readonly provider?: string | null | undefined
}

/** The URL as the provider gets it. Throws `ApiError` 400. */
function checkUrl(publicBaseUrl: string, field: string, text: string): string {
  const [plain = '', ...fragments] = text.split('#')
  const fault = (detail: string) => new ApiError(400, `${field}: ${detail}`)
  const isOurs = plain.startsWith('https://') && plain.startsWith(`${publicBaseUrl}/`)
  const checked = publicOnly.checkUrl(plain)
  if (!checked.ok && !isOurs) throw fault(checked.detail)
  if (fragments.length === 0) return text
  if (!TWILIO_OVERRIDES.test(fragments.join('#'))) {
    throw fault('The fragment of the URL must be connection overrides of Twilio')
  }
  return text
}

function checkOptionalUrl(
  publicBaseUrl: string,
  field: string,
  text: string | null | undefined,
): string | undefined {
  return text === undefined || text === null ? undefined : checkUrl(publicBaseUrl, field, text)
}

export function requireE164(phoneNumber: string): void {
  if (phoneNumberSchema.safeParse(phoneNumber).success) return
  throw new ApiError(400, 'Phone number must be in E.164 format (e.g., +1234567890)')
}

function toControlled(provider: string): ControlledProvider {
  const known = CONTROLLED_PROVIDERS.find((one) => one === provider)
  if (known === undefined) throw new ApiError(400, "Provider must be 'twilio' or 'telnyx'")
  return known
}

/**
 * Who the organization's number is with. Throws `ApiError`: 404 for another's number and an unknown one alike, 400
 * when it is not with `provider`.
 */
export async function requireProvider(
  { database }: Pick<ApiDeps, 'database'>,
  organizationId: string,
  phoneNumber: string,
  provider: string | null | undefined,
): Promise<ControlledProvider> {
  const expected = provider === undefined || provider === null ? undefined : toControlled(provider)
  const found = await findNumberProvider(database.db, organizationId, phoneNumber)
  if (found === undefined) throw numberNotFound(phoneNumber)
  const actual = toControlled(found)
  if (expected === undefined || expected === actual) return actual
  throw new ApiError(400, `Phone number ${phoneNumber} is with ${actual}, not with ${expected}`)
}

/** What of the body is asked for. Throws `ApiError` 400, in Burki's words where it has any. */
export function checkBody(publicBaseUrl: string, body: WebhooksBody): RequestedFields {
  requireE164(body.phone_number)
  if (body.provider !== undefined && body.provider !== null) toControlled(body.provider)
  if (body.disable_sms && body.enable_sms) {
    throw new ApiError(400, 'Cannot set both disable_sms and enable_sms to true')
  }
  const voice = checkOptionalUrl(publicBaseUrl, 'voice_webhook_url', body.voice_webhook_url)
  const sms = checkOptionalUrl(publicBaseUrl, 'sms_webhook_url', body.sms_webhook_url)
  const isSwitched = body.disable_sms === true || body.enable_sms === true
  if (sms !== undefined && isSwitched) {
    throw new ApiError(400, 'Cannot set sms_webhook_url together with disable_sms or enable_sms')
  }
  if (voice === undefined && sms === undefined && !isSwitched) {
    throw new ApiError(
      400,
      'At least one webhook URL (voice_webhook_url or sms_webhook_url) must be provided',
    )
  }
  return {
    ...(voice === undefined ? {} : { voice_webhook_url: voice }),
    ...(sms === undefined ? {} : { sms_webhook_url: sms }),
    ...(body.disable_sms ? { disable_sms: true } : {}),
    ...(body.enable_sms ? { enable_sms: true } : {}),
  }
}

/** Throws `ApiError` 400 for a fragment at Telnyx, which would take it for a part of the address. */
export function requireNoOverrides(provider: ControlledProvider, fields: RequestedFields): void {
  if (provider === 'twilio') return
  const urls = [fields.voice_webhook_url, fields.sms_webhook_url]
  if (!urls.some((url) => url?.includes('#'))) return
  throw new ApiError(400, 'Only Twilio knows connection overrides: leave the fragment out')
}
