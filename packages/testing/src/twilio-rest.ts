import { randomBytes } from 'node:crypto'
import {
  type RestAnswer,
  type RestRequest,
  type RestStandIn,
  startRestStandIn,
} from './rest-stand-in.ts'

/** In Twilio's own words, the ones of its REST API. */
export type TwilioRestNumber = {
  sid: string
  phone_number: string
  friendly_name: string
  voice_url: string | null
  voice_method: string
  voice_fallback_url: string | null
  voice_fallback_method: string
  voice_application_sid: string | null
  sms_url: string | null
  sms_method: string
  sms_fallback_url: string | null
  sms_fallback_method: string
  sms_application_sid: string | null
  status_callback: string | null
  status_callback_method: string
  trunk_sid: string | null
}

export type TwilioRestService = {
  sid: string
  friendly_name: string
  inbound_request_url: string | null
  inbound_method: string
  fallback_url: string | null
  fallback_method: string
  status_callback: string | null
  use_inbound_webhook_on_number: boolean
  /** Not part of its JSON. */
  numberSids: string[]
}

export type TwilioRestApplication = {
  sid: string
  friendly_name: string
  voice_url: string | null
  sms_url: string | null
}

export type TwilioRest = RestStandIn & {
  addNumber(phoneNumber: string, fields?: Partial<TwilioRestNumber>): TwilioRestNumber
  /** With the numbers of these SIDs in it. */
  addService(numberSids: string[], fields?: Partial<TwilioRestService>): TwilioRestService
  addApplication(fields?: Partial<TwilioRestApplication>): TwilioRestApplication
  /** Where Twilio would send a message to the number: services and applications go before its own URL. */
  smsGoesTo(phoneNumber: string): string | null
  /** The same for a call; a trunk takes it to no URL. */
  voiceGoesTo(phoneNumber: string): string | null
}

export type TwilioRestOptions = { readonly accountSid: string; readonly authToken: string }

const sid = (prefix: string): string => prefix + randomBytes(16).toString('hex')

const CODES: Readonly<Record<number, readonly [code: number, message: string]>> = {
  401: [20003, 'Authenticate'],
  404: [20404, 'The requested resource was not found'],
  429: [20429, 'Too Many Requests'],
}

/** Source: www.twilio.com/docs/usage/twilios-response#response-formats-exceptions */
function errorBody(status: number, phoneNumber?: string) {
  const quoting = [21211, `Invalid 'To' Phone Number: ${phoneNumber}`] as const
  const [code, message] =
    CODES[status] ?? (status === 400 ? quoting : [20500, 'Internal Server Error'])
  return { code, message, more_info: `https://www.twilio.com/docs/errors/${code}`, status }
}

const NOT_FOUND: RestAnswer = { status: 404, body: errorBody(404) }

/** `SmsApplicationSid` → `sms_application_sid` */
const toSnake = (name: string): string =>
  name
    .replace(/^[A-Z]/, (first) => first.toLowerCase())
    .replaceAll(/[A-Z]/g, '_$&')
    .toLowerCase()

/** Takes over what the form sets and the resource has; an empty SID takes one away. */
function update(resource: object, form: RestRequest['body']): void {
  const fields = resource as Record<string, unknown>
  for (const [name, value] of Object.entries(form)) {
    const field = toSnake(name)
    if (!(field in fields)) continue
    const isFlag = typeof fields[field] === 'boolean'
    fields[field] = isFlag ? value === 'true' : field.endsWith('_sid') ? value || null : value
  }
}

const DATES = {
  date_created: 'Thu, 20 Aug 2026 21:31:00 +0000',
  date_updated: 'Thu, 20 Aug 2026 21:31:00 +0000',
}

/** Starts Twilio's REST API (api.twilio.com and messaging.twilio.com on one origin) with one account. */
export async function startTwilioRest(account: TwilioRestOptions): Promise<TwilioRest> {
  const numbers: TwilioRestNumber[] = []
  const services: TwilioRestService[] = []
  const applications: TwilioRestApplication[] = []
  const { accountSid, authToken } = account
  const authorization = `Basic ${Buffer.from(`${accountSid}:${authToken}`).toString('base64')}`
  const root = `/2010-04-01/Accounts/${accountSid}`

  const showNumber = (number: TwilioRestNumber) => ({
    ...{ account_sid: accountSid, api_version: '2010-04-01', origin: 'twilio', ...DATES },
    ...{ capabilities: { voice: true, sms: true, mms: true, fax: false } },
    ...{ uri: `${root}/IncomingPhoneNumbers/${number.sid}.json`, ...number },
  })
  const showService = ({ numberSids: _, ...service }: TwilioRestService) => ({
    ...{ account_sid: accountSid, date_created: '2026-08-20T21:31:00Z' },
    ...{ date_updated: '2026-08-20T21:31:00Z', ...service },
    url: `https://messaging.twilio.com/v1/Services/${service.sid}`,
  })
  const showMember = (service: TwilioRestService) => (numberSid: string) => ({
    ...{ sid: numberSid, account_sid: accountSid, service_sid: service.sid, country_code: 'US' },
    phone_number: numbers.find((one) => one.sid === numberSid)?.phone_number,
    ...{ date_created: '2026-08-20T21:31:00Z', date_updated: '2026-08-20T21:31:00Z' },
    capabilities: ['SMS', 'MMS'],
    url: `https://messaging.twilio.com/v1/Services/${service.sid}/PhoneNumbers/${numberSid}`,
  })

  /** A page of the older API, whose next page is a path. */
  function apiPage(key: string, all: readonly unknown[], { path, query }: RestRequest): RestAnswer {
    const size = Number(query.get('PageSize') ?? 50)
    const page = Number(query.get('Page') ?? 0)
    const next = new URLSearchParams(query)
    next.set('Page', String(page + 1))
    const isMore = (page + 1) * size < all.length
    const body = {
      [key]: all.slice(page * size, (page + 1) * size),
      ...{ page, page_size: size, start: page * size, uri: `${path}?${query}` },
      next_page_uri: isMore ? `${path}?${next}` : null,
    }
    return { status: 200, body }
  }

  /** A page of the newer APIs, whose next page is a whole URL on Twilio's host. */
  function pageOf(key: string, all: readonly unknown[], { path, query }: RestRequest): RestAnswer {
    const size = Number(query.get('PageSize') ?? 50)
    const page = Number(query.get('Page') ?? 0)
    const next = new URLSearchParams({ PageSize: String(size), Page: String(page + 1) })
    const isMore = (page + 1) * size < all.length
    const url = `https://messaging.twilio.com${path}`
    const meta = { page, page_size: size, key, url, first_page_url: url, previous_page_url: null }
    const body = {
      [key]: all.slice(page * size, (page + 1) * size),
      meta: { ...meta, next_page_url: isMore ? `${url}?${next}` : null },
    }
    return { status: 200, body }
  }

  function one<T extends { readonly sid: string }>(
    all: readonly T[],
    id: string,
    { method, body }: RestRequest,
    show: (resource: T) => unknown,
  ): RestAnswer {
    const found = all.find((resource) => resource.sid === id)
    if (found === undefined) return NOT_FOUND
    if (method === 'POST') update(found, body)
    return { status: 200, body: show(found) }
  }

  function handleApi(path: string, request: RestRequest): RestAnswer {
    if (path === '/IncomingPhoneNumbers.json') {
      const wanted = request.query.get('PhoneNumber')
      const found = numbers.filter((number) => wanted === null || number.phone_number === wanted)
      return apiPage('incoming_phone_numbers', found.map(showNumber), request)
    }
    const [, kind, id = ''] =
      /^\/(IncomingPhoneNumbers|Applications)\/(\w+)\.json$/.exec(path) ?? []
    if (kind === 'IncomingPhoneNumbers') return one(numbers, id, request, showNumber)
    if (kind === 'Applications') return one(applications, id, request, (all) => ({ ...all }))
    return NOT_FOUND
  }

  function handleMessaging(path: string, request: RestRequest): RestAnswer {
    if (path === '') return pageOf('services', services.map(showService), request)
    const [, id = '', members] = /^\/(\w+)(?:\/(PhoneNumbers|ShortCodes))?$/.exec(path) ?? []
    const service = services.find((candidate) => candidate.sid === id)
    if (service === undefined) return NOT_FOUND
    if (members === 'ShortCodes') return pageOf('short_codes', [], request)
    if (members === 'PhoneNumbers') {
      return pageOf('phone_numbers', service.numberSids.map(showMember(service)), request)
    }
    return one(services, id, request, showService)
  }

  const standIn = await startRestStandIn({
    // A 400 quotes a number, as many of Twilio's do: the newest one.
    errorBody: (status) => errorBody(status, numbers.at(-1)?.phone_number),
    authorize: ({ headers }) =>
      headers.authorization === authorization ? undefined : { status: 401, body: errorBody(401) },
    handle(request) {
      const { path } = request
      if (path.startsWith(root)) return handleApi(path.slice(root.length), request)
      const services_ = '/v1/Services'
      if (path.startsWith(services_)) return handleMessaging(path.slice(services_.length), request)
      return NOT_FOUND
    },
  })

  function numberOf(phoneNumber: string): TwilioRestNumber {
    const number = numbers.find((candidate) => candidate.phone_number === phoneNumber)
    if (number === undefined) throw new Error(`no number ${phoneNumber}`)
    return number
  }

  return Object.assign(standIn, {
    addNumber(phoneNumber: string, fields: Partial<TwilioRestNumber> = {}) {
      const number: TwilioRestNumber = {
        ...{ sid: sid('PN'), phone_number: phoneNumber, friendly_name: phoneNumber },
        ...{ voice_url: 'https://demo.twilio.com/welcome/voice/', voice_method: 'POST' },
        ...{ voice_fallback_url: null, voice_fallback_method: 'POST', voice_application_sid: null },
        ...{ sms_url: 'https://demo.twilio.com/welcome/sms/reply', sms_method: 'POST' },
        ...{ sms_fallback_url: '', sms_fallback_method: 'POST', sms_application_sid: null },
        ...{ status_callback: '', status_callback_method: 'POST', trunk_sid: null, ...fields },
      }
      numbers.push(number)
      return number
    },
    addService(numberSids: string[], fields: Partial<TwilioRestService> = {}) {
      const service: TwilioRestService = {
        ...{ sid: sid('MG'), friendly_name: 'A service', inbound_request_url: null },
        ...{ inbound_method: 'POST', fallback_url: null, fallback_method: 'POST' },
        ...{ status_callback: null, use_inbound_webhook_on_number: false, numberSids, ...fields },
      }
      services.push(service)
      return service
    },
    addApplication(fields: Partial<TwilioRestApplication> = {}) {
      const application: TwilioRestApplication = {
        ...{ sid: sid('AP'), friendly_name: 'An application', voice_url: null, sms_url: null },
        ...fields,
      }
      applications.push(application)
      return application
    },
    smsGoesTo(phoneNumber: string) {
      const number = numberOf(phoneNumber)
      const service = services.find(({ numberSids }) => numberSids.includes(number.sid))
      if (service !== undefined && !service.use_inbound_webhook_on_number) {
        return service.inbound_request_url
      }
      const application = applications.find((one) => one.sid === number.sms_application_sid)
      return application === undefined ? number.sms_url : application.sms_url
    },
    voiceGoesTo(phoneNumber: string) {
      const number = numberOf(phoneNumber)
      if (number.trunk_sid !== null) return null
      const application = applications.find((one) => one.sid === number.voice_application_sid)
      return application === undefined ? number.voice_url : application.voice_url
    },
  })
}
