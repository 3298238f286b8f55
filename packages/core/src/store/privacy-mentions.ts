import { type RawBuilder, sql } from 'kysely'
import type { SpoolItem } from '../spool.ts'

/**
 * What may stand between two digits: spaces, dots, dashes, slashes and parentheses, as they are or in an escape of JSON,
 * of a URL (whose `+` is a space) or of Postgres's own `escape` encoding; beyond ASCII any character, for the many spaces
 * and dashes there.
 */
const BETWEEN = [
  String.raw`[ \t./()+\u0080-\uffff-]`,
  '%2[089DEFdef]|%[89A-Fa-f][0-9A-Fa-f]',
  String.raw`\\+/|\\u[0-9A-Fa-f]{4}|\\[23][0-7]{2}`,
].join('|')
const GAP = `(?:${BETWEEN})*`

const MAX_COUNTRY_CODE = 3
const MIN_NATIONAL = 8

/**
 * A regular expression, of Postgres and of JavaScript, for all ways in which the number is written: with an
 * international prefix or none, with `(0)` after the country code, or nationally with 0 in place of it; of how many
 * digits that code is, is not known. Not within longer runs of digits. What is a digit only because it belongs to an
 * escape does not count. The first group is what stands before it.
 */
function patternOf(phoneNumber: string): string {
  const digits = [...phoneNumber.replace('+', '')]
  const before = String.raw`(^|[^0-9]|%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\[0-7]{3})`
  const codes = Math.min(MAX_COUNTRY_CODE, digits.length - MIN_NATIONAL)
  let international = '(?:00|0011)?'
  let national = ''
  for (const [index, digit] of digits.entries()) {
    if (index >= codes) break
    international += `${digit}${GAP}${String.raw`(?:(?:\(|%28)0(?:\)|%29)`}${GAP})?`
    // Of a code of one digit all the others remain, of one of two all but the next one, ...
    if (index > 0) national = `(?:${national}${digit}${GAP})?`
  }
  const head = codes > 0 ? `(?:${international}|0${GAP}${national})` : international
  return `${before}${head}${digits.slice(Math.max(codes, 0)).join(GAP)}(?![0-9])`
}

/** Does a text column name the person? */
export function textMentions(column: string, phoneNumber: string): RawBuilder<boolean> {
  return sql<boolean>`coalesce(${sql.ref(column)} ~ ${patternOf(phoneNumber)}::text, false)`
}

/** Does one of the texts of an array name the person? */
export function anyMentions(column: string, phoneNumber: string): RawBuilder<boolean> {
  const text = sql`array_to_string(${sql.ref(column)}, ', ')`
  return sql<boolean>`coalesce(${text} ~ ${patternOf(phoneNumber)}::text, false)`
}

/** Does a bytea column name the person? Any bytes will do. */
export function bytesMention(column: string, phoneNumber: string): RawBuilder<boolean> {
  const text = sql`encode(${sql.ref(column)}, 'escape')`
  return sql<boolean>`coalesce(${text} ~ ${patternOf(phoneNumber)}::text, false)`
}

/** A text column with the number replaced. */
export function withoutNumber(column: string, phoneNumber: string): RawBuilder<string> {
  return sql<string>`regexp_replace(${sql.ref(column)}, ${patternOf(phoneNumber)}::text, ${'\\1[erased]'}::text, 'g')`
}

/** A column of a number, or null where it is the person's. */
export function nullIfTheirs(column: string, phoneNumber: string): RawBuilder<string | null> {
  return sql`case when ${textMentions(column, phoneNumber)} then null else ${sql.ref(column)} end`
}

/** The same in this process. */
export function masked(text: string, phoneNumber: string, placeholder: string): string {
  return text.replace(new RegExp(patternOf(phoneNumber), 'g'), `$1${placeholder}`)
}

/** Bytes are taken as Latin-1, in which all of them are characters. */
function mentions(text: string | Buffer | null, phoneNumber: string): boolean {
  const pattern = new RegExp(patternOf(phoneNumber))
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
    const texts = [event.peerNumber, event.callSid, event.payload]
    const isNamed = texts.some((one) => mentions(one, phoneNumber))
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
