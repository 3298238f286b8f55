import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { downloadRedis } from './download-redis.ts'
import { RedisNotFoundError } from './redis-not-found-error.ts'

const probeTimeoutMs = 5_000
const [oldestMajor, oldestMinor] = [6, 2]

export type FindRedisOptions = {
  /** A path or a command; when given, nothing else is tried. */
  binary?: string | undefined
  /** Default `$XDG_CACHE_HOME/switchhook/redis`, else `~/.cache/switchhook/redis`. */
  cacheDir?: string | undefined
  /** Where programs are looked up; default PATH. */
  searchPath?: string | undefined
}

export type RedisBinary = {
  command: string
  /** Variables it needs beyond those of this process. */
  env: Record<string, string>
  version: { major: number; minor: number }
  how: 'given' | 'on PATH' | 'cached' | 'downloaded with apt-get'
}

/**
 * Finds a redis-server (or valkey-server) of 6.2 or newer: the given one, else on PATH, else in the cache,
 * else it downloads Debian's or Ubuntu's package into the cache (no root needed, nothing is installed;
 * at most 120 s). Throws RedisNotFoundError.
 */
export async function findRedisBinary(options: FindRedisOptions = {}): Promise<RedisBinary> {
  const searchPath = options.searchPath ?? process.env.PATH ?? ''
  if (options.binary !== undefined) {
    const given = await probe(options.binary, {}, 'given', searchPath)
    if (given !== undefined) return given
    throw new RedisNotFoundError(`${options.binary} is not a redis-server that runs here.`)
  }
  for (const command of ['redis-server', 'valkey-server']) {
    const onPath = await probe(command, {}, 'on PATH', searchPath)
    if (onPath !== undefined) return onPath
  }
  const cacheDir = options.cacheDir ?? defaultCacheDir()
  // A folder per platform, because a home folder may be shared between machines.
  const root = join(cacheDir, `${process.platform}-${process.arch}`)
  const cached = await probeUnpacked(root, 'cached', searchPath)
  if (cached !== undefined) return cached

  let downloaded: RedisBinary | undefined
  try {
    downloaded = await downloadRedis({
      root,
      searchPath,
      findIn: (unpacked) => probeUnpacked(unpacked, 'downloaded with apt-get', searchPath),
    })
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new RedisNotFoundError(`No redis-server on PATH or in ${cacheDir}, and ${reason}`, {
      cause: error,
    })
  }
  return downloaded
}

function defaultCacheDir(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'switchhook', 'redis')
}

/** The redis-server in a folder into which packages were unpacked, with the libraries lying beside it. */
async function probeUnpacked(
  root: string,
  how: RedisBinary['how'],
  searchPath: string,
): Promise<RedisBinary | undefined> {
  const libraryDirs: string[] = []
  for (const parent of [join(root, 'usr', 'lib'), join(root, 'lib')]) {
    const names = await readdir(parent).catch(() => [])
    // E.g. x86_64-linux-gnu, arm-linux-gnueabihf.
    libraryDirs.push(...names.filter((n) => n.includes('-linux-gnu')).map((n) => join(parent, n)))
  }
  const env: Record<string, string> =
    libraryDirs.length === 0 ? {} : { LD_LIBRARY_PATH: libraryDirs.join(':') }
  return await probe(join(root, 'usr', 'bin', 'redis-server'), env, how, searchPath)
}

async function probe(
  command: string,
  env: Record<string, string>,
  how: RedisBinary['how'],
  searchPath: string,
): Promise<RedisBinary | undefined> {
  const result = await promisify(execFile)(command, ['--version'], {
    timeout: probeTimeoutMs,
    env: { ...process.env, PATH: searchPath, ...env },
  }).catch(() => undefined)
  // `Redis server v=7.0.15 sha=…`, `Valkey server v=8.1.1 sha=…`
  const match = /\bv=(\d+)\.(\d+)/.exec(result?.stdout ?? '')
  if (match === null) return undefined
  const [major, minor] = [Number(match[1]), Number(match[2])]
  if (major < oldestMajor || (major === oldestMajor && minor < oldestMinor)) return undefined
  return { command, env, version: { major, minor }, how }
}
