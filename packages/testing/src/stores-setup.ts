import type { TestProject } from 'vitest/node'
import type {} from './provided-stores.ts'
import { type Stores, startStores } from './stores.ts'

/** The stores of this process, and how many projects still use them. */
type Shared = { starting: Promise<Stores>; users: number }

// Each project loads this file for itself, so a variable of the module would not be shared.
const SHARED = Symbol.for('switchhook.test-stores')
const processWide = globalThis as { [SHARED]?: Shared | undefined }

/**
 * vitest's global setup of the projects that need Postgres and Redis. The first project starts them, all
 * use the same, the last teardown stops them. Tests get the URLs by `providedStores()`.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const shared = processWide[SHARED] ?? { starting: startAndSay(), users: 0 }
  processWide[SHARED] = shared
  shared.users += 1
  const stores = await shared.starting
  project.provide('databaseUrl', stores.databaseUrl)
  project.provide('redisUrl', stores.redisUrl)
  return async () => {
    shared.users -= 1
    if (shared.users > 0) return
    processWide[SHARED] = undefined
    await stores.stop()
  }
}

async function startAndSay(): Promise<Stores> {
  const say = (line: string) => void process.stdout.write(`test stores: ${line}\n`)
  const stores = await startStores({ env: process.env, onNote: say })
  say(stores.how)
  return stores
}
