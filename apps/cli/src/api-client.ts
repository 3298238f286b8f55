import { request } from 'undici'

export type ApiClient = {
  /** Throws with the answer's text when the status is not 2xx. */
  call<T>(method: 'GET' | 'POST' | 'PATCH', path: string, body?: unknown): Promise<T>
}

const TIMEOUT_MS = 10_000

/** The management API of the ingress at `baseUrl`, as one key sees it. */
export function createApiClient(baseUrl: string, apiKey: string): ApiClient {
  return {
    async call<T>(method: 'GET' | 'POST' | 'PATCH', path: string, body?: unknown): Promise<T> {
      const response = await request(baseUrl + path, {
        method,
        headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
        signal: AbortSignal.timeout(TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const text = await response.body.text()
      if (response.statusCode > 299) {
        throw new Error(`${method} ${path} answered ${response.statusCode}: ${text}`)
      }
      return JSON.parse(text) as T
    },
  }
}
