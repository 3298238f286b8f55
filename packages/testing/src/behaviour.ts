import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { gzipSync } from 'node:zlib'

/** What a receiver does with a request. It has always read the whole request before. */
export type Behaviour =
  | {
      kind: 'answer'
      status: number
      body?: string | Uint8Array
      headers?: OutgoingHttpHeaders
      delayMs?: number
    }
  /** Never answers. */
  | { kind: 'hang' }
  /** Resets the connection (RST). */
  | { kind: 'reset' }
  /** Closes the connection without an answer (FIN). */
  | { kind: 'close' }
  /** 200 with one byte of body every `chunkEveryMs`, for ever. */
  | { kind: 'trickle'; chunkEveryMs: number }
  /** 200 with as much body as the other side takes, for ever. */
  | { kind: 'infinite' }
  /** The status line of a 200, then headers for ever, as fast as the other side takes them. */
  | { kind: 'endless_headers' }
  /** One 103 after the other every `hintEveryMs`, for ever. */
  | { kind: 'early_hints'; hintEveryMs: number }
  /** 200 with a gzip body of about 1 MB that unpacks to 1 GiB. */
  | { kind: 'gzip_bomb' }
  /** Status 302 unless told. */
  | { kind: 'redirect'; to: string; status?: number }
  /** One after the other; the last repeats. */
  | { kind: 'sequence'; answers: Behaviour[] }
  /** Writes these bytes in place of an HTTP answer and closes. */
  | { kind: 'raw'; bytes: string | Uint8Array }
  /** Keeps the answer back until `release()`; afterwards answers 200 at once. */
  | { kind: 'hold' }

/** The behaviours that need nothing but the request at hand. */
export type PlainBehaviour = Exclude<Behaviour, { kind: 'sequence' | 'hold' }>

const BOMB_MEMBER_BYTES = 16 * 1024 * 1024
const BOMB_MEMBERS = 64
const INFINITE_CHUNK = Buffer.alloc(64 * 1024, 'x')
const HEADER_CHUNK = Buffer.from('x-some-header: some-value\r\n'.repeat(1_000))
const RAW_2XX = /^HTTP\/1\.[01] 2\d\d/

/**
 * Carries a behaviour out. Calls `note` once, just before the answer leaves (or fails to): true when
 * the other side gets a 2xx status line, which is what counts as delivered, whatever the body does.
 */
export function behave(
  request: IncomingMessage,
  response: ServerResponse,
  behaviour: PlainBehaviour,
  note: (isDelivered: boolean) => void,
): void {
  switch (behaviour.kind) {
    case 'answer': {
      const { status, headers, body, delayMs } = behaviour
      const answer = () => {
        note(is2xx(status) && !request.socket.destroyed)
        response.writeHead(status, headers).end(body)
      }
      if (delayMs === undefined) {
        answer()
        return
      }
      const timer = setTimeout(answer, delayMs).unref()
      // Nobody is left to answer: noted now, since whoever keeps notes may be gone by then.
      response.once('close', () => {
        if (response.writableEnded) return
        clearTimeout(timer)
        note(false)
      })
      return
    }
    case 'hang':
      note(false)
      return
    case 'reset':
      note(false)
      request.socket.resetAndDestroy()
      return
    case 'close':
      note(false)
      request.socket.end()
      return
    case 'trickle':
      note(true)
      trickle(response, behaviour.chunkEveryMs)
      return
    case 'infinite':
      note(true)
      response.writeHead(200)
      pourInto(response, INFINITE_CHUNK)
      return
    case 'endless_headers':
      note(false)
      request.socket.write('HTTP/1.1 200 OK\r\n')
      pourInto(request.socket, HEADER_CHUNK)
      return
    case 'early_hints':
      note(false)
      hintAt(request.socket, behaviour.hintEveryMs)
      return
    case 'gzip_bomb':
      note(true)
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipBomb())
      return
    case 'redirect': {
      const { status = 302, to } = behaviour
      note(is2xx(status))
      response.writeHead(status, { location: to }).end()
      return
    }
    case 'raw': {
      const bytes = Buffer.from(behaviour.bytes)
      note(RAW_2XX.test(bytes.subarray(0, 16).toString('latin1')))
      request.socket.end(bytes)
      return
    }
  }
}

function is2xx(status: number): boolean {
  return status >= 200 && status < 300
}

function trickle(response: ServerResponse, chunkEveryMs: number): void {
  response.writeHead(200)
  response.flushHeaders()
  const timer = setInterval(() => response.write('.'), chunkEveryMs)
  response.once('close', () => clearInterval(timer))
}

function hintAt(socket: Socket, everyMs: number): void {
  const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n'), everyMs)
  socket.once('close', () => clearInterval(timer))
}

function pourInto(stream: Writable, chunk: Buffer): void {
  stream.on('drain', pour)
  pour()
  function pour() {
    while (!stream.destroyed && stream.write(chunk)) {
      // until the socket's buffer is full; 'drain' goes on
    }
  }
}

let bomb: Buffer | undefined

/** A gzip file may have many members one after the other: 64 times the same 16 KB make 1 GiB. */
function gzipBomb(): Buffer {
  if (bomb === undefined) {
    const member = gzipSync(Buffer.alloc(BOMB_MEMBER_BYTES), { level: 9 })
    bomb = Buffer.concat(Array.from({ length: BOMB_MEMBERS }, () => member))
  }
  return bomb
}
