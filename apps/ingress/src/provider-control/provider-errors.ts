const MAX_DESCRIPTION_CHARACTERS = 500

/** The number's messages or calls go through something that this change may not touch; the message names it. */
export class ProviderObstacle extends Error {
  override readonly name = 'ProviderObstacle'
}

/** No account of the organization has the number. */
export class NumberNotAtProvider extends Error {
  override readonly name = 'NumberNotAtProvider'
}

/** A change that is to be taken back, but what the provider holds is no longer what the change has left there. */
export class ProviderStateChanged extends Error {
  override readonly name = 'ProviderStateChanged'
}

/** The provider refused or did not answer. `isUndone`: nothing is left of the change there. */
export class ProviderFailure extends Error {
  override readonly name = 'ProviderFailure'
  readonly isUndone: boolean
  /** `codeOf` what the provider's package threw. */
  readonly code: string

  constructor(message: string, isUndone: boolean, code: string) {
    super(message)
    this.isUndone = isUndone
    this.code = code
  }
}

/** An error of ours, with a sentence for a person already; every other one came from a provider's package. */
export function isProviderError(error: unknown): error is Error {
  return [ProviderObstacle, NumberNotAtProvider, ProviderStateChanged, ProviderFailure].some(
    (type) => error instanceof type,
  )
}

/** HTTP status of the answer that an error of either package tells of. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('status' in error)) return undefined
  return typeof error.status === 'number' ? error.status : undefined
}

/** Undefined for what is not there. */
export async function orUndefined<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (statusOf(error) === 404) return undefined
    throw error
  }
}

/** What a provider or Node calls an error, as far as it cannot be a number of a person. */
const SHORT_CODE = /^(\d{1,6}|E[A-Z_]{1,40})$/

/** For logs, which no phone number may be in: `status_400_21211`, `ECONNRESET` or the kind of the error. */
export function codeOf(error: unknown): string {
  if (error instanceof ProviderFailure) return error.code
  if (!(error instanceof Error)) return 'unknown'
  const status = statusOf(error)
  const code = 'code' in error ? String(error.code) : ''
  const known = SHORT_CODE.test(code) ? code : undefined
  if (status === undefined) return known ?? error.constructor.name
  return known === undefined ? `status_${status}` : `status_${status}_${known}`
}

/** One line for people, never for logs: the provider's words may quote numbers. The packages' errors hold the request and its credentials: only the message is used. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return 'an unknown error'
  const status = statusOf(error)
  const code = 'code' in error && error.code !== undefined ? `, code ${String(error.code)}` : ''
  const text = status === undefined ? error.message : `status ${status}${code}: ${error.message}`
  return text.replaceAll(/\s+/g, ' ').slice(0, MAX_DESCRIPTION_CHARACTERS)
}
