import { readdir, readFile } from 'node:fs/promises'
import { sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import type { DatabaseHandle } from './database.ts'
import { ensurePartitions } from './partitions.ts'

const FOLDER = new URL('../../migrations/', import.meta.url)

async function readMigrations(): Promise<Record<string, Migration>> {
  const files = (await readdir(FOLDER)).filter((name) => name.endsWith('.sql')).sort()
  const migrations: Record<string, Migration> = {}
  for (const file of files) {
    const text = await readFile(new URL(file, FOLDER), 'utf8')
    migrations[file.replace(/\.sql$/, '')] = {
      up: async (db) => {
        await sql.raw(text).execute(db)
      },
    }
  }
  return migrations
}

/**
 * Brings the schema up to date and makes the partitions of the days to come. Safe to start twice at once: Kysely
 * holds a lock. Returns the names of the migrations it applied; throws with the first failure, nothing half done.
 */
export async function migrate({ db, pool }: DatabaseHandle): Promise<string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: readMigrations } })
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error !== undefined) throw new Error('the migration failed', { cause: error })
  await ensurePartitions(pool, Date.now())
  return results.map(({ migrationName }) => migrationName)
}

/** The migrations that the code knows and the database lacks; empty when they agree. */
export async function findPendingMigrations(db: DatabaseHandle['db']): Promise<string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: readMigrations } })
  const known = await migrator.getMigrations()
  return known.filter(({ executedAt }) => executedAt === undefined).map(({ name }) => name)
}
