import { createIsolatedDatabase } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import { silentLogger } from '../src/log.ts'
import { type DatabaseHandle, openDatabase } from '../src/store/database.ts'
import { migrate } from '../src/store/migrate.ts'

export type TestDatabase = DatabaseHandle & { readonly url: string; drop(): Promise<void> }

/** A database of its own for one test file; `empty` without the schema. */
export async function createTestDatabase(schema: 'migrated' | 'empty'): Promise<TestDatabase> {
  const isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const handle = openTestDatabase(isolated.url)
  if (schema === 'migrated') await migrate(handle)
  const drop = async () => {
    await handle.close()
    await isolated.drop()
  }
  return { ...handle, url: isolated.url, drop }
}

export function openTestDatabase(url: string): DatabaseHandle {
  return openDatabase(
    { url, applicationName: 'test', maxConnections: 4, queryTimeoutMs: 15_000 },
    silentLogger,
  )
}
