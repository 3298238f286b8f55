import { request } from 'undici'
import { sendAgain } from './send-again.ts'

export type ApiAnswer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

type Method = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'

/** One key's view of the management API. */
export type Api = {
  /** Whatever the answer is. */
  send(method: Method, path: string, body?: unknown): Promise<ApiAnswer>
  /** The answer's JSON; asks again after a 503, as that says. Throws with its text when the status is not 2xx. */
  call<T>(method: Method, path: string, body?: unknown): Promise<T>
  /** All pages of a list. */
  list<T>(path: string): Promise<T[]>
}

const TIMEOUT_MS = 30_000
const PAGE = 200

type Page<T> = { readonly items: readonly T[]; readonly next_cursor: string | null }

/** `baseUrl` is asked at each call: an ingress that was started again has another port. */
export function createApi(baseUrl: () => string, apiKey: string): Api {
  const api: Api = {
    async send(method, path, body) {
      const response = await request(baseUrl() + path, {
        method,
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const { statusCode: status, headers } = response
      return { status, headers, text: await response.body.text() }
    },
    async call<T>(method: Method, path: string, body?: unknown): Promise<T> {
      const { status, text } = await sendAgain(() => api.send(method, path, body))
      if (status > 299) throw new Error(`${method} ${path} answered ${status}: ${text}`)
      return JSON.parse(text) as T
    },
    async list<T>(path: string): Promise<T[]> {
      const items: T[] = []
      let cursor: string | null = null
      do {
        const url = new URL(path, 'http://x')
        url.searchParams.set('limit', String(PAGE))
        if (cursor !== null) url.searchParams.set('cursor', cursor)
        const page: Page<T> = await api.call('GET', url.pathname + url.search)
        items.push(...page.items)
        cursor = page.next_cursor
      } while (cursor !== null)
      return items
    },
  }
  return api
}

/** Of a delivery, what the tests look at. */
export type ApiDelivery = {
  readonly id: string
  readonly event_id: string
  readonly destination_id: string
  readonly state: 'pending' | 'delivered' | 'emailed' | 'given_up' | 'expired' | 'cancelled'
  readonly attempts: readonly ApiAttempt[]
}

export type ApiAttempt = {
  readonly attempt: number
  readonly outcome: string
  readonly response_status_code: number | null
}
