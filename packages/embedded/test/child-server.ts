import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export type ChildServer = { child: ChildProcess; url: string; serverPid: number }

export type ChildOptions = {
  /** Put before `node`, e.g. setpriv. */
  wrapper?: readonly string[]
  env?: NodeJS.ProcessEnv
}

/** Starts Postgres or Redis in a Node process of its own, which leads its own process group. */
export async function startChildServer(
  kind: 'postgres' | 'redis',
  dataDir: string,
  { wrapper = [], env = {} }: ChildOptions = {},
): Promise<ChildServer> {
  const script = join(import.meta.dirname, 'start-server-child.ts')
  const [command = '', ...args] = [...wrapper, process.execPath, script, kind, dataDir]
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  const lines = createInterface({ input: child.stdout })
  const exit = once(child, 'exit').then(([code]) => {
    throw new Error(`the child ended with ${code} before its ${kind} was ready`)
  })
  const line = once(lines, 'line')
  exit.catch(() => undefined)
  const [text] = await Promise.race([line, exit])
  const ready: unknown = JSON.parse(String(text))
  if (!isReadyLine(ready)) throw new Error(`unexpected line from the child: ${text}`)
  return { child, url: ready.url, serverPid: ready.pid }
}

/** Signals the child and resolves when it is gone. */
export async function endChild(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

function isReadyLine(value: unknown): value is { url: string; pid: number } {
  return typeof value === 'object' && value !== null && 'url' in value && 'pid' in value
}
