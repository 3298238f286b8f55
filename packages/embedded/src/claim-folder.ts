import { randomUUID } from 'node:crypto'
import { link, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
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

/** With the wait of each, longer than a lock is stale. */
const MAX_ROUNDS = 400

async function placeClaim(
  draft: string,
  ownerFile: string,
  folder: string,
  serverName: string,
): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    try {
      // link() is atomic and fails when the name exists; rename() would overwrite another's claim.
      await link(draft, ownerFile)
      return
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
    }
    await refuseIfAlive(await readOwner(ownerFile), folder, serverName)
    await removeDeadClaim(ownerFile, folder, serverName)
  }
  throw new Error(`Could not claim ${folder} for ${serverName}: others keep claiming it.`)
}

/** Somebody who holds it for longer died in the few milliseconds that it takes. */
const STALE_LOCK_MS = 5_000
const LOCK_WAIT_MS = 25

/**
 * One at a time: of two that saw the same dead claim, the slower one would else remove the live claim of the quicker,
 * and a third could claim the folder meanwhile.
 */
async function removeDeadClaim(
  ownerFile: string,
  folder: string,
  serverName: string,
): Promise<void> {
  const lock = `${ownerFile}.lock`
  try {
    await mkdir(lock)
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
    await sleep(LOCK_WAIT_MS)
    const madeAtMs = await stat(lock).then(
      ({ mtimeMs }) => mtimeMs,
      () => Number.POSITIVE_INFINITY,
    )
    if (Date.now() - madeAtMs > STALE_LOCK_MS) await rm(lock, { recursive: true, force: true })
    return
  }
  try {
    await refuseIfAlive(await readOwner(ownerFile), folder, serverName)
    await rm(ownerFile, { force: true })
  } finally {
    await rm(lock, { recursive: true, force: true })
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
