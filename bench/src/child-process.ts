import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { withDeadline } from '@switchhook/core/deadline'

export type ProcessOptions = {
  /** For tables and errors. */
  readonly name: string
  readonly entry: URL
  readonly env: Readonly<Record<string, string>>
  /** stdout and stderr go straight into this file: a pipe would cost the reading process CPU time. */
  readonly logFile: string
  readonly execArgv?: readonly string[]
  /** With a channel for `ask`; the processes of the product have none. */
  readonly withChannel?: boolean
}

export type BenchProcess = {
  readonly name: string
  readonly pid: number
  /** Sends a message and resolves with the next one that comes back. One at a time. Throws when the process ends first. */
  ask<Answer>(message: object, timeoutMs: number): Promise<Answer>
  /** The last lines it wrote. */
  lastLines(): string
  /** SIGTERM, and SIGKILL after 10 s. */
  stop(): Promise<void>
}

const STOP_TIMEOUT_MS = 10_000
const SHOWN_BYTES = 3_000
const INHERITED = ['PATH', 'HOME', 'TMPDIR']

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

function inheritedEnv(): Record<string, string> {
  const found = INHERITED.map((key) => [key, process.env[key] ?? ''] as const)
  return Object.fromEntries(found.filter(([, value]) => value !== ''))
}

/** Starts Node on a file, as `NODE_ENV=production`. It is killed at the latest when this process exits. */
export async function startProcess(options: ProcessOptions): Promise<BenchProcess> {
  const { name, entry, logFile, execArgv = [], withChannel = false } = options
  const log = openSync(logFile, 'a')
  const child = spawn(process.execPath, [...execArgv, fileURLToPath(entry)], {
    env: { ...inheritedEnv(), NODE_ENV: 'production', ...options.env },
    stdio: ['ignore', log, log, ...(withChannel ? (['ipc'] as const) : [])],
    // Typed arrays travel as bytes, not as JSON.
    serialization: 'advanced',
  })
  closeSync(log)
  await once(child, 'spawn')
  alive.add(child)
  const exited = once(child, 'exit').then(() => void alive.delete(child))
  child.on('error', () => undefined) // A message to a process that has just ended; `ask` tells it.
  const lastLines = (): string => readFileSync(logFile, 'utf8').slice(-SHOWN_BYTES)

  return {
    name,
    pid: child.pid ?? -1,
    lastLines,
    async ask<Answer>(message: object, timeoutMs: number): Promise<Answer> {
      const waiting = new AbortController()
      const ended = exited.then(() => {
        throw new Error(`${name} ended. Its last lines:\n${lastLines()}`)
      })
      const answer = once(child, 'message', { signal: waiting.signal })
      child.send(message)
      try {
        const [first] = await withDeadline(Promise.race([answer, ended]), timeoutMs, name)
        return first as Answer
      } finally {
        waiting.abort()
        answer.catch(() => undefined)
        ended.catch(() => undefined)
      }
    },
    async stop() {
      child.kill('SIGTERM')
      const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS)
      await exited
      clearTimeout(timer)
    },
  }
}
