import { type RawBuilder, sql } from 'kysely'
import type { SpoolItem } from '../spool.ts'

/** The ways in which a number is written into columns: E.164, and without its plus. */
export function spellingsOf(phoneNumber: string): string[] {
  return [phoneNumber, digitsOf(phoneNumber)]
}

const digitsOf = (phoneNumber: string): string => phoneNumber.replace('+', '')

/**
 * A regular expression of Postgres for the number's digits, alone or with an international prefix, but not within
 * longer ones. What is a digit only because it belongs to an escape of JSON, of a URL or of Postgres's own `escape`
 * encoding does not count.
 */
function patternOf(phoneNumber: string): string {
  const before = String.raw`(^|[^0-9]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[0-7]{3})(00|0011)?`
  return `${before}${digitsOf(phoneNumber)}([^0-9]|$)`
}

/** Does a text column name the person? The cheap look comes first. */
export function textMentions(column: string, phoneNumber: string): RawBuilder<boolean> {
  const text = sql.ref(column)
  return sql<boolean>`(position(${digitsOf(phoneNumber)}::text in ${text}) > 0
    and ${text} ~ ${patternOf(phoneNumber)}::text)`
}

/** Does a bytea column name the person? Any bytes will do. */
export function bytesMention(column: string, phoneNumber: string): RawBuilder<boolean> {
  const bytes = sql.ref(column)
  return sql<boolean>`(position(${Buffer.from(digitsOf(phoneNumber))}::bytea in ${bytes}) > 0
    and encode(${bytes}, 'escape') ~ ${patternOf(phoneNumber)}::text)`
}

/** A text column with the number replaced. */
export function withoutNumber(column: string, phoneNumber: string): RawBuilder<string> {
  return sql<string>`replace(${sql.ref(column)}, ${digitsOf(phoneNumber)}::text, '[erased]')`
}

/** The same in this process. Bytes are taken as Latin-1, in which all of them are characters. */
function mentions(text: string | Buffer | null, phoneNumber: string): boolean {
  const before = String.raw`(?:^|[^0-9]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4})(?:00|0011)?`
  const pattern = new RegExp(`${before}${digitsOf(phoneNumber)}(?![0-9])`)
  return text !== null && pattern.test(typeof text === 'string' ? text : text.toString('latin1'))
}

/** Whether what Postgres refused names the person. What cannot be read may be anybody's. */
export function isAboutNumber(
  item: SpoolItem,
  organizationId: string,
  phoneNumber: string,
): boolean {
  if (item.kind === 'unreadable') return mentions(item.text, phoneNumber)
  if (item.kind === 'event') {
    const { event } = item.entry
    const isTheirs = spellingsOf(phoneNumber).includes(event.peerNumber ?? '')
    const isNamed = isTheirs || mentions(event.payload, phoneNumber)
    return event.organizationId === organizationId && isNamed
  }
  if (item.kind === 'quarantined') {
    const { row } = item
    const texts = [row.target, row.body, ...row.claimedNumbers]
    return row.organizationId === organizationId && texts.some((one) => mentions(one, phoneNumber))
  }
  const { organizationId: owner, attempt } = item.record
  const request = Buffer.from(attempt?.requestBodyBase64 ?? '', 'base64')
  const isNamed = [request, attempt?.responseBody ?? null].some((one) => mentions(one, phoneNumber))
  return owner === organizationId && isNamed
}
