import { hash } from 'node:crypto'
import type { EventContent } from './provider.ts'

const NOTHING = {
  messageId: '',
  from: '',
  to: '',
  body: '',
  mediaUrls: [],
  phoneNumber: null,
  peerNumber: null,
  callSid: null,
  status: '',
  messageStatus: null,
  errorCode: '',
  order: null,
  messageRef: '',
  campaignId: '',
  occurredAt: null,
  data: {},
} as const satisfies Omit<EventContent, 'type' | 'dedupeKey'>

/** Everything that is not given is empty. */
export function createContent(
  fields: Pick<EventContent, 'type' | 'dedupeKey'> & Partial<EventContent>,
): EventContent {
  return { ...NOTHING, ...fields }
}

/** The bytes are the identity of what has no other: a copy has the same. */
export function keyOfBytes(payload: Buffer): string {
  return `sha256.${hash('sha256', payload, 'hex')}`
}

/** The fields that say something. */
export function stated(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const says = (value: unknown) => value !== undefined && value !== null && value !== ''
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => says(value)))
}

const RFC_3339 = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:?\d\d)$/i
const RFC_2822 = /^\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d ([+-]\d{4}|GMT|UTC)$/

/** ISO 8601 in UTC, to the millisecond, of a time that names its zone; null for anything else. */
export function toUtc(text: string): string | null {
  if (!RFC_3339.test(text) && !RFC_2822.test(text)) return null
  const ms = Date.parse(text)
  const utc = Number.isNaN(ms) ? '' : new Date(ms).toISOString()
  // A zone may carry the last day of the year 9999 into a year of six digits.
  return /^\d{4}-/.test(utc) ? utc : null
}

/** Rounded; undefined when one of the two is not known, or they stand the wrong way round. */
export function secondsBetween(start: string | null, end: string | null): number | undefined {
  if (start === null || end === null) return undefined
  const seconds = Math.round((Date.parse(end) - Date.parse(start)) / 1000)
  return seconds >= 0 ? seconds : undefined
}

/** Of digits alone; undefined for anything else. */
export function wholeNumber(text: string): number | undefined {
  return /^\d{1,12}$/.test(text) ? Number(text) : undefined
}
