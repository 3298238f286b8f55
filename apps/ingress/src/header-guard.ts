import type { NextFunction, Request, Response } from 'express'

const MAX_HEADERS = 100

/** Two of them, and it depends on who reads which one is meant. */
const ONLY_ONCE = new Set([
  ...['host', 'authorization', 'content-type', 'x-api-key', 'x-twilio-signature'],
  ...['telnyx-signature-ed25519', 'telnyx-timestamp', 'x-transmitsms-signature'],
])

/**
 * Refuses what Node would let through in a shape nobody signed: floods of headers, and repeated ones that decide what
 * a request means. Looks at rawHeaders, because `headers` has joined or dropped the repetitions already.
 */
export function guardHeaders(request: Request, response: Response, next: NextFunction): void {
  const { rawHeaders } = request
  if (rawHeaders.length / 2 > MAX_HEADERS) {
    response.status(431).set('connection', 'close')
    response.json({ detail: `More than ${MAX_HEADERS} headers.` })
    return
  }
  const seen = new Set<string>()
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? ''
    if (!ONLY_ONCE.has(name)) continue
    if (seen.has(name)) {
      response.status(400).json({ detail: `The ${name} header is given twice.` })
      return
    }
    seen.add(name)
  }
  if (!seen.has('host')) {
    response.status(400).json({ detail: 'The host header is missing.' })
    return
  }
  next()
}
