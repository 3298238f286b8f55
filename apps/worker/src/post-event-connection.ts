import { subscribe } from 'node:diagnostics_channel'

/** What is known of the connection that one request went out on. */
export type ConnectionTrack = {
  /** The head of the request was written: a connection, and TLS where asked for, had come about. */
  isMade(): boolean
  /** It had carried another request before. */
  isReused(): boolean
}

/** How many requests each of undici's sockets has carried. */
const requestsOf = new WeakMap<object, number>()
/** By the body that was sent, which undici hands through: how many its socket had carried before. */
const carriedBefore = new WeakMap<object, number>()

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

// undici tells nobody else which socket a request gets; it publishes this as it writes the head.
subscribe('undici:client:sendHeaders', (message) => {
  if (!isObject(message) || !('socket' in message) || !('request' in message)) return
  const { socket, request } = message
  if (!isObject(socket) || !isObject(request) || !('body' in request)) return
  const carried = requestsOf.get(socket) ?? 0
  requestsOf.set(socket, carried + 1)
  if (isObject(request.body)) carriedBefore.set(request.body, carried)
})

/** Call it before the request is made. The body must be this request's own, and not empty. */
export function trackConnection(body: Buffer): ConnectionTrack {
  carriedBefore.delete(body)
  return {
    isMade: () => carriedBefore.has(body),
    isReused: () => (carriedBefore.get(body) ?? 0) > 0,
  }
}
