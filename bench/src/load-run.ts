/** What the load generator is asked, and what it answers. */

export type LoadRequest =
  /** Signs this many more messages. Answered with `{ bodyBytes }`. */
  | { readonly kind: 'prepare'; readonly count: number }
  /** A fixed rate of arrival, whatever the server does. Answered with LoadRun. */
  | { readonly kind: 'open'; readonly port: number; readonly rate: number; readonly count: number }
  /** As fast as the server answers, with so many requests in flight. Answered with LoadRun. */
  | {
      readonly kind: 'closed'
      readonly port: number
      readonly inFlight: number
      readonly count: number
    }

export type LoadRun = {
  /** The first message's number; the others follow. */
  readonly firstSequence: number
  /** When each request should have been sent, and, closed loop, was; ms since 1970. */
  readonly intendedAtMs: Float64Array
  /** When its whole answer had come; NaN without one. */
  readonly answeredAtMs: Float64Array
  /** 0 without an answer. */
  readonly statuses: Uint16Array
}
