import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'

export type ConnectProxy = {
  /** Without a trailing slash. */
  readonly url: string
  readonly port: number
  /** The `host:port` of every CONNECT, in order. */
  readonly asked: readonly string[]
  /** The Proxy-Authorization of every CONNECT, in order. */
  readonly authorizations: readonly (string | undefined)[]
  /** Answers every CONNECT with this status from now on; 200 goes through. */
  answerWith(statusCode: number): void
  /** Where it connects to, in place of what was asked for. */
  leadTo(target: { readonly host: string; readonly port: number }): void
  /** Cuts all connections. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Starts an HTTP proxy on loopback that knows CONNECT and nothing else. */
export async function startConnectProxy({ port = 0 } = {}): Promise<ConnectProxy> {
  const asked: string[] = []
  const authorizations: (string | undefined)[] = []
  const sockets = new Set<Socket>()
  let statusCode = 200
  let target: { host: string; port: number } | undefined

  function keep(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => sockets.delete(socket))
  }

  const server = createServer((_request, response) => response.writeHead(405).end())
  server.on('connect', (request, socket: Socket, head) => {
    keep(socket)
    const authority = request.url ?? ''
    asked.push(authority)
    authorizations.push(request.headers['proxy-authorization'])
    if (statusCode !== 200) {
      socket.end(`HTTP/1.1 ${statusCode} No\r\ncontent-length: 0\r\n\r\n`)
      return
    }
    const { hostname, port: askedPort } = new URL(`tcp://${authority}`)
    const host = hostname.replace(/^\[|\]$/g, '')
    const far = connect(target ?? { host, port: Number(askedPort) })
    keep(far)
    let isOpen = false
    far.once('connect', () => {
      isOpen = true
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      far.write(head)
      far.pipe(socket).pipe(far)
    })
    far.once('error', () => {
      if (isOpen) socket.destroy()
      else socket.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n')
    })
    socket.once('close', () => far.destroy())
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const bound = (server.address() as AddressInfo).port
  const proxy: ConnectProxy = {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    asked,
    authorizations,
    answerWith(status) {
      statusCode = status
    },
    leadTo(where) {
      target = where
    },
    async stop() {
      if (!server.listening) return
      const closed = new Promise((resolve) => server.close(resolve))
      server.closeAllConnections()
      for (const socket of sockets) socket.destroy()
      await closed
    },
    [Symbol.asyncDispose]: () => proxy.stop(),
  }
  return proxy
}
