import { randomBytes } from 'node:crypto'
import { eventId, randomText } from '@switchhook/core/ids'
import { sendTwilioSms } from '@switchhook/testing/twilio-simulator'
import { waitFor } from '@switchhook/testing/wait-for'
import { createApiClient } from './api-client.ts'
import type { DemoTenant } from './state.ts'

/** Numbers from the range that is reserved for fiction: nobody is called. */
const DEMO_NUMBER = '+14155550100'
const DEMO_SENDER = '+14155550123'

export type DemoOptions = {
  /** Where the ingress listens. */
  readonly ingressUrl: string
  /** What providers sign. */
  readonly publicBaseUrl: string
  readonly receiverUrl: string
}

async function createTenant(options: DemoOptions, adminApiKey: string): Promise<DemoTenant> {
  const admin = createApiClient(options.ingressUrl, adminApiKey)
  const organization = await admin.call<{ id: string; api_key: string }>(
    'POST',
    '/api/v1/organizations',
    { name: 'Demo' },
  )
  const api = createApiClient(options.ingressUrl, organization.api_key)
  const accountSid = `AC${randomBytes(16).toString('hex')}`
  const authToken = randomText(20)
  await api.call('POST', '/api/v1/provider-accounts', {
    provider: 'twilio',
    account_sid: accountSid,
    auth_token: authToken,
  })
  const assistant = await api.call<{ id: number }>('POST', '/api/v1/assistants', {
    name: 'Demo assistant',
    sms_webhook_url: `${options.receiverUrl}/sms`,
    webhook_url: `${options.receiverUrl}/voice`,
    webhook_fallback_email: 'demo@example.com',
  })
  await api.call('POST', '/api/v1/phone-numbers', {
    phone_number: DEMO_NUMBER,
    provider: 'twilio',
    assistant_id: assistant.id,
  })
  return {
    organizationId: organization.id,
    apiKey: organization.api_key,
    assistantId: assistant.id,
    ...{ accountSid, authToken, phoneNumber: DEMO_NUMBER },
  }
}

/** The tenant of an earlier run if this database still knows it, its URLs set to today's receiver; else a new one. */
export async function ensureDemoTenant(
  options: DemoOptions,
  adminApiKey: string,
  known: DemoTenant | undefined,
): Promise<DemoTenant> {
  if (known !== undefined) {
    const api = createApiClient(options.ingressUrl, known.apiKey)
    try {
      await api.call('PATCH', `/api/v1/assistants/${known.assistantId}`, {
        sms_webhook_url: `${options.receiverUrl}/sms`,
        webhook_url: `${options.receiverUrl}/voice`,
      })
      return known
    } catch (error) {
      if (!/answered (401|404)/.test((error as Error).message)) throw error
    }
  }
  return createTenant(options, adminApiKey)
}

type EventAnswer = {
  readonly deliveries: readonly { readonly id: string; readonly state: string }[]
}
type DeliveryAnswer = {
  readonly attempts: readonly {
    readonly response_status_code: number
    readonly response_time_ms: number
  }[]
}

export type Journey = {
  readonly eventId: string
  readonly deliveryId: string
  readonly answeredMs: number
  readonly deliveredMs: number
  readonly statusCode: number
}

const JOURNEY_TIMEOUT_MS = 20_000

/** Sends one signed SMS through the front door and follows it until it is delivered and logged. */
export async function sendDemoSms(options: DemoOptions, tenant: DemoTenant): Promise<Journey> {
  const messageSid = `SM${randomBytes(16).toString('hex')}`
  const path = '/twilio-sms-webhook'
  const startedAtMs = performance.now()
  const answer = await sendTwilioSms({
    url: options.ingressUrl + path,
    signedUrl: options.publicBaseUrl + path,
    authToken: tenant.authToken,
    accountSid: tenant.accountSid,
    messageSid,
    from: DEMO_SENDER,
    to: tenant.phoneNumber,
    body: 'Hello from Switchhook 👋',
  })
  const answeredMs = performance.now() - startedAtMs
  if (answer.status !== 200)
    throw new Error(`the webhook was answered ${answer.status}: ${answer.text}`)

  const id = eventId(tenant.organizationId, 'twilio', messageSid)
  const api = createApiClient(options.ingressUrl, tenant.apiKey)
  const deliveryId = await waitFor(
    async () => {
      const { deliveries } = await api.call<EventAnswer>('GET', `/api/v1/events/${id}`)
      return deliveries.find(({ state }) => state === 'delivered')?.id
    },
    { timeoutMs: JOURNEY_TIMEOUT_MS, what: 'the delivery of the demo SMS' },
  )
  const deliveredMs = performance.now() - startedAtMs
  const { attempts } = await api.call<DeliveryAnswer>('GET', `/api/v1/deliveries/${deliveryId}`)
  const statusCode = attempts.at(-1)?.response_status_code ?? 0
  return { eventId: id, deliveryId, answeredMs, deliveredMs, statusCode }
}
