import type { ApiDeps } from './api-deps.ts'
import { invalidField } from './api-error.ts'

/** The URL as it is stored, or null when there is none. Throws `ApiError` 422 about `field` for one that may not be called. */
export function checkUrl<Url extends string | null>(
  { egress, publicBaseUrl }: Pick<ApiDeps, 'egress' | 'publicBaseUrl'>,
  field: string,
  text: Url,
): Url extends string ? string : string | null
export function checkUrl(
  { egress, publicBaseUrl }: Pick<ApiDeps, 'egress' | 'publicBaseUrl'>,
  field: string,
  text: string | null,
): string | null {
  if (text === null) return null
  const result = egress.checkUrl(text)
  if (!result.ok) throw invalidField([field], result.detail)
  // A webhook of ours that is a webhook to us would go round for ever.
  if (new URL(result.url).origin === new URL(publicBaseUrl).origin) {
    throw invalidField([field], 'The URL must not point back to this gateway')
  }
  return result.url
}
