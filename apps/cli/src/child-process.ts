import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'

export type ChildOptions = {
  readonly name: string
  readonly entry: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Everything it says is appended here. */
  readonly logFile: string
  /** Called with each line, to tell the person what matters. */
  readonly onLine: (line: string) => void
}

export type Child = {
  readonly name: string
  /** Resolves with a sentence when it ended without being asked to. Never resolves otherwise. */
  readonly died: Promise<string>
  /** SIGTERM, and SIGKILL when that takes longer than `timeoutMs`. */
  stop(timeoutMs: number): Promise<void>
}

/**
 * Runs one of the product's processes in a process group of its own: Ctrl-C in the terminal reaches only the command,
 * which then stops them in order.
 */
export function startChild(options: ChildOptions): Child {
  const { name, logFile } = options
  const child = spawn(process.execPath, [options.entry], {
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const log = createWriteStream(logFile, { flags: 'a', mode: 0o600 })
  let stopping = false
  let rest = ''
  const take = (chunk: Buffer): void => {
    log.write(chunk)
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) options.onLine(line)
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  const exited = once(child, 'close')
  const killNow = (): void => {
    child.kill('SIGKILL')
  }
  process.once('exit', killNow)

  const { promise: died, resolve: reportDeath } = Promise.withResolvers<string>()
  exited.then(
    ([code, signal]) => {
      if (!stopping)
        reportDeath(`${name} ended by itself (${signal ?? `exit ${code}`}), see ${logFile}`)
    },
    (error: Error) => reportDeath(`${name} could not be started: ${error.message}`),
  )
  return {
    name,
    died,
    async stop(timeoutMs) {
      stopping = true
      child.kill('SIGTERM')
      const timer = new AbortController()
      const late = sleep(timeoutMs, 'late', { signal: timer.signal }).catch(() => 'cancelled')
      if ((await Promise.race([exited.catch(() => undefined), late])) === 'late') killNow()
      timer.abort()
      await exited.catch(() => undefined)
      process.off('exit', killNow)
      log.end()
      await finished(log).catch(() => undefined)
    },
  }
}
