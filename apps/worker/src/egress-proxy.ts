import { lookup } from 'node:dns'
import { type ClientRequest, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type Socket } from 'node:net'
import { buildConnector } from 'undici'
import {
  type AddressRules,
  blocked,
  CONNECT_TIMEOUT_MS,
  guardLookup,
  hostOf,
  type ResolveHost,
  TLS_OPTIONS,
} from './egress-agent.ts'

/** The proxy itself is away, or will not have us: nothing of it is the destination's doing. */
export class EgressProxyError extends Error {
  override readonly name = 'EgressProxyError'
  readonly code = 'EPROXY'
}

/** The proxy works but could not connect to the destination (502, 503, 504 and the like). */
export class ProxiedConnectError extends Error {
  override readonly name = 'ProxiedConnectError'
  readonly code = 'EPROXIED'
}

/** To give up on the proxy's answer; it may itself be waiting for the destination. */
const TUNNEL_TIMEOUT_MS = 15_000

type Settle = (error: Error | null, socket: Socket | null) => void

/** What the answer to CONNECT means when it is not 2xx. */
function faultOf(statusCode: number): Error {
  if (statusCode === 403) return blocked()
  if (statusCode >= 500) return new ProxiedConnectError(`the proxy answered ${statusCode}`)
  return new EgressProxyError(`the proxy answered ${statusCode}`)
}

/** A tunnel through the proxy (RFC 9110 §9.3.6) to `authority`, `host:port`. */
function openTunnel(proxy: URL, authority: string, settle: Settle): void {
  const send = proxy.protocol === 'https:' ? requestHttps : requestHttp
  const credentials = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
  const authorization = `Basic ${Buffer.from(credentials).toString('base64')}`
  let isConnected = false
  const request: ClientRequest = send({
    host: hostOf({ hostname: proxy.hostname, protocol: proxy.protocol, port: proxy.port }),
    port: proxy.port === '' ? (proxy.protocol === 'https:' ? 443 : 80) : Number(proxy.port),
    method: 'CONNECT',
    path: authority,
    headers: {
      host: authority,
      ...(proxy.username === '' ? {} : { 'proxy-authorization': authorization }),
    },
    agent: false,
    rejectUnauthorized: true, // whatever NODE_TLS_REJECT_UNAUTHORIZED says
  })
  const connecting = setTimeout(() => {
    if (!isConnected)
      request.destroy(new EgressProxyError('the proxy could not be reached in time'))
  }, CONNECT_TIMEOUT_MS)
  const answering = setTimeout(() => {
    request.destroy(new ProxiedConnectError('the proxy did not answer in time'))
  }, TUNNEL_TIMEOUT_MS)
  let isSettled = false
  const finish: Settle = (error, socket) => {
    clearTimeout(connecting)
    clearTimeout(answering)
    if (!isSettled) settle(error, socket)
    isSettled = true
  }
  request.once('socket', (socket) => {
    socket.once(proxy.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
      isConnected = true
    })
  })
  // Told for every answer to CONNECT, whatever its status.
  request.once('connect', ({ statusCode = 0 }, socket, head) => {
    socket.on('error', () => undefined)
    if (statusCode >= 200 && statusCode <= 299 && head.length === 0) return finish(null, socket)
    socket.destroy()
    finish(faultOf(statusCode), null)
  })
  request.on('error', (error) => {
    const isOwn = error instanceof EgressProxyError || error instanceof ProxiedConnectError
    finish(isOwn ? error : new EgressProxyError('the proxy failed', { cause: error }), null)
  })
  request.end()
}

/**
 * Connects through an HTTP proxy by CONNECT, for http:// destinations, too. Addresses are judged here first: the tunnel
 * is asked for to the very address that was judged. A name that this machine cannot look up is left to the proxy, which
 * is often the only one with a resolver, and whose own rules then decide.
 */
export function createProxyConnector(
  proxyUrl: string,
  rules: AddressRules,
  resolve: ResolveHost = lookup,
): buildConnector.connector {
  const proxy = new URL(proxyUrl)
  const guardedLookup = guardLookup(rules, resolve)
  const upgrade = buildConnector(TLS_OPTIONS)

  function connectTo(
    target: string,
    options: buildConnector.Options,
    callback: buildConnector.Callback,
  ): void {
    const port = options.port || (options.protocol === 'https:' ? '443' : '80')
    const host = isIP(target) === 6 ? `[${target}]` : target
    openTunnel(proxy, `${host}:${port}`, (error, socket) => {
      if (socket === null) return callback(error ?? new EgressProxyError('no tunnel'), null)
      if (options.protocol !== 'https:') return callback(null, socket)
      upgrade({ ...options, httpSocket: socket }, callback)
    })
  }

  return (options, callback) => {
    const host = hostOf(options)
    if (isIP(host) !== 0) {
      if (rules.isBlockedAddress(host)) return callback(blocked(), null)
      return connectTo(host, options, callback)
    }
    guardedLookup(host, { all: true }, (error, addresses) => {
      if (error !== null && 'code' in error && error.code === 'EBLOCKED') {
        return callback(error, null)
      }
      // A proxy has IPv4 for certain.
      const found = typeof addresses === 'string' ? [] : addresses
      const best = found.find(({ family }) => family === 4) ?? found[0]
      connectTo(error === null && best !== undefined ? best.address : host, options, callback)
    })
  }
}
