import { isReservedHeader } from '@switchhook/core/delivery/reserved-headers'
import { z } from 'zod'

const MAX_HEADERS = 20
const MAX_BYTES = 4096

/** RFC 9110 §5.6.2 */
const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/
/** Visible ASCII, spaces only inside: what every server reads alike. */
const VALUE = /^[\x21-\x7e]([\x20-\x7e]{0,2046}[\x21-\x7e])?$/

function findFault(headers: Readonly<Record<string, string>>): string | undefined {
  const entries = Object.entries(headers)
  if (entries.length > MAX_HEADERS) return `At most ${MAX_HEADERS} headers`
  const seen = new Set<string>()
  let bytes = 0
  for (const [written, value] of entries) {
    const name = written.toLowerCase()
    if (!TOKEN.test(written)) return 'A header name must be a token of at most 100 characters'
    if (isReservedHeader(name)) return 'Headers that the gateway or HTTP sets itself cannot be set'
    if (!VALUE.test(value)) return 'A header value must be visible ASCII, at most 2048 characters'
    if (seen.has(name)) return 'A header is given twice'
    seen.add(name)
    bytes += written.length + value.length
  }
  return bytes > MAX_BYTES ? `All headers together must be at most ${MAX_BYTES} bytes` : undefined
}

/** The headers of its own that a destination gets. Nothing that could end a header or change the request passes. */
export const customHeadersSchema = z
  .record(z.string(), z.string())
  .superRefine((headers, context) => {
    const message = findFault(headers)
    if (message !== undefined) context.addIssue({ code: 'custom', message })
  })
