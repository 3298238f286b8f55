import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { createCertificate } from '@switchhook/testing/certificates'
import { type ConnectProxy, startConnectProxy } from '@switchhook/testing/connect-proxy'
import { type Receiver, startReceiver } from '@switchhook/testing/receiver'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createEgressAgent, type ResolveHost } from './egress-agent.ts'
import { createProxyConnector } from './egress-proxy.ts'
import { postEvent } from './post-event.ts'

const HOST = 'customer.example'
const loopback = createEgressRules({ allowedCidrs: ['127.0.0.0/8'], allowHttp: true })
const strict = createEgressRules({ allowedCidrs: [], allowHttp: true })

let receiver: Receiver
let proxy: ConnectProxy
beforeAll(async () => {
  receiver = await startReceiver()
})
beforeEach(async () => {
  receiver.clear()
  proxy = await startConnectProxy()
  onTestFinished(() => proxy.stop())
})
afterAll(() => receiver.stop())

const resolveTo =
  (...addresses: readonly string[]): ResolveHost =>
  (_host, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
const unresolvable: ResolveHost = (_host, _options, callback) =>
  callback(Object.assign(new Error('no such host'), { code: 'ENOTFOUND' }), [])

type Through = { proxyUrl?: string; rules?: typeof strict; resolve?: ResolveHost }

function post(url: string, { proxyUrl = proxy.url, rules = loopback, resolve }: Through = {}) {
  const agent = createEgressAgent(rules, resolve, createProxyConnector(proxyUrl, rules, resolve))
  onTestFinished(() => agent.destroy())
  const request = { url, headers: { 'x-own': 'a' }, body: Buffer.from('{"a":1}') }
  return postEvent(agent, { ...request, timeoutMs: 20_000, successRule: '2xx' })
}

describe('deliveries through a proxy', () => {
  it('are not asked of one over TLS that cannot be verified, whatever NODE_TLS_REJECT_UNAUTHORIZED says', async () => {
    const asked: (string | undefined)[] = []
    const server = createServer(createCertificate({ hosts: ['127.0.0.1'] }))
    server.on('tlsClientError', () => undefined)
    server.on('connect', ({ url }, socket) => {
      asked.push(url)
      socket.end('HTTP/1.1 403 No\r\n\r\n')
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    onTestFinished(() => {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
      server.closeAllConnections()
      server.close()
    })
    const { port } = server.address() as AddressInfo
    const result = await post(receiver.url, { proxyUrl: `https://127.0.0.1:${port}` })
    expect(result).toMatchObject({ isOurFault: true })
    expect(asked).toEqual([])
  })

  it('reach a destination over plain http by CONNECT, and the proxy sees nothing of the request', async () => {
    const result = await post(`${receiver.url}/hook`)
    expect(result).toMatchObject({ outcome: 'delivered', statusCode: 200 })
    expect(proxy.asked).toEqual([`127.0.0.1:${receiver.port}`])
    const [request] = receiver.received
    expect(request).toMatchObject({ path: '/hook', headers: { 'x-own': 'a' } })
    expect(
      Object.keys(request?.headers ?? {}).filter((name) => /proxy|via|forward/.test(name)),
    ).toEqual([])
  })

  it('reach a destination over TLS, whose certificate is for its name although its address is asked for', async () => {
    const authority = createCertificate({ hosts: ['authority.example'], isAuthority: true })
    const defaults = getCACertificates('default')
    setDefaultCACertificates([...defaults, authority.cert])
    onTestFinished(() => setDefaultCACertificates(defaults))
    const server = createServer(
      createCertificate({ hosts: [HOST], issuer: authority }),
      (_, response) => response.end('reached'),
    )
    server.on('tlsClientError', () => undefined)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    const { port } = server.address() as AddressInfo
    const resolve = resolveTo('::1', '127.0.0.1')
    const rules = createEgressRules({ allowedCidrs: ['127.0.0.0/8', '::1'], allowHttp: false })
    const result = await post(`https://${HOST}:${port}/`, { resolve, rules })
    expect(result).toMatchObject({ outcome: 'delivered', responseBody: 'reached' })
    expect(proxy.asked).toEqual([`127.0.0.1:${port}`])
    const other = await post(`https://other.example:${port}/`, { resolve, rules })
    expect(other).toMatchObject({
      error: 'The certificate is for another host.',
      isOurFault: false,
    })
  })

  it('leave a name that only the proxy can look up to the proxy', async () => {
    proxy.leadTo({ host: '127.0.0.1', port: receiver.port })
    const result = await post(`http://${HOST}:8080/`, { resolve: unresolvable, rules: strict })
    expect(result).toMatchObject({ outcome: 'delivered' })
    expect(proxy.asked).toEqual([`${HOST}:8080`])
  })

  it.each([
    ['a literal', `http://127.0.0.1:8080/`, unresolvable],
    ['an IPv6 literal', `http://[::1]:8080/`, unresolvable],
    [
      'one of the addresses of a name',
      `http://${HOST}:8080/`,
      resolveTo('93.184.216.34', '10.0.0.1'),
    ],
  ])('do not even ask it for %s that is private', async (_what, url, resolve) => {
    const result = await post(url, { resolve, rules: strict })
    expect(result).toMatchObject({ outcome: 'blocked', isOurFault: false })
    expect(proxy.asked).toEqual([])
  })

  it('show it the user and password of its URL', async () => {
    const proxyUrl = `http://us%40er:pass%3Aword@127.0.0.1:${proxy.port}`
    expect(await post(receiver.url, { proxyUrl })).toMatchObject({ outcome: 'delivered' })
    const expected = `Basic ${Buffer.from('us@er:pass:word').toString('base64')}`
    expect(proxy.authorizations).toEqual([expected])
    expect(receiver.received[0]?.headers).not.toHaveProperty('proxy-authorization')
  })

  it.each([
    [403, 'blocked', false],
    [407, 'unreachable', true],
    [400, 'unreachable', true],
    [502, 'unreachable', false],
    [503, 'unreachable', false],
    [504, 'unreachable', false],
  ] as const)(
    'that answers %i are %s, and our own fault: %s',
    async (status, outcome, isOurFault) => {
      proxy.answerWith(status)
      const result = await post(receiver.url)
      expect(result).toMatchObject({ outcome, statusCode: null, isOurFault })
      expect(receiver.count).toBe(0)
    },
  )

  it('are our own fault when it is away, and the destination’s when only that is', async () => {
    const gone = await startReceiver()
    await gone.stop()
    const refused = { outcome: 'unreachable', isOurFault: false }
    expect(await post(gone.url)).toMatchObject(refused)
    await proxy.stop()
    const away = { outcome: 'unreachable', isOurFault: true }
    expect(await post(receiver.url)).toMatchObject(away)
    expect(receiver.count).toBe(0)
  })
})
