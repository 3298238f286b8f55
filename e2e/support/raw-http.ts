import { connect, type Socket } from 'node:net'
import { sendAgain } from './send-again.ts'

export type RawAnswer = {
  readonly status: number
  /** Names in lower case; the last of repeated ones. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

export type RawExchange = {
  /** All answers that came on the connection, in order. */
  readonly answers: readonly RawAnswer[]
  /** The server said 100 Continue. */
  readonly sawContinue: boolean
  readonly isClosedByServer: boolean
  readonly tookMs: number
}

export type RawOptions = {
  /** Answers after which the connection is done with; one unless told. */
  readonly answers?: number
  readonly timeoutMs?: number
  /** Also waits until the server has closed. */
  readonly untilClosed?: boolean
  /** Ends our half, or cuts the connection, once all is written. */
  readonly after?: 'end' | 'reset'
}

type Chunk = string | Buffer

const TIMEOUT_MS = 20_000
const CONTINUE = 'HTTP/1.1 100 '

function parseHead(text: string): Pick<RawAnswer, 'status' | 'headers'> {
  const [statusLine = '', ...lines] = text.split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(statusLine)?.[1] ?? 'NaN')
  const pairs = lines.map((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
  })
  return { status, headers: Object.fromEntries(pairs) }
}

/** Whole answers at the start of the bytes. Without a length, a body goes on until the end of the connection. */
function parseAnswers(bytes: Buffer): RawAnswer[] {
  const answers: RawAnswer[] = []
  let rest = bytes
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    if (end === -1) return answers
    const head = parseHead(rest.toString('latin1', 0, end))
    rest = rest.subarray(end + 4)
    if (head.status === 100) continue
    const length = Number(head.headers['content-length'] ?? 0)
    if (rest.length < length) return answers
    answers.push({ ...head, body: rest.toString('utf8', 0, length) })
    rest = rest.subarray(length)
  }
}

async function write(
  socket: Socket,
  chunks: Iterable<Chunk> | AsyncIterable<Chunk>,
): Promise<void> {
  for await (const chunk of chunks) {
    if (socket.destroyed || socket.writableEnded) return
    if (!socket.write(chunk)) {
      await new Promise<void>((resolve) => {
        socket.once('drain', resolve)
        socket.once('close', () => resolve())
      })
    }
  }
}

/**
 * Writes bytes as they are to a web server on loopback and reads what it answers. A server that answers before all
 * is written, and closes, is no error. Throws only when the answers did not come in time.
 */
export function exchange(
  baseUrl: string,
  bytes: Chunk | Iterable<Chunk> | AsyncIterable<Chunk>,
  options: RawOptions = {},
): Promise<RawExchange> {
  const { answers: wanted = 1, timeoutMs = TIMEOUT_MS, untilClosed = false, after } = options
  const startedAtMs = performance.now()
  const socket = connect({
    port: Number(new URL(baseUrl).port),
    host: '127.0.0.1',
    allowHalfOpen: true,
  })
  let seen = Buffer.alloc(0)
  return new Promise((resolve, reject) => {
    let isDone = false
    const finish = (isClosedByServer: boolean) => {
      if (isDone) return
      isDone = true
      clearTimeout(timer)
      socket.destroy()
      const tookMs = Math.round(performance.now() - startedAtMs)
      const sawContinue = seen.toString('latin1', 0, CONTINUE.length) === CONTINUE
      resolve({ answers: parseAnswers(seen), sawContinue, isClosedByServer, tookMs })
    }
    const timer = setTimeout(() => {
      isDone = true
      socket.destroy()
      const got = seen.toString('latin1').slice(0, 500) || 'nothing'
      reject(new Error(`no whole exchange within ${timeoutMs} ms; read: ${got}`))
    }, timeoutMs)
    socket.on('data', (chunk) => {
      seen = Buffer.concat([seen, chunk])
      if (!untilClosed && parseAnswers(seen).length >= wanted) finish(false)
    })
    socket.on('error', () => undefined)
    socket.once('end', () => finish(true))
    socket.once('close', () => finish(true))
    const chunks = typeof bytes === 'string' || Buffer.isBuffer(bytes) ? [bytes] : bytes
    write(socket, chunks).then(
      () => {
        if (after === 'end') socket.end()
        if (after === 'reset') socket.resetAndDestroy()
      },
      (error: unknown) => reject(error as Error),
    )
  })
}

/** The same, again after a 503: for what any provider may send, and a store that is slow for a moment. */
export async function exchangeAgain(baseUrl: string, bytes: Chunk): Promise<RawExchange> {
  const { exchanged } = await sendAgain(async () => {
    const exchanged = await exchange(baseUrl, bytes)
    return { status: exchanged.answers[0]?.status ?? 0, exchanged }
  })
  return exchanged
}
