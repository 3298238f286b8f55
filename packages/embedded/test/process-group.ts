import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

export const hasProc = existsSync('/proc/self/stat')

/** Linux, proc_pid_stat(5): the 5th field, the third after the command's closing bracket. */
export async function readProcessGroup(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2])
}
