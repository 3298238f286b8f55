import { randomUUID } from 'node:crypto'
import {
  type RestAnswer,
  type RestRequest,
  type RestStandIn,
  startRestStandIn,
} from './rest-stand-in.ts'

/** In Telnyx's own words, the ones of its REST API. */
export type TelnyxRestNumber = {
  id: string
  phone_number: string
  status: string
  connection_id: string | null
  messaging_profile_id: string | null
}

export type TelnyxRestProfile = {
  id: string
  name: string
  enabled: boolean
  whitelisted_destinations: string[]
  webhook_url: string | null
  webhook_failover_url: string | null
  webhook_api_version: string
}

export type TelnyxRestApplication = {
  id: string
  application_name: string
  active: boolean
  webhook_event_url: string
  webhook_event_failover_url: string | null
  webhook_api_version: string
  webhook_timeout_secs: number | null
}

/** Of another kind than an application: a SIP trunk for one. */
export type TelnyxRestConnection = { id: string; connection_name: string; record_type: string }

export type TelnyxRest = RestStandIn & {
  /** With `/v2`. */
  readonly baseUrl: string
  readonly profiles: readonly TelnyxRestProfile[]
  readonly applications: readonly TelnyxRestApplication[]
  addNumber(phoneNumber: string, fields?: Partial<TelnyxRestNumber>): TelnyxRestNumber
  addProfile(fields?: Partial<TelnyxRestProfile>): TelnyxRestProfile
  addApplication(fields?: Partial<TelnyxRestApplication>): TelnyxRestApplication
  addConnection(fields?: Partial<TelnyxRestConnection>): TelnyxRestConnection
  /** Where Telnyx would send a message to the number. */
  smsGoesTo(phoneNumber: string): string | null
  voiceGoesTo(phoneNumber: string): string | null
}

const TITLES: Readonly<Record<number, readonly [code: string, title: string]>> = {
  401: ['10009', 'Authentication failed'],
  404: ['10005', 'Resource not found'],
  422: ['10015', 'Invalid value'],
  429: ['10011', 'Too many requests'],
}

/** Source: developers.telnyx.com/api/errors */
function errorBody(status: number, pointer = '/') {
  const [code, title] = TITLES[status] ?? ['10007', 'Unexpected error']
  return { errors: [{ code, title, detail: `${title}.`, source: { pointer } }] }
}

const errorAnswer = (status: number, pointer?: string): RestAnswer => ({
  ...{ status, body: errorBody(status, pointer) },
})

const TIMES = { created_at: '2026-08-20T21:31:00Z', updated_at: '2026-08-20T21:31:00Z' }

function pageOf(all: readonly unknown[], { query }: RestRequest): RestAnswer {
  const size = Number(query.get('page[size]') ?? 20)
  const page = Number(query.get('page[number]') ?? 1)
  const meta = {
    ...{ page_number: page, page_size: size, total_results: all.length },
    total_pages: Math.max(1, Math.ceil(all.length / size)),
  }
  return { status: 200, body: { data: all.slice((page - 1) * size, page * size), meta } }
}

type Collection<T extends { id: string }> = {
  readonly rows: T[]
  readonly show: (row: T) => object
  /** Null for what cannot be made or changed. */
  readonly required: readonly string[] | null
  readonly requiredForUpdate: readonly string[]
  readonly make: (body: RestRequest['body']) => T
  readonly filter: (row: T, query: URLSearchParams) => boolean
}

/** Starts Telnyx's REST API with one account. */
export async function startTelnyxRest({ apiKey }: { apiKey: string }): Promise<TelnyxRest> {
  const numbers: TelnyxRestNumber[] = []
  const profiles: TelnyxRestProfile[] = []
  const applications: TelnyxRestApplication[] = []
  const connections: TelnyxRestConnection[] = []

  const newProfile = (fields: Partial<TelnyxRestProfile>): TelnyxRestProfile => ({
    ...{ id: randomUUID(), name: 'A profile', enabled: true, whitelisted_destinations: ['US'] },
    ...{ webhook_url: null, webhook_failover_url: null, webhook_api_version: '2', ...fields },
  })
  const newApplication = (fields: Partial<TelnyxRestApplication>): TelnyxRestApplication => ({
    ...{ id: String(1_293_384_261_075_731_500n + BigInt(applications.length)), active: true },
    ...{ application_name: 'An application', webhook_event_url: 'https://example.com/calls' },
    ...{ webhook_event_failover_url: null, webhook_api_version: '1', webhook_timeout_secs: null },
    ...fields,
  })
  const showNumber = (number: TelnyxRestNumber) => ({
    ...{ record_type: 'phone_number', country_iso_alpha2: 'US', tags: [], external_pin: null },
    ...{ deletion_lock_enabled: false, phone_number_type: 'local', purchased_at: TIMES.created_at },
    ...{ ...TIMES, ...number },
    connection_name: connections.find(({ id }) => id === number.connection_id)?.connection_name,
  })
  const showMessaging = (number: TelnyxRestNumber) => ({
    ...{ record_type: 'messaging_settings', id: number.id, phone_number: number.phone_number },
    ...{ country_code: 'US', type: 'longcode', messaging_product: 'A2P', traffic_type: 'A2P' },
    ...{ messaging_profile_id: number.messaging_profile_id, ...TIMES },
    features: { sms: { domestic_two_way: true, international_inbound: true }, mms: null },
  })
  const profileCollection: Collection<TelnyxRestProfile> = {
    ...{ rows: profiles, required: ['name', 'whitelisted_destinations'], requiredForUpdate: [] },
    show: (row) => ({ record_type: 'messaging_profile', ...TIMES, ...row }),
    make: (body) => newProfile(body),
    filter: ({ name }, query) => (query.get('filter[name]') ?? name) === name,
  }
  const named = ['application_name', 'webhook_event_url']
  const applicationCollection: Collection<TelnyxRestApplication> = {
    ...{ rows: applications, required: named, requiredForUpdate: named },
    show: (row) => ({ record_type: 'call_control_application', ...TIMES, ...row }),
    make: (body) => newApplication(body),
    filter: ({ application_name: name }, query) =>
      name.includes(query.get('filter[application_name][contains]') ?? ''),
  }
  const collections: Readonly<Record<string, Collection<never> | undefined>> = {
    messaging_profiles: profileCollection as unknown as Collection<never>,
    call_control_applications: applicationCollection as unknown as Collection<never>,
  }

  function handleOne(collection: Collection<{ id: string }>, id: string, request: RestRequest) {
    const row = collection.rows.find((one) => one.id === id)
    if (row === undefined) return errorAnswer(404)
    if (request.method === 'PATCH') {
      const missing = collection.requiredForUpdate.find((name) => !(name in request.body))
      if (missing !== undefined) return errorAnswer(422, `/${missing}`)
      Object.assign(row, request.body)
    }
    if (request.method === 'DELETE') collection.rows.splice(collection.rows.indexOf(row), 1)
    return { status: 200, body: { data: collection.show(row) } }
  }

  function handleCollection(
    collection: Collection<{ id: string }>,
    [id, members]: readonly (string | undefined)[],
    request: RestRequest,
  ): RestAnswer {
    if (members === 'phone_numbers') {
      const inside = numbers.filter(({ messaging_profile_id }) => messaging_profile_id === id)
      return pageOf(inside.map(showMessaging), request)
    }
    if (members === 'short_codes') return pageOf([], request)
    if (id !== undefined) return handleOne(collection, id, request)
    if (request.method === 'POST') {
      const missing = collection.required?.find((name) => !(name in request.body))
      if (missing !== undefined) return errorAnswer(422, `/${missing}`)
      const made = collection.make(request.body)
      collection.rows.push(made)
      return { status: 200, body: { data: collection.show(made) } }
    }
    const found = collection.rows.filter((row) => collection.filter(row, request.query))
    return pageOf(found.map(collection.show), request)
  }

  function handleNumbers([id, part]: readonly (string | undefined)[], request: RestRequest) {
    const { method, query, body } = request
    if (id === undefined) {
      const number = query.get('filter[phone_number]')
      const connection = query.get('filter[connection_id]')
      const found = numbers
        .filter(({ phone_number }) => number === null || phone_number === number)
        .filter(({ connection_id }) => connection === null || connection_id === connection)
      return pageOf(found.map(showNumber), request)
    }
    const number = numbers.find((one) => one.id === id)
    if (number === undefined) return errorAnswer(404)
    const field = part === 'messaging' ? 'messaging_profile_id' : 'connection_id'
    if (method === 'PATCH' && field in body) {
      const wanted = String(body[field] ?? '') || null
      const targets = part === 'messaging' ? profiles : [...applications, ...connections]
      const isKnown = wanted === null || targets.some((one) => one.id === wanted)
      if (!isKnown) return errorAnswer(422, `/${field}`)
      number[field] = wanted
    }
    const show = part === 'messaging' ? showMessaging : showNumber
    return { status: 200, body: { data: show(number) } }
  }

  const standIn = await startRestStandIn({
    errorBody,
    authorize: ({ headers }) =>
      headers.authorization === `Bearer ${apiKey}` ? undefined : errorAnswer(401),
    handle(request) {
      const [, version, kind = '', ...rest] = request.path.split('/')
      if (version !== 'v2') return errorAnswer(404)
      if (kind === 'phone_numbers') return handleNumbers(rest, request)
      if (kind === 'connections') {
        const found = connections.find(({ id }) => id === rest[0])
        return found ? { status: 200, body: { data: found } } : errorAnswer(404)
      }
      const collection = collections[kind] as Collection<{ id: string }> | undefined
      return collection ? handleCollection(collection, rest, request) : errorAnswer(404)
    },
  })

  function numberOf(phoneNumber: string): TelnyxRestNumber {
    const number = numbers.find((one) => one.phone_number === phoneNumber)
    if (number === undefined) throw new Error(`no number ${phoneNumber}`)
    return number
  }
  function add<T>(rows: T[], row: T): T {
    rows.push(row)
    return row
  }

  return Object.assign(standIn, {
    ...{ baseUrl: `${standIn.url}/v2`, profiles, applications },
    addNumber: (phoneNumber: string, fields: Partial<TelnyxRestNumber> = {}) =>
      add(numbers, {
        ...{ id: String(2_000_000_000 + numbers.length), phone_number: phoneNumber },
        ...{ status: 'active', connection_id: null, messaging_profile_id: null, ...fields },
      }),
    addProfile: (fields: Partial<TelnyxRestProfile> = {}) => add(profiles, newProfile(fields)),
    addApplication: (fields: Partial<TelnyxRestApplication> = {}) =>
      add(applications, newApplication(fields)),
    addConnection: (fields: Partial<TelnyxRestConnection> = {}) =>
      add(connections, {
        ...{ id: randomUUID(), connection_name: 'A trunk', record_type: 'credential_connection' },
        ...fields,
      }),
    smsGoesTo: (phoneNumber: string) =>
      profiles.find(({ id }) => id === numberOf(phoneNumber).messaging_profile_id)?.webhook_url ??
      null,
    voiceGoesTo: (phoneNumber: string) =>
      applications.find(({ id }) => id === numberOf(phoneNumber).connection_id)
        ?.webhook_event_url ?? null,
  })
}
