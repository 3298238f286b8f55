import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

export type OutputLine = { stream: 'stdout' | 'stderr'; text: string }

export type ProcessExit = { code: number | null; signal: NodeJS.Signals | null }

export type SpawnNodeOptions = {
  /** The `.ts` or `.js` file to run, as a path or a `file:` URL. */
  entry: string | URL
  /** The whole environment; only PATH, HOME and TMPDIR come from this process. */
  env: Readonly<Record<string, string>>
  /** For errors. */
  name: string
  args?: readonly string[]
  /** Options of node itself, e.g. `--max-old-space-size=128`. */
  execArgv?: readonly string[]
  cwd?: string
  onLine?: (line: OutputLine) => void
}

export type RunningProcess = {
  name: string
  pid: number
  /** The newest 10,000 lines, each cut at 64 KB. */
  lines: readonly OutputLine[]
  /** Resolves when the process has ended and all its output has been read. */
  exited: Promise<ProcessExit>
  /**
   * The text of the first line, past or to come, that matches. Throws after `timeoutMs`, or when the
   * process ends before; the error has its last lines.
   */
  waitForLine(match: RegExp | ((text: string) => boolean), timeoutMs: number): Promise<string>
  /** Sends a signal; use `exited` to wait. */
  kill(signal: NodeJS.Signals): void
  /** SIGTERM, and SIGKILL after `timeoutMs` (30 s unless told). */
  stop(options?: { timeoutMs?: number }): Promise<ProcessExit>
  /** SIGKILL, also of a frozen process. */
  [Symbol.asyncDispose](): Promise<void>
}

const MAX_LINES = 10_000
const MAX_LINE_LENGTH = 64 * 1024
const SHOWN_LINES = 30
/** Longer than the product gives itself (SHUTDOWN_TIMEOUT_MS). */
const STOP_TIMEOUT_MS = 30_000
const INHERITED = ['PATH', 'HOME', 'TMPDIR']

/** Starts Node on a file as a process of its own. It is killed at the latest when this process exits. */
export async function spawnNode(options: SpawnNodeOptions): Promise<RunningProcess> {
  const { name, entry, args = [], execArgv = [], cwd, onLine } = options
  const isUrl = entry instanceof URL || entry.startsWith('file:')
  const file = isUrl ? fileURLToPath(entry) : entry
  const child = spawn(process.execPath, [...execArgv, file, ...args], {
    env: { ...inheritedEnv(), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(cwd === undefined ? {} : { cwd }),
  })
  const lines: OutputLine[] = []
  const listeners = new Set<(text: string) => void>()
  const keep = (line: OutputLine) => {
    lines.push(line)
    if (lines.length > MAX_LINES) lines.splice(0, MAX_LINES / 10)
    onLine?.(line)
    for (const listener of listeners) listener(line.text)
  }
  splitLines(child.stdout, (text) => keep({ stream: 'stdout', text }))
  splitLines(child.stderr, (text) => keep({ stream: 'stderr', text }))

  let exit: ProcessExit | undefined
  const exited = new Promise<ProcessExit>((resolve) => {
    child.once('close', (code, signal) => {
      exit = { code, signal }
      resolve(exit)
    })
  })
  await once(child, 'spawn')
  child.on('error', (error) => keep({ stream: 'stderr', text: error.message }))
  killAtExit(child)

  const describe = () => {
    const last = lines.slice(-SHOWN_LINES).map((line) => line.text)
    return `Its last lines:\n${last.join('\n') || '(none)'}`
  }
  const running: RunningProcess = {
    name,
    pid: child.pid ?? -1,
    lines,
    exited,
    waitForLine(match, timeoutMs) {
      const matches = (text: string) => (match instanceof RegExp ? match.test(text) : match(text))
      const past = lines.find((line) => matches(line.text))
      if (past !== undefined) return Promise.resolve(past.text)
      return new Promise((resolve, reject) => {
        const settle = () => {
          clearTimeout(timer)
          listeners.delete(listener)
        }
        const listener = (text: string) => {
          if (!matches(text)) return
          settle()
          resolve(text)
        }
        const fail = (why: string) => {
          settle()
          reject(new Error(`${name} ${why} before it printed ${match}. ${describe()}`))
        }
        const timer = setTimeout(() => fail(`went on for ${timeoutMs} ms`), timeoutMs)
        listeners.add(listener)
        void exited.then(({ code, signal }) => fail(`ended (${signal ?? `exit code ${code}`})`))
      })
    },
    kill(signal) {
      child.kill(signal)
    },
    async stop({ timeoutMs = STOP_TIMEOUT_MS } = {}) {
      if (exit === undefined) child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
      try {
        return await exited
      } finally {
        clearTimeout(timer)
      }
    },
    async [Symbol.asyncDispose]() {
      if (exit === undefined) child.kill('SIGKILL')
      await exited
    },
  }
  return running
}

function inheritedEnv(): NodeJS.ProcessEnv {
  const found = INHERITED.flatMap((key) => {
    const value = process.env[key]
    return value === undefined ? [] : [[key, value]]
  })
  return Object.fromEntries(found)
}

const alive = new Set<ChildProcess>()

function killAllAlive(): void {
  for (const child of alive) child.kill('SIGKILL')
}

/** One listener for all, because Node warns about a leak from the eleventh on. */
function killAtExit(child: ChildProcess): void {
  if (alive.size === 0) process.on('exit', killAllAlive)
  alive.add(child)
  child.once('close', () => {
    alive.delete(child)
    if (alive.size === 0) process.off('exit', killAllAlive)
  })
}

function splitLines(stream: Readable, onLine: (text: string) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (chunk: string) => {
    const complete = (rest + chunk).split('\n')
    rest = (complete.pop() ?? '').slice(0, MAX_LINE_LENGTH)
    for (const line of complete) onLine(line.slice(0, MAX_LINE_LENGTH))
  })
  stream.on('end', () => {
    if (rest !== '') onLine(rest)
  })
}
