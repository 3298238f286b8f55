import { randomBytes } from 'node:crypto'
import { eventId } from '@switchhook/core/ids'
import { type Api, createApi } from './api.ts'
import type { Product } from './product.ts'

export type DestinationSettings = {
  /** Where at the receiver; names the destination. */
  readonly path: string
  /** In place of the receiver. */
  readonly url?: string
  readonly format?: 'burki' | 'pbx'
  readonly fallbackEmail?: string
  readonly timeoutMs?: number
  readonly maxAttempts?: number
  /** 0.05 s before every attempt unless told. */
  readonly delaysSeconds?: readonly number[]
  /** False unless told. */
  readonly jitter?: boolean
  readonly headers?: Readonly<Record<string, string>>
  readonly serviceId?: string
  /** As the API names them: max_concurrency, rate_limit_per_second, freshness_seconds. */
  readonly limits?: Readonly<Record<string, number>>
}

/** A number of the tenant and the one destination that gets its messages. */
export type Line = {
  readonly phoneNumber: string
  readonly destinationId: string
  readonly path: string
  readonly url: string
  /** `whsec_…` */
  readonly secret: string
}

export type Tenant = {
  readonly api: Api
  readonly apiKey: string
  readonly organizationId: string
  readonly accountSid: string
  readonly authToken: string
  /** A new number with a destination of its own. */
  addLine(settings: DestinationSettings): Promise<Line>
  /** A further destination for the number. */
  addDestination(phoneNumber: string, settings: DestinationSettings): Promise<Line>
  /** The id that the message gets, known before it is sent. */
  eventIdOf(messageSid: string): string
}

const QUICK_RETRY_SECONDS = 0.05
const ATTEMPTS = 10

let numbersMade = 0

/** E.164, from the range that is reserved for fiction. */
function nextNumber(): string {
  numbersMade += 1
  return `+1${String(200 + numbersMade)}5550100`
}

/** An organization with a Twilio account, made through the management API as a customer would. */
export async function createTenant(product: Product): Promise<Tenant> {
  const ingressUrl = () => product.ingress().url
  const organization = await createApi(ingressUrl, product.adminApiKey).call<{
    id: string
    api_key: string
  }>('POST', '/api/v1/organizations', { name: 'E2E' })
  const api = createApi(ingressUrl, organization.api_key)
  const accountSid = `AC${randomBytes(16).toString('hex')}`
  const authToken = randomBytes(16).toString('hex')
  await api.call('POST', '/api/v1/provider-accounts', {
    provider: 'twilio',
    account_sid: accountSid,
    auth_token: authToken,
  })

  const tenant: Tenant = {
    ...{ api, apiKey: organization.api_key, organizationId: organization.id },
    ...{ accountSid, authToken },
    async addLine(settings) {
      const phoneNumber = nextNumber()
      await api.call('POST', '/api/v1/phone-numbers', {
        phone_number: phoneNumber,
        provider: 'twilio',
        ...(settings.serviceId === undefined ? {} : { service_id: settings.serviceId }),
      })
      return tenant.addDestination(phoneNumber, settings)
    },
    async addDestination(phoneNumber, settings) {
      const { path, format = 'burki', maxAttempts = ATTEMPTS } = settings
      const url = settings.url ?? product.receiver.url + path
      const delays = Array.from({ length: maxAttempts - 1 }, () => QUICK_RETRY_SECONDS)
      const { id, secret } = await api.call<{ id: string; secret: string }>(
        'POST',
        '/api/v1/destinations',
        {
          ...{ name: path, url, format, event_types: ['*'], phone_number: phoneNumber },
          retry: {
            max_attempts: maxAttempts,
            delays_seconds: settings.delaysSeconds ?? delays,
            jitter: settings.jitter ?? false,
          },
          ...(settings.fallbackEmail === undefined
            ? {}
            : { fallback_email: settings.fallbackEmail }),
          ...(settings.timeoutMs === undefined ? {} : { timeout_ms: settings.timeoutMs }),
          ...(settings.headers === undefined ? {} : { headers: settings.headers }),
          ...settings.limits,
        },
      )
      return { phoneNumber, destinationId: id, path, url, secret }
    },
    eventIdOf: (messageSid) => eventId(organization.id, 'twilio', messageSid),
  }
  return tenant
}
