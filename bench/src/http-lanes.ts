import { connect, type Socket } from 'node:net'

/** Called once per request: its index, and its status, 0 when the connection broke or the answer was not understood. */
export type OnAnswer = (index: number, status: number) => void

export type HttpLanes = {
  /** Sends now where a connection is free, or as soon as one is. */
  send(index: number, request: Buffer): void
  close(): void
}

const STATUS_AT = 'HTTP/1.1 '.length

/** The length of the complete answer that the text begins with; undefined: more is to come; -1: not understood. */
function answerLength(text: string): number | undefined {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd === -1) return undefined
  const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1]
  if (length === undefined) return text.startsWith('204', STATUS_AT) ? headEnd + 4 : -1
  const total = headEnd + 4 + Number(length)
  return text.length >= total ? total : undefined
}

type Lane = {
  readonly socket: Socket
  index: number | undefined
  text: string
}

/**
 * HTTP/1.1 over kept-alive connections, one request in flight on each, the requests serialised beforehand. A client
 * library would use more CPU per request than the fastest server measured here, and be the limit itself.
 */
export function openHttpLanes(port: number, maxLanes: number, onAnswer: OnAnswer): HttpLanes {
  const idle: Lane[] = []
  const lanes = new Set<Lane>()
  const waiting: { readonly index: number; readonly request: Buffer }[] = []
  let nextWaiting = 0
  let isClosed = false

  function write(lane: Lane, index: number, request: Buffer): void {
    lane.index = index
    lane.socket.write(request)
  }

  function settle(lane: Lane, status: number): void {
    const { index } = lane
    lane.index = undefined
    lane.text = ''
    if (index !== undefined) onAnswer(index, status)
  }

  function useNext(lane: Lane): void {
    const next = waiting[nextWaiting]
    if (next === undefined) {
      idle.push(lane)
      return
    }
    nextWaiting += 1
    write(lane, next.index, next.request)
  }

  function read(lane: Lane, chunk: Buffer): void {
    lane.text += chunk.toString('latin1')
    const length = answerLength(lane.text)
    if (length === undefined) return
    if (length !== lane.text.length) {
      lane.socket.destroy()
      return
    }
    settle(lane, Number(lane.text.slice(STATUS_AT, STATUS_AT + 3)))
    useNext(lane)
  }

  function forget(lane: Lane): void {
    lanes.delete(lane)
    const at = idle.indexOf(lane)
    if (at !== -1) idle.splice(at, 1)
    settle(lane, 0)
    const next = waiting[nextWaiting]
    if (next === undefined || isClosed) return
    nextWaiting += 1
    open(next.index, next.request)
  }

  function open(index: number, request: Buffer): void {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    const lane: Lane = { socket, index, text: '' }
    lanes.add(lane)
    socket.on('data', (chunk) => read(lane, chunk))
    socket.on('error', () => undefined) // `close` follows.
    socket.on('close', () => forget(lane))
    socket.write(request)
  }

  return {
    send(index, request) {
      const lane = idle.pop()
      if (lane !== undefined) write(lane, index, request)
      else if (lanes.size < maxLanes) open(index, request)
      else waiting.push({ index, request })
    },
    close() {
      isClosed = true
      for (const lane of lanes) lane.socket.destroy()
    },
  }
}
