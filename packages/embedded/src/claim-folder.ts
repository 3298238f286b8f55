import { randomUUID } from 'node:crypto'
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findProcess } from './find-process.ts'
import { isErrno } from './is-errno.ts'

export type FolderClaim = { release(): Promise<void> }

type Owner = { pid: number; startedAt: string; token: string }

/**
 * Makes this process the only one that runs a server on `folder`, through `folder/owner.json`.
 * A claim left behind by a dead process is taken over; a claim of a live one (this one included) is an
 * error that names its pid. Redis has no lock of its own, and two of them on one folder ruin its log.
 */
export async function claimFolder(folder: string, serverName: string): Promise<FolderClaim> {
  const ownerFile = join(folder, 'owner.json')
  const self = await findProcess(process.pid)
  const mine: Owner = {
    pid: process.pid,
    startedAt: self?.startedAt ?? 'unknown',
    token: randomUUID(),
  }
  const draft = join(folder, `owner-${mine.token}.json`)
  try {
    await writeFile(draft, `${JSON.stringify(mine)}\n`)
  } catch (error) {
    throw new Error(`Cannot write into the data folder ${folder}: check who owns it.`, {
      cause: error,
    })
  }
  try {
    await placeClaim(draft, ownerFile, folder, serverName)
  } finally {
    await rm(draft, { force: true })
  }
  return {
    release: async () => {
      const owner = await readOwner(ownerFile)
      if (owner?.token === mine.token) await rm(ownerFile, { force: true })
    },
  }
}

async function placeClaim(
  draft: string,
  ownerFile: string,
  folder: string,
  serverName: string,
): Promise<void> {
  for (let round = 0; round < 10; round += 1) {
    try {
      // link() is atomic and fails when the name exists; rename() would overwrite another's claim.
      await link(draft, ownerFile)
      return
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
    }
    await refuseIfAlive(await readOwner(ownerFile), folder, serverName)
    await moveAside(ownerFile, `${draft}.stale`, folder, serverName)
  }
  throw new Error(`Could not claim ${folder} for ${serverName}: others keep claiming it.`)
}

/** Of two processes that saw the same dead claim, the slower one may move away the live claim of the quicker. */
async function moveAside(
  ownerFile: string,
  aside: string,
  folder: string,
  serverName: string,
): Promise<void> {
  try {
    await rename(ownerFile, aside)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return
    throw error
  }
  try {
    await refuseIfAlive(await readOwner(aside), folder, serverName)
  } catch (error) {
    await link(aside, ownerFile).catch(() => undefined)
    throw error
  } finally {
    await rm(aside, { force: true })
  }
}

async function refuseIfAlive(
  owner: Owner | undefined,
  folder: string,
  serverName: string,
): Promise<void> {
  if (owner === undefined) return
  const running = await findProcess(owner.pid)
  if (running?.startedAt !== owner.startedAt) return
  throw new Error(
    `Process ${owner.pid} already runs ${serverName} in ${folder}: stop it first (kill ${owner.pid}), or use another data folder.`,
  )
}

async function readOwner(file: string): Promise<Owner | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(file, 'utf8'))
    return isOwner(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isOwner(value: unknown): value is Owner {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pid' in value &&
    typeof value.pid === 'number' &&
    'startedAt' in value &&
    typeof value.startedAt === 'string' &&
    'token' in value
  )
}
