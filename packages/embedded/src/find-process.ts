import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

/** `startedAt` has no unit to rely on: two processes with the same pid and `startedAt` are the same. */
export type RunningProcess = { commandLine: string; startedAt: string }

/** The running process with this pid; undefined when there is none or it is only a zombie. */
export async function findProcess(pid: number): Promise<RunningProcess | undefined> {
  if (!Number.isInteger(pid) || pid <= 0) return undefined
  if (existsSync('/proc/self/stat')) return await findInProc(pid)
  if (process.platform === 'win32') return findBySignal(pid)
  return await findWithPs(pid)
}

/** Linux, proc_pid_stat(5): the fields after the command's closing bracket start with the 3rd, the state. */
async function findInProc(pid: number): Promise<RunningProcess | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, startTicks] = [fields[0], fields[19]]
    if (state === undefined || startTicks === undefined || 'ZX'.includes(state)) return undefined
    const args = await readFile(`/proc/${pid}/cmdline`, 'utf8')
    return { commandLine: args.split('\0').join(' ').trim(), startedAt: startTicks }
  } catch {
    return undefined
  }
}

/** macOS and the BSDs. `lstart` always takes 24 characters. */
async function findWithPs(pid: number): Promise<RunningProcess | undefined> {
  const columns = ['-ww', '-o', 'lstart=', '-o', 'stat=', '-o', 'command=', '-p', String(pid)]
  const result = await promisify(execFile)('ps', columns, {
    timeout: 5_000,
    env: { ...process.env, LC_ALL: 'C' },
  }).catch(() => undefined)
  const match = /^\s*(.{24})\s+(\S+)\s+(.*)$/s.exec(result?.stdout ?? '')
  const [, startedAt, state, commandLine] = match ?? []
  if (startedAt === undefined || commandLine === undefined || state?.startsWith('Z')) {
    return undefined
  }
  return { commandLine: commandLine.trim(), startedAt }
}

/** Windows shows neither without extra tools: enough to see a live owner, not to recognise an orphan. */
function findBySignal(pid: number): RunningProcess | undefined {
  try {
    process.kill(pid, 0)
    return { commandLine: '', startedAt: 'unknown' }
  } catch {
    return undefined
  }
}
