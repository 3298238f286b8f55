import { request } from 'undici'

/** One HTTP request as a provider makes it; `target` is the path with its query. */
export type ProviderRequest = {
  readonly method: 'GET' | 'POST'
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

export type ProviderAnswer = {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

/** Twilio's limits: www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides and error 11750. */
const TIMEOUT_MS = 15_000
const MAX_ANSWER_BYTES = 64 * 1024

/**
 * Sends it, redirects not followed. Throws if there is no whole answer within `timeoutMs` (15 s unless told) or if the
 * answer is longer than 64 KB.
 */
export async function sendWebhook(
  baseUrl: string,
  { method, target, headers, body }: ProviderRequest,
  timeoutMs: number = TIMEOUT_MS,
): Promise<ProviderAnswer> {
  const response = await request(baseUrl + target, {
    method,
    headers,
    signal: AbortSignal.timeout(timeoutMs),
    ...(body === undefined ? {} : { body }),
  })
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer exceeds ${MAX_ANSWER_BYTES} bytes`)
    chunks.push(chunk)
  }
  const { statusCode: status } = response
  return { status, headers: response.headers, text: Buffer.concat(chunks).toString('utf8') }
}

/** `authorization` of HTTP Basic. */
export function basicAuthorization({ username, password }: BasicCredentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

export type BasicCredentials = { readonly username: string; readonly password: string }
