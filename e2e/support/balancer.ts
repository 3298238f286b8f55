import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AppProcess } from './app-process.ts'

export type Balancer = {
  readonly url: string
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const LOOK_EVERY_MS = 50

/**
 * What stands before the ingresses in production, at its simplest: each connection goes to the next ingress whose
 * /readyz said 200 last, or once when none did; one that refuses the connection is passed over, anything later is
 * the client's to see.
 */
export async function startBalancer(ingresses: () => readonly AppProcess[]): Promise<Balancer> {
  const ready = new Set<AppProcess>()
  const wasReady = new WeakSet<AppProcess>()
  const stopping = new AbortController()
  const sockets = new Set<Socket>()
  let turn = 0

  async function lookAtAll(): Promise<void> {
    await Promise.all(
      ingresses().map(async (ingress) => {
        const { status } = await ingress.look('/readyz').catch(() => ({ status: 0 }))
        if (status === 200) {
          ready.add(ingress)
          wasReady.add(ingress)
        } else ready.delete(ingress)
      }),
    )
  }

  async function keepLooking(): Promise<void> {
    while (!stopping.signal.aborted) {
      await lookAtAll()
      await sleep(LOOK_EVERY_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  }

  /** Round robin; undefined when nobody takes the connection. */
  async function connectToNext(): Promise<Socket | undefined> {
    const running = ingresses()
    const best = running.filter((ingress) => ready.has(ingress))
    // A store that is slow for a moment makes all of them unready, and none of them unable.
    const candidates = best.length > 0 ? best : running.filter((one) => wasReady.has(one))
    for (let tries = 0; tries < candidates.length; tries += 1) {
      turn += 1
      const { port } = new URL(candidates[turn % candidates.length]?.url ?? '')
      const upstream = connect(Number(port), '127.0.0.1')
      try {
        await once(upstream, 'connect')
        return upstream
      } catch {
        upstream.destroy()
      }
    }
    return undefined
  }

  function track(socket: Socket): void {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.once('close', () => sockets.delete(socket))
  }

  async function relay(client: Socket): Promise<void> {
    track(client)
    const upstream = await connectToNext()
    if (upstream === undefined || client.destroyed) {
      client.destroy()
      upstream?.destroy()
      return
    }
    track(upstream)
    client.pipe(upstream)
    upstream.pipe(client)
    upstream.once('close', (hadError) => (hadError ? client.resetAndDestroy() : client.end()))
    client.once('close', () => upstream.destroy())
  }

  await lookAtAll()
  const looking = keepLooking()
  const server = createServer({ allowHalfOpen: true }, (client) => void relay(client))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo

  async function stop(): Promise<void> {
    if (stopping.signal.aborted) return
    stopping.abort()
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await Promise.all([closed, looking])
  }
  return { url: `http://127.0.0.1:${port}`, stop, [Symbol.asyncDispose]: stop }
}
