import type { TelnyxCredentials } from '@switchhook/core/store/provider-credentials'
import Telnyx from 'telnyx'
import { orUndefined } from './provider-errors.ts'
import { type Fields, pickFields, type ResourceAccess } from './webhook-state.ts'

const BASE_URL = 'https://api.telnyx.com/v2'

/** The largest answer is a page of 250 numbers. */
const MAX_ANSWER_BYTES = 8 * 1024 * 1024

async function readBounded(response: Response): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The package's own timeout ends with the headers; this signal bounds the body as well. */
function boundedFetch(signal: AbortSignal): typeof fetch {
  return async (url, init) => {
    const signals = init?.signal ? [init.signal, signal] : [signal]
    const bounded = { ...init, signal: AbortSignal.any(signals), redirect: 'error' } as const
    const response = await fetch(url, bounded)
    const body = await readBounded(response)
    const { status, headers } = response
    return new Response(body.length === 0 ? null : new Uint8Array(body), { status, headers })
  }
}

/** A client of Telnyx's package for one operation; it never tries a request again. */
export function openTelnyx(
  { apiKey }: TelnyxCredentials,
  { baseUrl, timeoutMs }: { readonly baseUrl: string | undefined; readonly timeoutMs: number },
): Telnyx {
  return new Telnyx({
    apiKey,
    baseURL: baseUrl ?? BASE_URL,
    timeout: timeoutMs,
    maxRetries: 0,
    logLevel: 'off',
    fetch: boundedFetch(AbortSignal.timeout(timeoutMs)),
  })
}

export const TELNYX_NUMBER = 'phone_number'
export const TELNYX_NUMBER_MESSAGING = 'phone_number_messaging'
export const TELNYX_PROFILE = 'messaging_profile'
export const TELNYX_APPLICATION = 'call_control_application'

const PROFILE_FIELDS = ['webhook_url', 'webhook_failover_url', 'webhook_api_version']
const APPLICATION_FIELDS = [
  ...['application_name', 'webhook_event_url', 'webhook_event_failover_url'],
  'webhook_api_version',
]

type ById = {
  readonly fields: readonly string[]
  read(id: string): Promise<{ data?: object }>
  write(id: string, fields: Fields): Promise<unknown>
  create?(fields: Fields): Promise<{ data?: { id?: string } }>
  /** Whether a number has it. */
  isUsed?(id: string): Promise<boolean>
  remove?(id: string): Promise<unknown>
}

/** The fields are named as Telnyx names them. Telnyx takes an empty id for "none". */
export function telnyxResources(client: Telnyx): ResourceAccess {
  const { phoneNumbers, messagingProfiles, callControlApplications } = client
  const kinds: Readonly<Record<string, ById>> = {
    [TELNYX_NUMBER]: {
      fields: ['connection_id'],
      read: (id) => phoneNumbers.retrieve(id),
      write: (id, fields) =>
        phoneNumbers.update(id, { connection_id: String(fields.connection_id ?? '') }),
    },
    [TELNYX_NUMBER_MESSAGING]: {
      fields: ['messaging_profile_id'],
      read: (id) => phoneNumbers.messaging.retrieve(id),
      write: (id, fields) =>
        phoneNumbers.messaging.update(id, {
          messaging_profile_id: String(fields.messaging_profile_id ?? ''),
        }),
    },
    [TELNYX_PROFILE]: {
      fields: PROFILE_FIELDS,
      read: (id) => messagingProfiles.retrieve(id),
      write: (id, fields) => messagingProfiles.update(id, fields),
      create: (fields) =>
        messagingProfiles.create(fields as unknown as Telnyx.MessagingProfileCreateParams),
      async isUsed(id) {
        const { data } = await messagingProfiles.listPhoneNumbers(id)
        return data.length > 0
      },
      remove: (id) => messagingProfiles.delete(id),
    },
    [TELNYX_APPLICATION]: {
      fields: APPLICATION_FIELDS,
      read: (id) => callControlApplications.retrieve(id),
      // Telnyx wants the name and the URL with every change.
      write: (id, fields) =>
        callControlApplications.update(
          id,
          fields as unknown as Telnyx.CallControlApplicationUpdateParams,
        ),
      create: (fields) =>
        callControlApplications.create(
          fields as unknown as Telnyx.CallControlApplicationCreateParams,
        ),
      async isUsed(id) {
        const { data } = await phoneNumbers.list({ filter: { connection_id: id } })
        return data.some(({ connection_id }) => connection_id === id)
      },
      remove: (id) => callControlApplications.delete(id),
    },
  }
  function kindOf(resource: string): ById {
    const kind = kinds[resource]
    if (kind === undefined) throw new Error(`no such resource of Telnyx's: ${resource}`)
    return kind
  }
  return {
    async read(resource, id) {
      const kind = kindOf(resource)
      const data = (await orUndefined(kind.read(id)))?.data
      return data && pickFields({ ...data }, kind.fields)
    },
    async write(resource, id, fields) {
      await kindOf(resource).write(id, fields)
    },
    async create(resource, fields) {
      const made = await kindOf(resource).create?.(fields)
      if (made?.data?.id === undefined) throw new Error(`Telnyx made no ${resource}`)
      return made.data.id
    },
    async remove(resource, id) {
      const kind = kindOf(resource)
      if (await kind.isUsed?.(id)) throw new Error('other numbers use it by now')
      await kind.remove?.(id)
    },
  }
}
