import { execFile } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { promisify } from 'node:util'

/** How to run a program so that it is not root: put `wrapper` before it, or spawn it with `uid` and `gid`. */
export type NonRoot = {
  wrapper: readonly string[]
  uid?: number
  gid?: number
  /** For the log, e.g. `as root in a user namespace`. */
  how: string
}

// initdb wants a uid with a name, and this one has one on every Linux.
const nobody = 65_534
const probeTimeoutMs = 5_000

/**
 * Postgres refuses to run as root and wants to own its data folder. An ordinary user needs nothing. Root
 * gets, in this order:
 * - a user namespace, where root looks like nobody: no file changes hands;
 * - the uid that owns `dataDir` (nobody, if that is root: the folder is handed over), with only the right
 *   to pass folders closed to it, because a project under /root is closed to everyone (0700);
 * - the same uid without that right. Docker's default seccomp profile forbids the first but not the second.
 */
export async function chooseNonRoot(dataDir: string, program: string): Promise<NonRoot> {
  if (process.getuid?.() !== 0) return { wrapper: [], how: 'as this user' }
  const owner = await stat(dataDir)
  if (owner.uid === 0) {
    const wrapper = ['unshare', '--user', `--map-user=${nobody}`, `--map-group=${nobody}`]
    if (
      (await succeeds([...wrapper, program, '--version'])) &&
      (await succeeds([...wrapper, 'test', '-w', dataDir]))
    ) {
      return { wrapper, how: 'as root in a user namespace' }
    }
  }
  const uid = owner.uid || nobody
  const gid = owner.uid === 0 ? nobody : owner.gid
  if (owner.uid === 0) await promisify(execFile)('chown', ['-hR', `${uid}:${gid}`, dataDir])
  const wrapper = [
    'setpriv',
    `--reuid=${uid}`,
    `--regid=${gid}`,
    '--clear-groups',
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
    // Without it access(2), by which initdb looks for postgres, does not see that right.
    '--securebits=+no_setuid_fixup',
  ]
  const how = `as uid ${uid}`
  if (await succeeds([...wrapper, program, '--version'])) return { wrapper, how }
  return { wrapper: [], uid, gid, how }
}

async function succeeds(commandLine: readonly string[]): Promise<boolean> {
  const [command = '', ...args] = commandLine
  return await promisify(execFile)(command, args, { timeout: probeTimeoutMs }).then(
    () => true,
    () => false,
  )
}
