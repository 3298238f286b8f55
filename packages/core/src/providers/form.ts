import { parse } from 'node:querystring'
import { MalformedPayloadError } from './provider.ts'

export const FORM = 'application/x-www-form-urlencoded'
/** Providers send a few dozen; sorting a hundred thousand would block everybody else. */
const MAX_PARAMETERS = 1_000
const AMPERSAND = 0x26

export type Params = Readonly<Record<string, string | string[] | undefined>>

/**
 * Every name and value as they were sent. `querystring` keeps bracket names flat, has no prototype to pollute,
 * and with maxKeys 0 drops nothing; `qs` and URLSearchParams would not verify.
 */
export function parseForm(body: Buffer): Params {
  return parse(body.toString('utf8'), '&', '=', { maxKeys: 0 })
}

/** As `parseForm`. Throws `MalformedPayloadError` before anything is parsed when there are more than 1,000 parameters. */
export function parseBoundedForm(body: Buffer): Params {
  let count = 1
  for (let at = body.indexOf(AMPERSAND); at !== -1; at = body.indexOf(AMPERSAND, at + 1)) count += 1
  if (count > MAX_PARAMETERS) throw new MalformedPayloadError('more than 1,000 parameters')
  return parseForm(body)
}

/** The first value of a name; empty when there is none. */
export function first(params: Params, name: string): string {
  const value = params[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** `type/subtype` in lower case, without parameters. */
export function mediaTypeOf(contentType: string | undefined): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

export function isForm(contentType: string | undefined): boolean {
  return mediaTypeOf(contentType) === FORM
}

/** What stands after the `?` of a URL, byte for byte. */
export function queryOf(url: string): Buffer {
  const start = url.indexOf('?')
  return Buffer.from(start === -1 ? '' : url.slice(start + 1))
}
