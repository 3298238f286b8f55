import { once } from 'node:events'
import { createServer, type ServerOptions } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { connect, getCACertificates, setDefaultCACertificates } from 'node:tls'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { createCertificate } from '@switchhook/testing/certificates'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { CONNECT_TIMEOUT_MS, createEgressAgent, type ResolveHost } from './egress-agent.ts'
import { postEvent } from './post-event.ts'

const DAY_MS = 86_400_000
const HOST = 'customer.example'

const authority = createCertificate({ hosts: ['authority.example'], isAuthority: true })
const stranger = createCertificate({ hosts: ['stranger.example'], isAuthority: true })
const good = createCertificate({ hosts: [HOST, '127.0.0.1'], issuer: authority })

// As an operator adds an authority with NODE_EXTRA_CA_CERTS.
const defaults = getCACertificates('default')
beforeAll(() => setDefaultCACertificates([...defaults, authority.cert]))
afterAll(() => setDefaultCACertificates(defaults))

type Server = { readonly port: number; readonly requests: () => number }

async function startTlsServer(options: ServerOptions): Promise<Server> {
  let requests = 0
  const server = createServer(options, (request, response) => {
    requests += 1
    request.resume()
    response.end('reached')
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return { port: (server.address() as AddressInfo).port, requests: () => requests }
}

/** The port of a server that does what it likes with a connection. */
async function startTcpServer(speak: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    speak(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return (server.address() as AddressInfo).port
}

const rules = createEgressRules({ allowedCidrs: ['127.0.0.0/8'], allowHttp: true })
const toLoopback: ResolveHost = (_host, _options, callback) =>
  callback(null, [{ address: '127.0.0.1', family: 4 }])

async function post(port: number, host = HOST, timeoutMs = 20_000) {
  const agent = createEgressAgent(rules, toLoopback)
  onTestFinished(() => agent.destroy())
  const headers = { authorization: 'Bearer secret' }
  const request = { url: `https://${host}:${port}/`, headers, body: Buffer.from('{}') }
  return postEvent(agent, { ...request, timeoutMs, successRule: '2xx' })
}

describe('a destination over TLS', () => {
  it('is reached when its certificate is for its name, or its address, and from a known authority', async () => {
    const server = await startTlsServer(good)
    expect(await post(server.port)).toMatchObject({ outcome: 'delivered', responseBody: 'reached' })
    expect(await post(server.port, '127.0.0.1')).toMatchObject({ outcome: 'delivered' })
    expect(server.requests()).toBe(2)
  })

  it.each([
    ['is self-signed', createCertificate({ hosts: [HOST] }), 'self-signed'],
    [
      'is from an unknown authority',
      createCertificate({ hosts: [HOST], issuer: stranger }),
      'its issuer is unknown',
    ],
    [
      'claims the name of a known authority without its key',
      createCertificate({ hosts: [HOST], issuer: { ...stranger, name: authority.name } }),
      'failed',
    ],
    [
      'has expired',
      createCertificate({
        hosts: [HOST],
        issuer: authority,
        validFrom: new Date(Date.now() - 2 * DAY_MS),
        validTo: new Date(Date.now() - DAY_MS),
      }),
      'has expired',
    ],
    [
      'is not valid yet',
      createCertificate({
        hosts: [HOST],
        issuer: authority,
        validFrom: new Date(Date.now() + DAY_MS),
        validTo: new Date(Date.now() + 2 * DAY_MS),
      }),
      'not valid yet',
    ],
    [
      'is for another host',
      createCertificate({ hosts: ['other.example'], issuer: authority }),
      'for another host',
    ],
    [
      'is from a certificate that is no authority',
      createCertificate({ hosts: [HOST], issuer: good }),
      'its issuer is unknown',
    ],
  ])('gets nothing when its certificate %s', async (_what, certificate, error) => {
    const server = await startTlsServer(certificate)
    const result = await post(server.port)
    expect(result).toMatchObject({ outcome: 'unreachable', statusCode: null })
    expect(result.error).toContain(error)
    expect(server.requests()).toBe(0)
  })

  it.each(['TLSv1', 'TLSv1.1'] as const)('gets nothing over %s', async (version) => {
    const legacy = { ciphers: 'DEFAULT@SECLEVEL=0', minVersion: 'TLSv1' } as const
    const server = await startTlsServer({ ...good, ...legacy, maxVersion: version })
    const result = await post(server.port)
    expect(result).toMatchObject({ outcome: 'unreachable', statusCode: null })
    expect(result.error).toBe('The destination does not speak TLS 1.2 or newer.')
    expect(server.requests()).toBe(0)
    // It is the version that was refused: a client that allows it gets through.
    const socket = connect({ ...legacy, host: '127.0.0.1', port: server.port, servername: HOST })
    await once(socket, 'secureConnect')
    expect(socket.getProtocol()).toBe(version)
    socket.destroy()
  })

  it('gets nothing when it does not speak TLS, wants a certificate of ours, or never ends the handshake', async () => {
    const asking = await startTlsServer({ ...good, requestCert: true, ca: [stranger.cert] })
    const plain = await startTcpServer((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    })
    const silent = await startTcpServer(() => undefined)
    expect(await post(plain)).toMatchObject({
      outcome: 'unreachable',
      error: 'The destination does not speak TLS.',
    })
    expect((await post(asking.port)).outcome).not.toBe('delivered')
    expect(asking.requests()).toBe(0)
    const hanging = await post(silent, HOST, 300)
    expect(hanging).toMatchObject({ outcome: 'timed_out', error: 'No complete answer in 300 ms.' })
    expect(hanging.statusCode).toBeNull()
    expect(hanging.responseTimeMs).toBeLessThan(CONNECT_TIMEOUT_MS)
  })

  it('refuses the handshake of TLS 1.2 for want of a certificate of ours, and is told so', async () => {
    const asking: ServerOptions = { requestCert: true, ca: [stranger.cert], maxVersion: 'TLSv1.2' }
    const server = await startTlsServer({ ...good, ...asking })
    expect(await post(server.port)).toMatchObject({
      ...{ outcome: 'unreachable', statusCode: null },
      error: 'The destination refused the TLS handshake.',
    })
    expect(server.requests()).toBe(0)
  })

  it('is verified whatever NODE_TLS_REJECT_UNAUTHORIZED says', async () => {
    const server = await startTlsServer(createCertificate({ hosts: [HOST] }))
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
    onTestFinished(() => {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
    })
    expect((await post(server.port)).error).toBe('The certificate is self-signed.')
    expect(server.requests()).toBe(0)
    // It does say it: a client of Node's own gets through.
    const socket = connect({ host: '127.0.0.1', port: server.port, servername: HOST })
    await once(socket, 'secureConnect')
    socket.destroy()
  })
})
