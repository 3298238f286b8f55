import type { TelnyxCredentials } from '@switchhook/core/store/provider-credentials'
import type Telnyx from 'telnyx'
import type { Planned, ProviderConnection, ProviderNumber, WantedUrls } from './connection.ts'
import { fallbackUrl } from './gateway-urls.ts'
import { orUndefined, ProviderObstacle } from './provider-errors.ts'
import {
  openTelnyx,
  TELNYX_APPLICATION,
  TELNYX_NUMBER,
  TELNYX_NUMBER_MESSAGING,
  TELNYX_PROFILE,
  telnyxResources,
} from './telnyx-client.ts'
import { type Fields, MADE_ID, pickFields, type Step } from './webhook-state.ts'

const PAGE_SIZE = 250
const MAX_SCANNED = 10_000

/** Read for the events that the gateway understands. */
const API_VERSION = '2'

/** What a dedicated profile takes over from the shared one: how the number sends stays as it is. */
const PROFILE_SETTINGS = [
  ...['enabled', 'whitelisted_destinations', 'alpha_sender', 'smart_encoding', 'mobile_only'],
  ...['daily_spend_limit', 'daily_spend_limit_enabled', 'mms_fall_back_to_sms', 'mms_transcoding'],
  ...['number_pool_settings', 'url_shortener_settings'],
]

/** The same for an application and how the number calls. */
const APPLICATION_SETTINGS = [
  ...['active', 'anchorsite_override', 'call_cost_in_webhooks', 'dtmf_type', 'inbound', 'outbound'],
  ...['first_command_timeout', 'first_command_timeout_secs', 'redact_dtmf_debug_logging'],
  'webhook_timeout_secs',
]

type OwnNumber = Telnyx.NumbersPhoneNumberDetailed
type Profile = Telnyx.MessagingMessagingProfile
type Application = Telnyx.CallControlApplication

function knownSettings(fields: object, names: readonly string[]): Fields {
  const given = pickFields({ ...fields }, names)
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null))
}

type Context = {
  readonly client: Telnyx
  readonly number: OwnNumber
  readonly profile: Profile | undefined
  /** Undefined also when its calls go through a connection of another kind. */
  readonly application: Application | undefined
  readonly publicBaseUrl: string
}

export type TelnyxConnectionOptions = {
  readonly baseUrl: string | undefined
  readonly publicBaseUrl: string
  /** For all requests together. */
  readonly timeoutMs: number
}

async function take<T>(list: AsyncIterable<T>, limit: number): Promise<T[]> {
  const taken: T[] = []
  for await (const one of list) {
    taken.push(one)
    if (taken.length >= limit) break
  }
  return taken
}

const onePage = { 'page[size]': PAGE_SIZE }

/** Whether a number other than this one has its calls sent to the application. */
async function isApplicationShared({ client, number }: Context, id: string): Promise<boolean> {
  const query = { filter: { connection_id: id }, ...onePage }
  const numbers = await take(client.phoneNumbers.list(query), PAGE_SIZE)
  return numbers.some((one) => one.connection_id === id && one.id !== number.id)
}

/** The same for messages; short codes count as well. */
async function isProfileShared({ client, number }: Context, id: string): Promise<boolean> {
  const { messagingProfiles, phoneNumbers } = client
  const members = await orUndefined(
    take(messagingProfiles.listPhoneNumbers(id, onePage), PAGE_SIZE),
  )
  // Not found is no proof that nobody shares it: the numbers say themselves which profile they have.
  const numbers =
    members ??
    (await take(phoneNumbers.list(onePage), MAX_SCANNED)).filter(
      (one) => one.messaging_profile_id === id,
    )
  if (numbers.some((one) => one.phone_number !== number.phone_number)) return true
  const codes = await orUndefined(take(messagingProfiles.listShortCodes(id, onePage), 1))
  return codes !== undefined && codes.length > 0
}

function updateStep(resource: string, id: string, current: object, after: Fields): Step {
  return { resource, id, before: pickFields({ ...current }, Object.keys(after)), after }
}

/** One of this name that nobody uses: left over from a change that was taken back, or whose answer got lost. */
async function findUnusedProfile(context: Context, name: string): Promise<Profile | undefined> {
  const list = context.client.messagingProfiles.list({ filter: { name }, ...onePage })
  for (const profile of (await orUndefined(take(list, PAGE_SIZE))) ?? []) {
    if (profile.name !== name || profile.id === undefined) continue
    if (!(await isProfileShared(context, profile.id))) return profile
  }
  return undefined
}

async function findUnusedApplication(
  context: Context,
  name: string,
): Promise<Application | undefined> {
  const filter = { application_name: { contains: name } }
  const list = context.client.callControlApplications.list({ filter, ...onePage })
  for (const application of (await orUndefined(take(list, PAGE_SIZE))) ?? []) {
    if (application.application_name !== name || application.id === undefined) continue
    if (!(await isApplicationShared(context, application.id))) return application
  }
  return undefined
}

/** A profile may be shared: then the number gets one of its own. */
async function planSms(context: Context, url: string): Promise<Step[]> {
  const { number, profile, publicBaseUrl } = context
  const current = profile?.webhook_failover_url ?? null
  const urls = {
    webhook_url: url,
    webhook_failover_url: fallbackUrl(publicBaseUrl, 'telnyx', 'sms', { primary: url, current }),
    webhook_api_version: API_VERSION,
  }
  if (profile?.id === undefined) {
    if (url === '') return []
  } else {
    if (!(await isProfileShared(context, profile.id))) {
      return [updateStep(TELNYX_PROFILE, profile.id, profile, urls)]
    }
    if ((profile.webhook_url ?? '') === url) return []
  }
  const name = `Switchhook-SMS-${number.phone_number}`
  const unused = await findUnusedProfile(context, name)
  const settings = knownSettings(profile ?? {}, PROFILE_SETTINGS)
  const whitelisted_destinations = [number.country_iso_alpha2 ?? '*']
  const own = { whitelisted_destinations, ...settings, name, ...urls }
  const step: Step =
    unused?.id === undefined
      ? { resource: TELNYX_PROFILE, id: null, before: null, after: own }
      : updateStep(TELNYX_PROFILE, unused.id, unused, urls)
  const after = { messaging_profile_id: step.id ?? MADE_ID }
  return [step, updateStep(TELNYX_NUMBER_MESSAGING, number.id, number, after)]
}

/** The same for an application. Throws `ProviderObstacle` when the calls go through a connection of another kind. */
async function planVoice(context: Context, url: string): Promise<Step[]> {
  const { client, number, application, publicBaseUrl } = context
  if (number.connection_id && application === undefined) {
    const connection = await orUndefined(client.connections.retrieve(number.connection_id))
    const { connection_name: name, record_type: kind } = connection?.data ?? {}
    throw new ProviderObstacle(
      `The calls of ${number.phone_number} go through the Telnyx connection "${name ?? number.connection_name ?? ''}" (${kind ?? 'of an unknown kind'}, ${number.connection_id}), which has no voice webhook that could be changed. Assign the number to a Voice API application first.`,
    )
  }
  const current = application?.webhook_event_failover_url ?? null
  const urls = {
    webhook_event_url: url,
    webhook_event_failover_url: fallbackUrl(publicBaseUrl, 'telnyx', 'voice', {
      ...{ primary: url, current },
    }),
    webhook_api_version: API_VERSION,
  }
  if (application?.id !== undefined) {
    if (!(await isApplicationShared(context, application.id))) {
      const after = { application_name: application.application_name, ...urls }
      return [updateStep(TELNYX_APPLICATION, application.id, application, after)]
    }
    if (application.webhook_event_url === url) return []
  }
  const name = `Switchhook-${number.phone_number}`
  const unused = await findUnusedApplication(context, name)
  const own = {
    ...knownSettings(application ?? {}, APPLICATION_SETTINGS),
    ...{ application_name: name, ...urls },
  }
  const step: Step =
    unused?.id === undefined
      ? { resource: TELNYX_APPLICATION, id: null, before: null, after: own }
      : updateStep(TELNYX_APPLICATION, unused.id, unused, { application_name: name, ...urls })
  const after = { connection_id: step.id ?? MADE_ID }
  return [step, updateStep(TELNYX_NUMBER, number.id, number, after)]
}

async function plan(context: Context, { voice, sms }: WantedUrls): Promise<Planned> {
  const steps = [
    ...(voice === undefined ? [] : await planVoice(context, voice)),
    ...(sms === undefined ? [] : await planSms(context, sms)),
  ]
  return { steps, detachedApplications: [] }
}

async function describeNumber(
  client: Telnyx,
  listed: OwnNumber,
  publicBaseUrl: string,
): Promise<ProviderNumber> {
  const { connection_id } = listed
  const messaging = (await orUndefined(client.phoneNumbers.messaging.retrieve(listed.id)))?.data
  // The messaging settings are what is written; the list lags behind them.
  const messaging_profile_id =
    messaging?.messaging_profile_id ?? listed.messaging_profile_id ?? null
  const number = { ...listed, messaging_profile_id }
  const profile = messaging_profile_id
    ? (await orUndefined(client.messagingProfiles.retrieve(messaging_profile_id)))?.data
    : undefined
  const application = connection_id
    ? (await orUndefined(client.callControlApplications.retrieve(connection_id)))?.data
    : undefined
  return {
    voiceUrl: application?.webhook_event_url || null,
    smsUrl: profile?.webhook_url || null,
    configuration: {
      connection_id: connection_id || null,
      messaging_profile_id,
      phone_number_id: number.id,
      status: number.status ?? null,
      features: messaging?.features ?? null,
      voice_failover_url: application?.webhook_event_failover_url || null,
      sms_failover_url: profile?.webhook_failover_url || null,
    },
    plan: (wanted) => plan({ client, number, profile, application, publicBaseUrl }, wanted),
  }
}

export function connectTelnyx(
  credentials: TelnyxCredentials,
  options: TelnyxConnectionOptions,
): ProviderConnection {
  const client = openTelnyx(credentials, options)
  return {
    resources: telnyxResources(client),
    async findNumber(phoneNumber) {
      const filter = { phone_number: phoneNumber }
      const found = await take(client.phoneNumbers.list({ filter, ...onePage }), PAGE_SIZE)
      const number = found.find((one) => one.phone_number === phoneNumber)
      return number && (await describeNumber(client, number, options.publicBaseUrl))
    },
    async listNumbers(limit) {
      const numbers = await take(client.phoneNumbers.list(onePage), limit)
      return numbers.map(({ phone_number }) => phone_number)
    },
  }
}
