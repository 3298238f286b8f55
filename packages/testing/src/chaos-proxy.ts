import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { relay } from './relay.ts'

/**
 * - `pass`: as if it were not there.
 * - `refuse`: resets the connections there are, and every new one as soon as it is accepted.
 * - `blackhole`: connections stay open and nothing comes through, either way; new ones are accepted
 *   and silent. They are reset when the mode ends, because bytes of theirs are missing.
 * - `latencyMs`: each way takes that long.
 * - `cutRepliesAfterBytes`: each connection passes that many more bytes of replies and is reset. With
 *   0 a request arrives and its reply does not.
 */
export type ChaosMode =
  | 'pass'
  | 'refuse'
  | 'blackhole'
  | { latencyMs: number }
  | { cutRepliesAfterBytes: number }

export type ChaosProxy = {
  /** On 127.0.0.1. */
  port: number
  /** How many connections of clients are open. */
  readonly connections: number
  /** Changes the mode for the connections there are and for new ones. */
  mode(mode: ChaosMode): void
  /** Resets every connection; new ones follow the mode. */
  cutAll(): void
  /** The connections there are stay open, and nothing comes through any more; new ones follow the mode. */
  silenceAll(): void
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

type Pair = {
  client: Socket
  /** None for a connection that came during a blackhole. */
  upstream: Socket | undefined
  /** How many bytes of replies still pass. */
  repliesLeft: number
  isSilent: boolean
}

/** Starts a TCP proxy on loopback whose faults can be changed while connections are open. */
export async function startChaosProxy({
  targetPort,
  targetHost = '127.0.0.1',
  port = 0,
}: {
  targetPort: number
  targetHost?: string
  port?: number
}): Promise<ChaosProxy> {
  const pairs = new Set<Pair>()
  let mode: ChaosMode = 'pass'

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    client.on('error', () => undefined)
    if (mode === 'refuse') {
      client.resetAndDestroy()
      return
    }
    const pair: Pair = {
      client,
      upstream: undefined,
      repliesLeft: repliesAllowed(mode),
      isSilent: false,
    }
    pairs.add(pair)
    if (mode === 'blackhole') {
      client.resume()
      client.once('close', () => pairs.delete(pair))
      return
    }
    const upstream = connect({
      port: targetPort,
      host: targetHost,
      allowHalfOpen: true,
      noDelay: true,
    })
    pair.upstream = upstream
    relay(client, upstream, {
      latencyMs,
      filter: (chunk) => (isSilent(pair) ? undefined : chunk),
    })
    relay(upstream, client, { latencyMs, filter: (chunk) => filterReply(pair, chunk) })
    upstream.on('error', () => undefined)
    client.once('close', (hadError) => onSideClosed(pair, hadError))
    upstream.once('close', (hadError) => onSideClosed(pair, hadError))
  })

  const isSilent = (pair: Pair): boolean => mode === 'blackhole' || pair.isSilent

  function latencyMs(): number {
    return typeof mode === 'object' && 'latencyMs' in mode ? mode.latencyMs : 0
  }

  function filterReply(pair: Pair, chunk: Buffer): Buffer | undefined {
    if (isSilent(pair)) return undefined
    if (chunk.length < pair.repliesLeft) {
      pair.repliesLeft -= chunk.length
      return chunk
    }
    const passing = chunk.subarray(0, pair.repliesLeft)
    pair.repliesLeft = 0
    // The write goes out before the reset: a reset would otherwise drop what is still buffered here.
    if (passing.length === 0) cut(pair)
    else pair.client.write(passing, () => cut(pair))
    return undefined
  }

  function onSideClosed(pair: Pair, hadError: boolean): void {
    if (pair.client.destroyed && pair.upstream?.destroyed !== false) pairs.delete(pair)
    // In a blackhole the other side does not learn of it. A close without an error followed an end,
    // which the relay passes on after what is still on its way.
    else if (hadError && !isSilent(pair)) cut(pair)
  }

  function cut(pair: Pair): void {
    pairs.delete(pair)
    pair.client.resetAndDestroy()
    pair.upstream?.resetAndDestroy()
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })

  const proxy: ChaosProxy = {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return [...pairs].filter((pair) => !pair.client.destroyed).length
    },
    mode(next) {
      const previous = mode
      mode = next
      if (next === 'refuse' || (previous === 'blackhole' && next !== 'blackhole')) proxy.cutAll()
      for (const pair of pairs) pair.repliesLeft = repliesAllowed(next)
    },
    cutAll() {
      for (const pair of pairs) cut(pair)
    },
    silenceAll() {
      for (const pair of pairs) pair.isSilent = true
    },
    async stop() {
      if (!server.listening) return
      const closed = new Promise((resolve) => server.close(resolve))
      proxy.cutAll()
      await closed
    },
    [Symbol.asyncDispose]: () => proxy.stop(),
  }
  return proxy
}

function repliesAllowed(mode: ChaosMode): number {
  return typeof mode === 'object' && 'cutRepliesAfterBytes' in mode
    ? mode.cutRepliesAfterBytes
    : Number.POSITIVE_INFINITY
}
