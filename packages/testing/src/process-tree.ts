import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const PS_TIMEOUT_MS = 5_000

/** The pids of a process and all its descendants, parents before children. */
export async function findProcessTree(pid: number): Promise<number[]> {
  const parents = process.platform === 'linux' ? await readParents() : await askPsForParents()
  const tree = [pid]
  for (const parent of tree) {
    for (const [child, itsParent] of parents) if (itsParent === parent) tree.push(child)
  }
  return tree
}

/**
 * Freezes a process and all its descendants (SIGSTOP): their connections stay open and silent. The root
 * goes first, so that it cannot start a child meanwhile.
 */
export async function freezeProcessTree(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  for (const one of await findProcessTree(pid)) signal(one, 'SIGSTOP')
}

/** Undoes `freezeProcessTree`, children first. */
export async function thawProcessTree(pid: number): Promise<void> {
  for (const one of (await findProcessTree(pid)).reverse()) signal(one, 'SIGCONT')
}

/** SIGKILL to all of them, frozen or not. */
export async function killProcessTree(pid: number): Promise<void> {
  for (const one of await findProcessTree(pid)) signal(one, 'SIGKILL')
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Child and parent of every process, from /proc: a small container has no `ps`. */
async function readParents(): Promise<[child: number, parent: number][]> {
  const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger)
  const found = await Promise.all(
    pids.map(async (pid): Promise<[number, number][]> => {
      const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
      // "pid (name) state ppid …": the name may hold spaces and brackets.
      const parent = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
      return parent === undefined ? [] : [[pid, Number(parent)]]
    }),
  )
  return found.flat()
}

async function askPsForParents(): Promise<[child: number, parent: number][]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid='], {
    timeout: PS_TIMEOUT_MS,
  })
  return stdout
    .trim()
    .split('\n')
    .map((line) => {
      const [child, parent] = line.trim().split(/\s+/).map(Number)
      return [child ?? 0, parent ?? 0]
    })
}
