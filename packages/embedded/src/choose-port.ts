import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findFreePort } from './free-port.ts'

/**
 * The port for a server whose data lie in `dataDir`. With `wanted` (1 to 65535) exactly that one, or an
 * error when it is busy; otherwise the one used last time, so that URLs survive a restart, or a free one.
 */
export async function choosePort(dataDir: string, wanted: number | undefined): Promise<number> {
  if (wanted !== undefined && wanted > 0) {
    if ((await findFreePort(wanted)) === wanted) return wanted
    throw new Error(
      `Port ${wanted} on 127.0.0.1 is busy: stop what listens there, or give another port.`,
    )
  }
  const remembered = Number(await readFile(portFile(dataDir), 'utf8').catch(() => ''))
  return await findFreePort(isPort(remembered) ? remembered : undefined)
}

/** Writes down the port in use, for the next `choosePort`. */
export async function rememberPort(dataDir: string, port: number): Promise<void> {
  const draft = `${portFile(dataDir)}-${process.pid}`
  // Renamed into place, which also replaces a file that a run as another user left there.
  await writeFile(draft, `${port}\n`)
  await rename(draft, portFile(dataDir))
}

function portFile(dataDir: string): string {
  return join(dataDir, 'port')
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value > 0 && value <= 65_535
}
