import { parseEnvironment, sharedEnvironment } from '@switchhook/core/environment'
import { createLogger } from '@switchhook/core/log'
import { openDatabase } from '@switchhook/core/store/database'
import { rotateSecrets } from '@switchhook/core/store/rotate-secrets'
import { z } from 'zod'

const QUERY_TIMEOUT_MS = 60_000

const schema = z.object({
  DATABASE_URL: sharedEnvironment.DATABASE_URL,
  ENCRYPTION_KEYS: sharedEnvironment.ENCRYPTION_KEYS,
})

/**
 * Puts every stored secret under the first of ENCRYPTION_KEYS and says so. Returns the exit code: 1 when a secret could
 * not be opened with any key. Throws for a bad environment or when Postgres is away.
 */
export async function rotateKeys(
  env: Readonly<Record<string, string | undefined>>,
  print: (line: string) => void,
): Promise<number> {
  const { DATABASE_URL: url, ENCRYPTION_KEYS: ring } = parseEnvironment(schema, env)
  const options = { url, applicationName: 'switchhook-keys', maxConnections: 2 }
  const database = openDatabase(
    { ...options, queryTimeoutMs: QUERY_TIMEOUT_MS },
    createLogger('keys', 'silent'),
  )
  try {
    const { rotated, unreadable } = await rotateSecrets(database.db, ring)
    print(`${rotated} secrets are now under key "${ring.firstKeyId}".`)
    if (unreadable.length === 0) {
      print('No secret needs another key: the others can be taken out of ENCRYPTION_KEYS.')
      return 0
    }
    print(
      `${unreadable.length} secrets could not be opened with any key, and were left as they are:`,
    )
    for (const name of unreadable.slice(0, 50)) print(`  ${name}`)
    print('Add the key they were encrypted with, or set these secrets anew.')
    return 1
  } finally {
    await database.close()
  }
}
