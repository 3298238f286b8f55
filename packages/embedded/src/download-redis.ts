import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { isErrno } from './is-errno.ts'

const downloadTimeoutMs = 120_000
const abandonedAfterMs = 60 * 60 * 1_000
const redisPackages = ['redis-server', 'redis-tools']

export type DownloadOptions<Found> = {
  /** Becomes the folder with the unpacked packages. */
  root: string
  /** Where apt-get and dpkg are looked up. */
  searchPath: string
  /** Finds a working server in a folder of unpacked packages. */
  findIn: (folder: string) => Promise<Found | undefined>
}

/**
 * Downloads the distribution's redis-server with the libraries it names, and unpacks them without
 * installing anything. Everything happens in a temporary folder that is renamed to `root` at the end: a
 * killed download leaves no half cache, and of two at the same time the first one wins.
 * Throws with a message that continues the sentence "No redis-server …, and".
 */
export async function downloadRedis<Found>(options: DownloadOptions<Found>): Promise<Found> {
  const { root, searchPath, findIn } = options
  const parent = dirname(root)
  const prefix = `.download-${basename(root)}-`
  await mkdir(parent, { recursive: true })
  await removeAbandoned(parent, prefix)
  const work = await mkdtemp(join(parent, prefix))
  try {
    const unpacked = join(work, 'root')
    await unpackPackages(work, unpacked, searchPath)
    if ((await findIn(unpacked)) === undefined) {
      throw new Error('the one of this distribution does not run here or is older than 6.2.')
    }
    await moveIntoPlace(unpacked, root, join(work, 'replaced'), findIn)
    const found = await findIn(root)
    if (found === undefined) throw new Error(`the downloaded one does not run from ${root}.`)
    return found
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function unpackPackages(work: string, unpacked: string, searchPath: string): Promise<void> {
  const debs = join(work, 'debs')
  const lists = join(work, 'lists')
  await mkdir(debs)
  await mkdir(join(lists, 'partial'), { recursive: true })
  const signal = AbortSignal.timeout(downloadTimeoutMs)
  const run = async (command: string, args: string[]) => {
    const env = { ...process.env, PATH: searchPath, LC_ALL: 'C' }
    const result = await promisify(execFile)(command, args, { cwd: debs, env, signal })
    return result.stdout
  }
  // As root, apt would drop to user _apt, who cannot write here.
  const common = ['-q', '-o', 'APT::Sandbox::User=', '-o', 'Acquire::http::Timeout=20']
  const ownLists = [...common, '-o', `Dir::State::Lists=${lists}`, '-o', `Dir::Cache=${work}`]
  try {
    await downloadPackages(run, common).catch(async () => {
      signal.throwIfAborted()
      // The machine has no package lists, as in a container image, or outdated ones: get our own.
      await run('apt-get', [...ownLists, 'update'])
      await downloadPackages(run, ownLists)
    })
    for (const name of await readdir(debs)) {
      if (name.endsWith('.deb')) await run('dpkg', ['-x', join(debs, name), unpacked])
    }
  } catch (error) {
    if (isMissingCommand(error)) {
      throw new Error('none can be downloaded without apt-get and dpkg.', { cause: error })
    }
    const reason = signal.aborted ? `not done after ${downloadTimeoutMs / 1000} s` : lastLine(error)
    throw new Error(`apt-get could not download one (${reason}).`, { cause: error })
  }
}

type Run = (command: string, args: string[]) => Promise<string>

async function downloadPackages(run: Run, aptOptions: string[]): Promise<void> {
  const onlyDepends = ['Recommends', 'Suggests', 'Conflicts', 'Breaks', 'Replaces', 'Enhances']
  const listing = await run('apt-cache', [
    ...aptOptions,
    'depends',
    ...onlyDepends.map((kind) => `--no-${kind.toLowerCase()}`),
    ...redisPackages,
  ])
  await run('apt-get', [...aptOptions, 'download', ...redisPackages, ...findLibraries(listing)])
}

/**
 * The libraries among the dependencies: their names differ between releases (libssl3, libssl3t64).
 * Those that every Debian and Ubuntu has are left out, above all libc: a second one would not fit.
 */
function findLibraries(aptCacheDepends: string): string[] {
  const names = aptCacheDepends
    .split('\n')
    .map((line) => /^\s+(?:Pre)?Depends: ((?:lib|lua)[^\s<>]+)$/.exec(line)?.[1])
    .filter((name) => name !== undefined)
    .filter((name) => !/^lib(c6|gcc|stdc\+\+|systemd)/.test(name))
  return [...new Set(names)]
}

async function moveIntoPlace<Found>(
  unpacked: string,
  root: string,
  replaced: string,
  findIn: (folder: string) => Promise<Found | undefined>,
): Promise<void> {
  try {
    await rename(unpacked, root)
  } catch (error) {
    if (!isErrno(error, 'ENOTEMPTY', 'EEXIST')) throw error
    // Either another process was quicker, or an old cache stopped working, as after a system upgrade.
    if ((await findIn(root)) !== undefined) return
    await rename(root, replaced)
    await rename(unpacked, root)
  }
}

async function removeAbandoned(parent: string, prefix: string): Promise<void> {
  for (const name of await readdir(parent)) {
    const folder = join(parent, name)
    const changed = name.startsWith(prefix) ? await stat(folder).catch(() => undefined) : undefined
    if (changed !== undefined && Date.now() - changed.mtimeMs > abandonedAfterMs) {
      await rm(folder, { recursive: true, force: true })
    }
  }
}

function isMissingCommand(error: unknown): boolean {
  return isErrno(error, 'ENOENT') && error instanceof Error && 'syscall' in error
}

function lastLine(error: unknown): string {
  const text = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error)
  return text.trim().split('\n').at(-1) ?? ''
}
