import { mkdtemp, realpath, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** An empty folder of its own, removed when the running test has finished. */
export async function makeTempFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'switchhook-embedded-')))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}
