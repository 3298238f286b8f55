import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { NonRoot } from './non-root.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'
import { removeOrphan } from './remove-orphan.ts'

const initdbTimeoutMs = 60_000

/** The part of `dataDir` that is Postgres's own (its PGDATA). */
export function clusterDir(dataDir: string): string {
  return join(dataDir, 'cluster')
}

/**
 * Makes the cluster in `dataDir` unless there is one: UTF8, locale C, superuser `switchhook`, no password.
 * initdb works in a folder of its own that is renamed at the end, so that a killed initdb leaves nothing
 * that looks like a cluster.
 */
export async function createCluster(
  dataDir: string,
  binaries: PostgresBinaries,
  nonRoot: NonRoot,
): Promise<void> {
  const unfinished = 'cluster-new-'
  for (const name of await readdir(dataDir)) {
    if (name.startsWith(unfinished)) await rm(join(dataDir, name), { recursive: true, force: true })
  }
  if (existsSync(join(clusterDir(dataDir), 'PG_VERSION'))) return

  const draft = join(dataDir, unfinished + randomUUID())
  const { wrapper, uid, gid } = nonRoot
  const [command = binaries.initdb, ...args] = [
    ...wrapper,
    binaries.initdb,
    ...['-D', draft, '-U', 'switchhook', '--auth=trust', '--encoding=UTF8', '--locale=C'],
  ]
  try {
    await promisify(execFile)(command, args, {
      timeout: initdbTimeoutMs,
      env: { ...process.env, ...binaries.env, LC_ALL: 'C' },
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    })
  } catch (error) {
    await rm(draft, { recursive: true, force: true })
    const reason = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
    throw new Error(`initdb could not make a Postgres cluster in ${dataDir}:\n${reason.trim()}`, {
      cause: error,
    })
  }
  await rename(draft, clusterDir(dataDir))
}

/**
 * Ends what an earlier run left behind: a server whose parent was killed, or only its postmaster.pid.
 * The file must go, because Postgres believes it as soon as any process has that pid, which after a
 * restart of a container is the rule.
 */
export async function removeLeftoverServer(dataDir: string): Promise<number | undefined> {
  const state = await readPostmasterPid(dataDir)
  if (state === undefined) return undefined
  const isOrphan = await removeOrphan({
    pid: state.pid,
    isOurs: (commandLine) => commandLine.includes(`postgres -D ${clusterDir(dataDir)} `),
    stopSignal: 'SIGINT',
  })
  await rm(join(clusterDir(dataDir), 'postmaster.pid'), { force: true })
  return isOrphan ? state.pid : undefined
}

/**
 * What the postmaster wrote into postmaster.pid: line 1 its pid, line 8 its status.
 * Source: Postgres, src/include/utils/pidfile.h; `pg_ctl --wait` reads the same lines.
 */
export async function readPostmasterPid(
  dataDir: string,
): Promise<{ pid: number; isReady: boolean } | undefined> {
  const file = join(clusterDir(dataDir), 'postmaster.pid')
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const lines = text.split('\n')
  return { pid: Number(lines[0]), isReady: lines[7]?.trim() === 'ready' }
}
