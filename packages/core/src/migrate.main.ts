import { createLogger } from './log.ts'
import { openDatabase } from './store/database.ts'
import { migrate } from './store/migrate.ts'

const url = process.env.DATABASE_URL
const log = createLogger('migrate', process.env.LOG_LEVEL ?? 'info')
if (url === undefined || url === '') {
  log.error(
    {},
    'migrate.failed: DATABASE_URL is not set, e.g. postgres://user:password@host:5432/switchhook',
  )
  process.exit(1)
}
const database = openDatabase(
  { url, applicationName: 'switchhook-migrate', maxConnections: 2, queryTimeoutMs: 600_000 },
  log,
)
try {
  log.info({ applied: await migrate(database) }, 'migrate.finished')
} catch (error) {
  log.error({ error }, 'migrate.failed')
  process.exitCode = 1
} finally {
  await database.close()
}
