import { type LookupAddress, type LookupAllOptions, lookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import type { EgressRules } from '@switchhook/core/egress-rules'
import { Agent, buildConnector } from 'undici'

/** Thrown before a byte is sent: the address is one that deliveries must not reach. */
export class BlockedAddressError extends Error {
  override readonly name = 'BlockedAddressError'
  readonly code = 'EBLOCKED'
}

export const CONNECT_TIMEOUT_MS = 5_000
const MAX_CONNECTIONS_PER_ORIGIN = 256
const KEEP_ALIVE_MS = 15_000
const MAX_HEADER_BYTES = 16_384

/** Of every connection to a destination, whichever way it takes. */
export const TLS_OPTIONS: buildConnector.BuildOptions = {
  timeout: CONNECT_TIMEOUT_MS,
  minVersion: 'TLSv1.2',
  // Node's default, but for NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment.
  rejectUnauthorized: true,
  // One connection is one attempt's: a reset must not take a hundred others with it.
  allowH2: false,
  maxCachedSessions: 5_000,
}

/** As `dns.lookup` with `all`. */
export type ResolveHost = (
  host: string,
  options: LookupAllOptions,
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void

export type AddressRules = Pick<EgressRules, 'isBlockedAddress'>

export function blocked(): BlockedAddressError {
  return new BlockedAddressError('the address is not one that deliveries may reach')
}

/** The host of a URL without the brackets of an IPv6 literal. */
export function hostOf({ hostname }: buildConnector.Options): string {
  return hostname.replace(/^\[|\]$/g, '')
}

/**
 * A name is judged by all the addresses it has, and exactly those are handed on: asked again, the resolver may answer
 * otherwise.
 */
export function guardLookup(rules: AddressRules, resolve: ResolveHost): LookupFunction {
  return (host, options, callback) => {
    resolve(host, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '')
      const [first] = addresses
      if (first === undefined || addresses.some(({ address }) => rules.isBlockedAddress(address))) {
        return callback(blocked(), '')
      }
      if (options.all === true) return callback(null, addresses)
      return callback(null, first.address, first.family)
    })
  }
}

/**
 * Connects to the destination itself, with the SSRF guard (runtime.md §5.2). Three checks, because each alone has a
 * hole: a literal address never comes to `lookup`; a name is judged where it is looked up; the peer of the finished
 * connection is looked at again.
 */
function createDirectConnector(
  rules: AddressRules,
  resolve: ResolveHost,
): buildConnector.connector {
  const connect = buildConnector({ ...TLS_OPTIONS, lookup: guardLookup(rules, resolve) })
  return (options, callback) => {
    const host = hostOf(options)
    if (isIP(host) !== 0 && rules.isBlockedAddress(host)) return callback(blocked(), null)
    connect(options, (...result) => {
      const [error, socket] = result
      if (error === null && rules.isBlockedAddress(socket.remoteAddress ?? '')) {
        socket.destroy()
        return callback(blocked(), null)
      }
      callback(...result)
    })
  }
}

/** undici's agent for everything that goes to destinations; `connect` in place of going there directly. */
export function createEgressAgent(
  rules: AddressRules,
  resolve: ResolveHost = lookup,
  connect: buildConnector.connector = createDirectConnector(rules, resolve),
): Agent {
  return new Agent({
    connect,
    connections: MAX_CONNECTIONS_PER_ORIGIN,
    pipelining: 1,
    allowH2: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: 60_000,
    maxHeaderSize: MAX_HEADER_BYTES,
    // The total deadline is the attempt's own (post-event.ts); these only bound a socket that nobody waits for.
    headersTimeout: 60_000,
    bodyTimeout: 60_000,
  })
}
