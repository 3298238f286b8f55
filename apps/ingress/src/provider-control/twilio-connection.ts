import type { TwilioCredentials } from '@switchhook/core/store/provider-credentials'
import type { Twilio } from 'twilio'
import type { IncomingPhoneNumberInstance } from 'twilio/lib/rest/api/v2010/account/incomingPhoneNumber.js'
import type { ServiceInstance } from 'twilio/lib/rest/messaging/v1/service.js'
import type { Planned, ProviderConnection, ProviderNumber, WantedUrls } from './connection.ts'
import { fallbackUrl, withOverrides, withoutOverrides } from './gateway-urls.ts'
import { orUndefined, ProviderObstacle } from './provider-errors.ts'
import { openTwilio, TWILIO_NUMBER, TWILIO_SERVICE, twilioResources } from './twilio-client.ts'
import { type Fields, pickFields, type Step } from './webhook-state.ts'

/** Services that are asked at once whether they have the number. */
const SERVICES_AT_ONCE = 10
const MAX_SERVICES = 2_000
const MAX_SENDERS = 1_000
/** Affected numbers that an error names. */
const MAX_NAMED = 20
const PAGE_SIZE = 1_000

type Service = {
  readonly service: ServiceInstance
  /** The numbers and short codes that share it. */
  readonly others: readonly string[]
}

/** Twilio does not tell which Messaging Service a number is in: each has to be asked. A number is in one at most. */
async function findService(client: Twilio, numberSid: string): Promise<Service | undefined> {
  const { services } = client.messaging.v1
  const all = (await orUndefined(services.list({ limit: MAX_SERVICES, pageSize: 100 }))) ?? []
  const senders = async (service: ServiceInstance) => ({
    service,
    numbers: await services(service.sid).phoneNumbers.list({ limit: MAX_SENDERS }),
  })
  for (let first = 0; first < all.length; first += SERVICES_AT_ONCE) {
    const asked = await Promise.all(all.slice(first, first + SERVICES_AT_ONCE).map(senders))
    const found = asked.find(({ numbers }) => numbers.some(({ sid }) => sid === numberSid))
    if (found === undefined) continue
    const { service, numbers } = found
    const codes = await orUndefined(services(service.sid).shortCodes.list({ limit: MAX_SENDERS }))
    const others = [
      ...numbers.filter(({ sid }) => sid !== numberSid).map(({ phoneNumber }) => phoneNumber),
      ...(codes ?? []).map(({ shortCode }) => shortCode),
    ]
    return { service, others }
  }
  return undefined
}

/** The application's URL goes before the number's own. */
async function findApplicationUrl(client: Twilio, sid: string, field: 'voiceUrl' | 'smsUrl') {
  const application = await orUndefined(client.applications(sid).fetch())
  return application?.[field] ?? null
}

const nameList = (names: readonly string[]): string =>
  names.length <= MAX_NAMED
    ? names.join(', ')
    : `${names.slice(0, MAX_NAMED).join(', ')} and ${names.length - MAX_NAMED} more`

type Context = {
  readonly number: IncomingPhoneNumberInstance
  /** The service that decides where its messages go; undefined when the number itself does. */
  readonly governing: Service | undefined
  readonly publicBaseUrl: string
}

function stepOf(resource: string, id: string, current: Fields, after: Fields): Step {
  return { resource, id, before: pickFields(current, Object.keys(after)), after }
}

function fallbackOf({ publicBaseUrl }: Context, channel: 'voice' | 'sms', primary: string) {
  return (current: string | null) =>
    withOverrides(fallbackUrl(publicBaseUrl, 'twilio', channel, { primary, current }))
}

/** Throws `ProviderObstacle` when a trunk takes the calls. An application is taken off this number and left as it is. */
function voiceFields(context: Context, url: string): Fields {
  const { number } = context
  if (number.trunkSid) {
    throw new ProviderObstacle(
      `${number.phoneNumber} is connected to the Twilio SIP trunk ${number.trunkSid}, which takes its calls before any voice URL. Disconnect it from the trunk first.`,
    )
  }
  const fallback = fallbackOf(context, 'voice', url)
  return {
    ...{ voiceUrl: withOverrides(url), voiceMethod: 'POST' },
    voiceFallbackUrl: fallback(withoutOverrides(number.voiceFallbackUrl)),
    voiceFallbackMethod: 'POST',
    ...(number.voiceApplicationSid ? { voiceApplicationSid: '' } : {}),
  }
}

function smsFields(context: Context, url: string): Fields {
  const { number } = context
  const fallback = fallbackOf(context, 'sms', url)
  return {
    ...{ smsUrl: withOverrides(url), smsMethod: 'POST' },
    smsFallbackUrl: fallback(withoutOverrides(number.smsFallbackUrl)),
    smsFallbackMethod: 'POST',
    ...(number.smsApplicationSid ? { smsApplicationSid: '' } : {}),
  }
}

const withoutFragment = (url: string | null): string | undefined => url?.replace(/#.*/, '')

/** Throws `ProviderObstacle` when others would be told to send elsewhere, too. */
function serviceSteps(context: Context, url: string): Step[] {
  const { number, governing } = context
  if (governing === undefined) return []
  const { service, others } = governing
  const wanted = withOverrides(url)
  const held = service.inboundRequestUrl
  if (held === wanted) return []
  // How it is tried is the business of all who share it, unless the wanted URL says something of it.
  if (others.length > 0 && withoutFragment(held) === withoutOverrides(url)) return []
  if (others.length > 0) {
    throw new ProviderObstacle(
      `${number.phoneNumber} is in the Twilio Messaging Service "${service.friendlyName}" (${service.sid}), which decides where its messages go. The change would affect ${nameList(others)} as well. Take the number out of the service, or let the service use the URLs of its numbers (UseInboundWebhookOnNumber).`,
    )
  }
  const fallback = fallbackOf(context, 'sms', url)
  const after = {
    ...{ inboundRequestUrl: wanted, inboundMethod: 'POST' },
    fallbackUrl: fallback(withoutOverrides(service.fallbackUrl)),
    fallbackMethod: 'POST',
  }
  return [stepOf(TWILIO_SERVICE, service.sid, { ...service.toJSON() }, after)]
}

function planTwilio(context: Context, { voice, sms }: WantedUrls): Planned {
  const { number } = context
  const after = {
    ...(voice === undefined ? {} : voiceFields(context, voice)),
    ...(sms === undefined ? {} : smsFields(context, sms)),
  }
  const steps = [
    ...(sms === undefined ? [] : serviceSteps(context, sms)),
    stepOf(TWILIO_NUMBER, number.sid, { ...number.toJSON() }, after),
  ]
  const { voiceApplicationSid, smsApplicationSid } = number
  const detached = [
    ...(voice === undefined || !voiceApplicationSid ? [] : [voiceApplicationSid]),
    ...(sms === undefined || !smsApplicationSid ? [] : [smsApplicationSid]),
  ]
  return { steps, detachedApplications: [...new Set(detached)] }
}

async function describeNumber(
  client: Twilio,
  number: IncomingPhoneNumberInstance,
  publicBaseUrl: string,
): Promise<ProviderNumber> {
  const { voiceApplicationSid, smsApplicationSid, trunkSid } = number
  const service = await findService(client, number.sid)
  const governing = service?.service.useInboundWebhookOnNumber === true ? undefined : service
  const voiceUrl = voiceApplicationSid
    ? await findApplicationUrl(client, voiceApplicationSid, 'voiceUrl')
    : number.voiceUrl
  const smsUrl = smsApplicationSid
    ? await findApplicationUrl(client, smsApplicationSid, 'smsUrl')
    : number.smsUrl
  return {
    voiceUrl: trunkSid ? null : withoutOverrides(voiceUrl),
    smsUrl: withoutOverrides(governing ? governing.service.inboundRequestUrl : smsUrl),
    configuration: {
      voice_method: number.voiceMethod,
      sms_method: number.smsMethod,
      status_callback_url: number.statusCallback,
      status_callback_method: number.statusCallbackMethod,
      phone_number_sid: number.sid,
      friendly_name: number.friendlyName,
      voice_fallback_url: withoutOverrides(number.voiceFallbackUrl),
      sms_fallback_url: withoutOverrides(number.smsFallbackUrl),
      voice_application_sid: voiceApplicationSid || null,
      sms_application_sid: smsApplicationSid || null,
      trunk_sid: trunkSid || null,
      messaging_service_sid: service?.service.sid ?? null,
    },
    plan: async (wanted) => planTwilio({ number, governing, publicBaseUrl }, wanted),
  }
}

export type TwilioConnectionOptions = {
  readonly baseUrl: string | undefined
  readonly publicBaseUrl: string
  /** For all requests together. */
  readonly timeoutMs: number
}

export function connectTwilio(
  credentials: TwilioCredentials,
  options: TwilioConnectionOptions,
): ProviderConnection {
  const client = openTwilio(credentials, options)
  return {
    resources: twilioResources(client),
    async findNumber(phoneNumber) {
      const found = await client.incomingPhoneNumbers.list({ phoneNumber, limit: 1 })
      const number = found.find((one) => one.phoneNumber === phoneNumber)
      return number && (await describeNumber(client, number, options.publicBaseUrl))
    },
    async listNumbers(limit) {
      const numbers = await client.incomingPhoneNumbers.list({ limit, pageSize: PAGE_SIZE })
      return numbers.map(({ phoneNumber }) => phoneNumber)
    },
  }
}
