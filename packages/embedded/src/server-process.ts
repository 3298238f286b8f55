import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { waitUntil } from './wait-until.ts'

const readyTimeoutMs = 30_000
const stopTimeoutMs = 10_000
const killTimeoutMs = 5_000
const keptLines = 20
const maxLineLength = 4_096

export type ServerCommand = {
  name: string
  command: string
  args: readonly string[]
  env: NodeJS.ProcessEnv
  stopSignal: 'SIGINT' | 'SIGTERM'
  uid?: number | undefined
  gid?: number | undefined
  onLog?: ((line: string) => void) | undefined
}

export type ServerProcess = {
  pid: number
  /** Resolves when the server and what it started have ended, for whatever reason. */
  exited: Promise<void>
  /** The last 20 lines it wrote. */
  lastLines(): string
  /** Resolves when `isReady` answers true; an error with the last log lines on exit or after 30 s. */
  waitUntilReady(isReady: () => Promise<boolean>): Promise<void>
  /** `stopSignal`, then SIGKILL after 10 s; resolves when the server has ended. */
  stop(): Promise<void>
}

/**
 * Starts a server in a process group of its own: the terminal's Ctrl-C does not reach it, so that the
 * caller decides what stops first. When this process exits normally or by an uncaught error the server
 * is told to stop; after a SIGKILL it stays (see remove-orphan.ts).
 */
export async function startServerProcess(server: ServerCommand): Promise<ServerProcess> {
  const { name, command, args, env, stopSignal, uid, gid, onLog } = server
  const child = spawn(command, args, {
    env,
    detached: true,
    windowsHide: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  })
  const lines: string[] = []
  const keepLine = (line: string) => {
    lines.push(line)
    if (lines.length > keptLines) lines.shift()
    onLog?.(line)
  }
  readLines(child.stdout, keepLine)
  readLines(child.stderr, keepLine)
  await once(child, 'spawn')
  // A signal that may not be sent is reported by this event, and would be an uncaught error.
  child.on('error', (error) => keepLine(error.message))
  const { pid } = child
  if (pid === undefined) throw new Error(`${name} has no pid`)

  let hasEnded = false
  const exited = stopAtExit(child, stopSignal).then(() => {
    hasEnded = true
  })
  let stopping: Promise<void> | undefined
  return {
    pid,
    exited,
    lastLines: () => lines.join('\n'),
    waitUntilReady: async (isReady) => {
      const settled = await waitUntil(async () => hasEnded || (await isReady()), readyTimeoutMs)
      if (settled && !hasEnded) return
      const what = hasEnded
        ? `ended while starting (${child.signalCode ?? `exit code ${child.exitCode}`})`
        : `did not become ready within ${readyTimeoutMs / 1000} s`
      throw new Error(`${name} ${what}. Its last log lines:\n${lines.join('\n') || '(none)'}`)
    },
    stop: () => {
      stopping ??= stopChild(child, name, stopSignal, () => hasEnded)
      return stopping
    },
  }
}

async function stopChild(
  child: ChildProcess,
  name: string,
  stopSignal: NodeJS.Signals,
  hasEnded: () => boolean,
): Promise<void> {
  for (const [signal, timeoutMs] of [
    [stopSignal, stopTimeoutMs],
    ['SIGKILL', killTimeoutMs],
  ] as const) {
    if (!hasEnded()) child.kill(signal)
    if (await waitUntil(hasEnded, timeoutMs)) return
  }
  throw new Error(`${name} (pid ${child.pid}) does not end, not even by SIGKILL.`)
}

const running = new Map<ChildProcess, NodeJS.Signals>()

function stopAllRunning(): void {
  for (const [child, signal] of running) child.kill(signal)
}

/** One listener for all servers, because Node warns about a leak from the eleventh on. */
function stopAtExit(child: ChildProcess, stopSignal: NodeJS.Signals): Promise<void> {
  if (running.size === 0) process.on('exit', stopAllRunning)
  running.set(child, stopSignal)
  return new Promise((resolve) => {
    // `close`, not `exit`: then the last lines are read, and Postgres's backends have let go of the pipe.
    child.once('close', () => {
      running.delete(child)
      if (running.size === 0) process.off('exit', stopAllRunning)
      resolve()
    })
  })
}

function readLines(stream: Readable, onLine: (line: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n')
    rest = (lines.pop() ?? '').slice(0, maxLineLength)
    for (const line of lines) onLine(line.slice(0, maxLineLength))
  })
}
