import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { getCACertificates, setDefaultCACertificates, TLSSocket } from 'node:tls'
import { type Certificate, createCertificate } from '@switchhook/testing/certificates'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { createMailSender } from './send-mail.ts'

const DAY_MS = 86_400_000
const TIMEOUTS = {
  ...{ connectionTimeout: 20_000, greetingTimeout: 20_000, socketTimeout: 20_000 },
  sendTimeout: 20_000,
}

const authority = createCertificate({ hosts: ['authority.example'], isAuthority: true })
const issued = (options: Partial<Parameters<typeof createCertificate>[0]> = {}) =>
  createCertificate({ hosts: ['127.0.0.1'], issuer: authority, ...options })

// As an operator adds an authority with NODE_EXTRA_CA_CERTS.
const defaults = getCACertificates('default')
beforeAll(() => setDefaultCACertificates([...defaults, authority.cert]))
afterAll(() => setDefaultCACertificates(defaults))

type Encryption = 'starttls' | 'implicit'
type MailServer = { readonly url: string; readonly commands: readonly string[] }

/** A mail server that wants a password over TLS, and takes none. `commands` are those it could read. */
async function startMailServer(certificate: Certificate, how: Encryption): Promise<MailServer> {
  const commands: string[] = []
  const sockets = new Set<Socket>()
  const { cert, key } = certificate

  function serve(socket: Socket, isSecret: boolean): void {
    sockets.add(socket)
    socket.on('error', () => undefined)
    const lines = createInterface(socket)
    lines.on('line', (line) => {
      commands.push(line)
      const extensions = isSecret ? '250 AUTH PLAIN' : '250 STARTTLS'
      if (line.startsWith('EHLO')) socket.write(`250-here\r\n${extensions}\r\n`)
      else if (line === 'STARTTLS') {
        lines.close()
        socket.removeAllListeners('data')
        socket.write('220 go ahead\r\n')
        serve(new TLSSocket(socket, { isServer: true, cert, key }), true)
      } else socket.write('535 no\r\n')
    })
  }

  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    const isImplicit = how === 'implicit'
    const inner = isImplicit ? new TLSSocket(socket, { isServer: true, cert, key }) : socket
    serve(inner, isImplicit)
    inner.write('220 here ESMTP\r\n')
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const scheme = how === 'implicit' ? 'smtps' : 'smtp'
  return { url: `${scheme}://user:secret@127.0.0.1:${port}`, commands }
}

async function send(url: string): Promise<string> {
  const sender = createMailSender(url, 'Switchhook <switchhook@hooks.example>', TIMEOUTS)
  onTestFinished(() => sender.close())
  const { kind } = await sender.send({
    ...{
      to: 'owner@customer.example',
      subject: 'not delivered',
      text: 'one\n',
      html: '<p>one</p>',
    },
    ...{ messageId: '<dlv_1@switchhook>', payload: null },
  })
  return kind
}

const gotPassword = ({ commands }: MailServer): boolean =>
  commands.some((command) => command.startsWith('AUTH'))

const BAD: readonly (readonly [string, Certificate])[] = [
  ['self-signed', createCertificate({ hosts: ['127.0.0.1'] })],
  ['for another host', issued({ hosts: ['mail.other.example'] })],
  ['expired', issued({ validTo: new Date(Date.now() - DAY_MS / 2) })],
]

describe.each(['starttls', 'implicit'] as const)('a mail server over TLS (%s, F6)', (how) => {
  it.each(BAD)('whose certificate is %s gets no password and no mail', async (_what, bad) => {
    const server = await startMailServer(bad, how)
    // Worth another try: it is the operator’s to mend.
    expect(await send(server.url)).toBe('failed')
    expect(gotPassword(server)).toBe(false)
  })

  it('whose certificate is good is asked with the password: it is what the others lacked', async () => {
    const server = await startMailServer(issued(), how)
    expect(await send(server.url)).toBe('failed')
    expect(gotPassword(server)).toBe(true)
  })
})
