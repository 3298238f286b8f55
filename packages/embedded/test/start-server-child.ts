import { startPostgres } from '../src/postgres.ts'
import { startRedis } from '../src/redis.ts'

/**
 * Runs one server until SIGTERM (SIGHUP: exits without stopping it), as a process that a test may kill:
 * `node start-server-child.ts postgres|redis <dataDir>`. Prints one line of JSON when ready.
 */
const [kind, dataDir = ''] = process.argv.slice(2)
const server =
  kind === 'postgres' ? await startPostgres({ dataDir }) : await startRedis({ dataDir })
process.once('SIGHUP', () => process.exit())
process.once('SIGTERM', () => {
  server.stop().catch(() => {
    process.exitCode = 1
  })
})
process.stdout.write(`${JSON.stringify({ url: server.url, pid: server.pid })}\n`)
