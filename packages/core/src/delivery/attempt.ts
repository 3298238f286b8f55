import type { Outcome } from '../event.ts'

/** What one HTTP request of a delivery came to. */
export type AttemptResult = {
  readonly outcome: Outcome
  readonly statusCode: number | null
  /** At most 10,240 characters, see `truncateBody`. */
  readonly responseBody: string | null
  readonly responseTimeMs: number
  /** A sentence for the tenant; null when delivered. */
  readonly error: string | null
  /** From a 429 or 503, as the destination asked; not yet clamped. */
  readonly retryAfterMs: number | null
  /** It went out on a kept-alive connection that ended without an answer: it was probably closed before it got there. */
  readonly wasClosedUnderUs?: boolean
  /** Nothing reached the destination, and that is not its doing (own-fault.ts): charged to nobody, sent again later. */
  readonly isOurFault?: boolean
  /** This worker is stopping and did not wait for the answer: it counts, but tells nothing about the destination. */
  readonly wasCutOff?: boolean
}

/** What is said of an attempt whose worker died, or could not wait for its end any longer. */
export const CUT_OFF =
  'The worker stopped during this attempt; whether the destination got it is not known.'

const MAX_LOGGED_CHARACTERS = 10_240
const MARKER = '... [TRUNCATED]'

/** At most 10,240 characters and a short marker, never half a character (contract, Fine print 11); no NUL, which Postgres text refuses. */
export function truncateBody(text: string): string {
  const clean = text.replaceAll('\0', '\uFFFD')
  if (clean.length <= MAX_LOGGED_CHARACTERS) return clean.toWellFormed()
  const cut = clean.slice(0, MAX_LOGGED_CHARACTERS)
  const lastUnit = cut.charCodeAt(cut.length - 1)
  const endsInHalf = lastUnit >= 0xd800 && lastUnit <= 0xdbff
  return (endsInHalf ? cut.slice(0, -1) : cut).toWellFormed() + MARKER
}

/** Does this status mean the destination took it? */
export function isSuccess(rule: '2xx' | 'exact_200', statusCode: number): boolean {
  return rule === 'exact_200' ? statusCode === 200 : statusCode >= 200 && statusCode <= 299
}
