import type { TwilioCredentials } from '@switchhook/core/store/provider-credentials'
import twilio, { type Twilio } from 'twilio'
import RequestClient from 'twilio/lib/base/RequestClient.js'
import { orUndefined } from './provider-errors.ts'
import { type Fields, pickFields, type ResourceAccess } from './webhook-state.ts'

/** The largest answer is a page of 1000 numbers. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024

/**
 * Bounds every request by one signal, also while an answer drips. Twilio has a host for every product: with `baseUrl`
 * all of them are there.
 */
class BoundedClient extends RequestClient {
  readonly #baseUrl: string | undefined

  constructor(baseUrl: string | undefined, signal: AbortSignal, timeoutMs: number) {
    super({ timeout: timeoutMs, keepAlive: false, autoRetry: false })
    this.#baseUrl = baseUrl?.replace(/\/+$/, '')
    Object.assign(this.axios.defaults, { signal, maxContentLength: MAX_ANSWER_BYTES })
  }

  override request<TData>(options: RequestClient.RequestOptions<TData>) {
    if (this.#baseUrl === undefined) return super.request(options)
    const { pathname, search } = new URL(options.uri)
    return super.request<TData>({ ...options, uri: this.#baseUrl + pathname + search })
  }
}

/** A client of Twilio's package for one operation; it never tries a request again. */
export function openTwilio(
  { accountSid, authToken }: TwilioCredentials,
  { baseUrl, timeoutMs }: { readonly baseUrl: string | undefined; readonly timeoutMs: number },
): Twilio {
  const httpClient = new BoundedClient(baseUrl, AbortSignal.timeout(timeoutMs), timeoutMs)
  return twilio(accountSid, authToken, { httpClient, autoRetry: false })
}

export const TWILIO_NUMBER = 'incoming_phone_number'
export const TWILIO_SERVICE = 'messaging_service'

const NUMBER_FIELDS = [
  ...['voiceUrl', 'voiceMethod', 'voiceFallbackUrl', 'voiceFallbackMethod', 'voiceApplicationSid'],
  ...['smsUrl', 'smsMethod', 'smsFallbackUrl', 'smsFallbackMethod', 'smsApplicationSid'],
]
const SERVICE_FIELDS = ['inboundRequestUrl', 'inboundMethod', 'fallbackUrl', 'fallbackMethod']

/** Twilio takes an empty text for "none"; its package would send null as the word. */
const withoutNulls = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, value ?? '']))

/** The fields are named as Twilio's package names them. Nothing is ever made or removed at Twilio. */
export function twilioResources(client: Twilio): ResourceAccess {
  const unsupported = (resource: string): never => {
    throw new Error(`no such resource of Twilio's: ${resource}`)
  }
  return {
    async read(resource, id) {
      if (resource === TWILIO_NUMBER) {
        const number = await orUndefined(client.incomingPhoneNumbers(id).fetch())
        return number && pickFields({ ...number.toJSON() }, NUMBER_FIELDS)
      }
      if (resource !== TWILIO_SERVICE) return unsupported(resource)
      const service = await orUndefined(client.messaging.v1.services(id).fetch())
      return service && pickFields({ ...service.toJSON() }, SERVICE_FIELDS)
    },
    async write(resource, id, fields) {
      const params = withoutNulls(fields)
      if (resource === TWILIO_NUMBER) await client.incomingPhoneNumbers(id).update(params)
      else if (resource === TWILIO_SERVICE) await client.messaging.v1.services(id).update(params)
      else unsupported(resource)
    },
    create: unsupported,
    remove: unsupported,
  }
}
