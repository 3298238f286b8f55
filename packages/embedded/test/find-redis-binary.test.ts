import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findRedisBinary } from '../src/find-redis-binary.ts'
import { RedisNotFoundError } from '../src/redis-not-found-error.ts'
import { makeTempFolder } from './temp-folder.ts'

const platform = `${process.platform}-${process.arch}`

/** A machine whose PATH holds only the scripts that a test writes to it. */
async function makeMachine(): Promise<{
  searchPath: string
  cacheDir: string
  addProgram(name: string, script: string): Promise<void>
}> {
  const folder = await makeTempFolder()
  const searchPath = join(folder, 'bin')
  await mkdir(searchPath)
  return {
    searchPath,
    cacheDir: join(folder, 'cache'),
    addProgram: async (name, script) => {
      await writeFile(join(searchPath, name), `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}\n`, {
        mode: 0o755,
      })
    },
  }
}

/** A dpkg that, told `-x <deb> <root>`, unpacks a server which prints the content of the package. */
const dpkg = `
mkdir -p "$3/usr/bin"
{ echo '#!/bin/sh'; echo "echo \\"$(cat "$2")\\""; } > "$3/usr/bin/redis-server"
chmod +x "$3/usr/bin/redis-server"`

const aptCache =
  'printf "redis-server\\n  Depends: redis-tools\\n  Depends: libssl3t64\\n  Depends: libc6\\n"'

function aptGet(version: string): string {
  return `
case " $* " in *" download redis-server redis-tools libssl3t64 "*) ;; *) echo "E: asked for $*" >&2; exit 100;; esac
echo 'Redis server v=${version} sha=0' > redis-server.deb`
}

test('without a redis-server the error says what to type', async () => {
  const { searchPath, cacheDir } = await makeMachine()
  const missing = findRedisBinary({ searchPath, cacheDir })
  await expect(missing).rejects.toBeInstanceOf(RedisNotFoundError)
  await expect(missing).rejects.toThrow(
    /apt-get install redis-server[\s\S]*brew install redis[\s\S]*set REDIS_URL/,
  )
})

test('a given binary that is no redis-server is an error and not passed over', async () => {
  const { searchPath, addProgram } = await makeMachine()
  await addProgram('redis-server', 'echo "Redis server v=7.2.4 sha=0"')
  await expect(findRedisBinary({ searchPath, binary: '/no/such/redis' })).rejects.toThrow(
    '/no/such/redis is not a redis-server that runs here.',
  )
})

test('a redis-server older than 6.2 is passed over for a valkey-server', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  await addProgram('redis-server', 'echo "Redis server v=6.0.16 sha=0"')
  await addProgram('valkey-server', 'echo "Valkey server v=8.1.1 sha=0"')
  expect(await findRedisBinary({ searchPath, cacheDir })).toMatchObject({
    command: 'valkey-server',
    version: { major: 8, minor: 1 },
    how: 'on PATH',
  })
})

test('the package is downloaded once with its libraries but libc, then found in the cache', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  await addProgram('apt-cache', aptCache)
  await addProgram('apt-get', aptGet('7.0.15'))
  await addProgram('dpkg', dpkg)
  const command = join(cacheDir, platform, 'usr', 'bin', 'redis-server')
  const first = await findRedisBinary({ searchPath, cacheDir })
  expect(first).toMatchObject({ command, how: 'downloaded with apt-get' })
  const second = await findRedisBinary({ searchPath, cacheDir })
  expect(second).toMatchObject({ command, how: 'cached' })
})

test('without package lists of the machine it fetches its own', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  const needsOwnLists = `
lists=$(printf '%s\\n' "$@" | sed -n 's/^Dir::State::Lists=//p')
[ -n "$lists" ] || { echo 'E: Unable to locate package redis-server' >&2; exit 100; }
case "$*" in *update) touch "$lists/fetched"; exit 0;; esac
[ -e "$lists/fetched" ] || exit 100`
  await addProgram('apt-cache', `${needsOwnLists}\n${aptCache}`)
  await addProgram('apt-get', `${needsOwnLists}\n${aptGet('7.0.15')}`)
  await addProgram('dpkg', dpkg)
  const found = await findRedisBinary({ searchPath, cacheDir })
  expect(found.how).toBe('downloaded with apt-get')
})

test('two downloads at the same time both succeed and leave one cache', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  await addProgram('apt-cache', aptCache)
  await addProgram('apt-get', aptGet('7.0.15'))
  await addProgram('dpkg', dpkg)
  const find = () => findRedisBinary({ searchPath, cacheDir })
  const found = await Promise.all([find(), find(), find()])
  expect(new Set(found.map(({ command }) => command)).size).toBe(1)
  expect(await readdir(cacheDir)).toEqual([platform])
})

test('a cache that does not work any more is replaced', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  await mkdir(join(cacheDir, platform, 'usr', 'bin'), { recursive: true })
  await writeFile(join(cacheDir, platform, 'usr', 'bin', 'redis-server'), 'half a file')
  await addProgram('apt-cache', aptCache)
  await addProgram('apt-get', aptGet('7.0.15'))
  await addProgram('dpkg', dpkg)
  const found = await findRedisBinary({ searchPath, cacheDir })
  expect(found.version).toEqual({ major: 7, minor: 0 })
  expect(await readdir(cacheDir)).toEqual([platform])
})

test('a failed download is reported with its reason and leaves nothing behind', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  await addProgram('apt-cache', aptCache)
  await addProgram('apt-get', 'echo "E: Failed to fetch: no route to host" >&2; exit 100')
  await addProgram('dpkg', dpkg)
  await expect(findRedisBinary({ searchPath, cacheDir })).rejects.toThrow('no route to host')
  expect(await readdir(cacheDir)).toEqual([])
})

test('a distribution whose Redis is too old is an error that says so', async () => {
  const { searchPath, cacheDir, addProgram } = await makeMachine()
  await addProgram('apt-cache', aptCache)
  await addProgram('apt-get', aptGet('6.0.16'))
  await addProgram('dpkg', dpkg)
  await expect(findRedisBinary({ searchPath, cacheDir })).rejects.toThrow('older than 6.2')
  expect(await readdir(cacheDir)).toEqual([])
})
