import { silentLogger } from '@switchhook/core/log'
import { createMetrics, createRegistry } from '@switchhook/core/metrics'
import { startTelnyxRest, type TelnyxRest } from '@switchhook/testing/telnyx-rest'
import { startTwilioRest, type TwilioRest } from '@switchhook/testing/twilio-rest'
import { createProviderControl } from '../src/provider-control/provider-control.ts'
import { type Answer, type ApiTestApp, startApiTestApp, type Tenant } from './api-test-app.ts'

export const GATEWAY = 'https://hooks.example.com'
export const OVERRIDES = '#rc=3&rp=5xx,ct,rt'

const TWILIO = { accountSid: `AC${'1'.repeat(32)}`, authToken: 'c0ffee'.repeat(5) }
const TELNYX_KEY = 'KEY0192CAFE_an-api-key'
/** Of the seed 0102…1f20, which is public. */
const TELNYX_PUBLIC_KEY = 'ebVWLo/mVPlAeLES6KmLp5AfhTrmlb7X4OORC60ElmQ='

export type ProviderTenant = Tenant & {
  /** A second key that may write. */
  readonly otherKey: string
  /** Registers a number here, and at its provider. */
  add(phoneNumber: string, provider: 'twilio' | 'telnyx'): Promise<void>
  change(body: unknown): Promise<Answer>
  /** The tenant's newest change. */
  // biome-ignore lint/suspicious/noExplicitAny: a test looks into whatever came
  latest(): Promise<any>
}

export type ProviderRestApp = {
  readonly app: ApiTestApp
  readonly twilio: TwilioRest
  readonly telnyx: TelnyxRest
  /** With an account at both providers. */
  createTenant(): Promise<ProviderTenant>
  /** A number that no test has had yet. */
  nextNumber(): string
  close(): Promise<void>
}

/** The management API with Twilio and Telnyx on loopback. `timeoutMs`: of one operation at a provider. */
export async function startProviderRestApp({ timeoutMs = 3_500 } = {}): Promise<ProviderRestApp> {
  const twilio = await startTwilioRest(TWILIO)
  const telnyx = await startTelnyxRest({ apiKey: TELNYX_KEY })
  const providerControl = createProviderControl({
    ...{ twilioApiBaseUrl: twilio.url, telnyxApiBaseUrl: telnyx.baseUrl, publicBaseUrl: GATEWAY },
    ...{ metrics: createMetrics(createRegistry()), log: silentLogger, timeoutMs },
  })
  const app = await startApiTestApp({ providerControl, publicBaseUrl: GATEWAY })
  let numbers = 0

  return {
    ...{ app, twilio, telnyx },
    nextNumber() {
      numbers += 1
      return `+1415555${String(1000 + numbers)}`
    },
    async createTenant() {
      const tenant = await app.createTenant()
      await tenant.create('/api/v1/provider-accounts', {
        ...{ provider: 'twilio', account_sid: TWILIO.accountSid, auth_token: TWILIO.authToken },
      })
      await tenant.create('/api/v1/provider-accounts', {
        ...{ provider: 'telnyx', public_key: TELNYX_PUBLIC_KEY, api_key: TELNYX_KEY },
      })
      return {
        ...tenant,
        otherKey: await app.createKey(tenant, ['write']),
        async add(phoneNumber, provider) {
          await tenant.create('/api/v1/phone-numbers', { phone_number: phoneNumber, provider })
          if (provider === 'twilio') twilio.addNumber(phoneNumber)
          else telnyx.addNumber(phoneNumber)
        },
        change: (body) => tenant.call('PUT', '/api/v1/phone-numbers/webhooks', body),
        async latest() {
          const { body } = await tenant.call('GET', '/api/v1/webhook-changes?limit=1')
          return body.items[0]
        },
      }
    },
    async close() {
      await app.close()
      await twilio.stop()
      await telnyx.stop()
    },
  }
}
