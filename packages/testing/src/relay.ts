import type { Socket } from 'node:net'

export type RelayOptions = {
  /** Asked for each chunk. */
  latencyMs: () => number
  /** What passes of a chunk; undefined swallows it. Asked when the chunk arrives. */
  filter: (chunk: Buffer) => Buffer | undefined
}

/** Bytes on their way in one direction, beyond which the sending side is paused. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024

/**
 * Copies what comes from one socket to another, in order, each chunk after its latency; then the end.
 * Bounded: the sender is paused while the receiver does not read or too much is on its way.
 */
export function relay(from: Socket, to: Socket, { latencyMs, filter }: RelayOptions): void {
  const waiting: (Buffer | 'end')[] = []
  let waitingBytes = 0

  from.on('data', (chunk: Buffer) => {
    const passing = filter(chunk)
    if (passing !== undefined) send(passing)
  })
  from.on('end', () => {
    // An end passes where data would: a filter that swallows everything swallows it too.
    if (filter(Buffer.alloc(0)) !== undefined) send('end')
  })
  to.on('drain', resumeIfRoom)

  function send(part: Buffer | 'end'): void {
    waiting.push(part)
    if (part !== 'end') waitingBytes += part.length
    if (waitingBytes > MAX_WAITING_BYTES) from.pause()
    const delayMs = latencyMs()
    if (delayMs === 0 && waiting.length === 1) writeNext()
    else setTimeout(writeNext, delayMs).unref()
  }

  /** Each part has one call, and each call takes the oldest: the order holds whichever timer fires first. */
  function writeNext(): void {
    const part = waiting.shift()
    if (part === undefined || to.destroyed) return
    if (part === 'end') {
      to.end()
      return
    }
    waitingBytes -= part.length
    if (to.write(part)) resumeIfRoom()
    else from.pause()
  }

  function resumeIfRoom(): void {
    if (waitingBytes <= MAX_WAITING_BYTES && !to.writableNeedDrain) from.resume()
  }
}
