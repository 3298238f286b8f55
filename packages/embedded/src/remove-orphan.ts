import { findProcess } from './find-process.ts'
import { isErrno } from './is-errno.ts'
import { waitUntil } from './wait-until.ts'

const stopTimeoutMs = 10_000
const killTimeoutMs = 5_000

export type OrphanSearch = {
  /** As the server wrote it into its pid file; the number may belong to a stranger by now. */
  pid: number
  /** Whether this command line is really the server of the data folder in question. */
  isOurs: (commandLine: string) => boolean
  stopSignal: 'SIGINT' | 'SIGTERM'
}

/**
 * Stops a server that outlived the process which started it: `stopSignal`, then SIGKILL after 10 s.
 * Returns whether there was one. A pid that is free or belongs to something else is left alone.
 */
export async function removeOrphan({ pid, isOurs, stopSignal }: OrphanSearch): Promise<boolean> {
  const orphan = await findProcess(pid)
  if (orphan === undefined || !isOurs(orphan.commandLine)) return false
  const isGone = async () => (await findProcess(pid))?.startedAt !== orphan.startedAt
  for (const [signal, timeoutMs] of [
    [stopSignal, stopTimeoutMs],
    ['SIGKILL', killTimeoutMs],
  ] as const) {
    signalOrphan(pid, signal, orphan.commandLine)
    if (await waitUntil(isGone, timeoutMs)) return true
  }
  throw new Error(`Process ${pid} (${orphan.commandLine}) is left over and does not end.`)
}

function signalOrphan(pid: number, signal: NodeJS.Signals, commandLine: string): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (isErrno(error, 'ESRCH')) return
    throw new Error(
      `Process ${pid} (${commandLine}) is left over and belongs to another user: stop it first (sudo kill ${pid}).`,
      { cause: error },
    )
  }
}
