import { fileURLToPath } from 'node:url'
import { rotateKeys } from './rotate-keys.ts'
import { start } from './start.ts'

const USAGE = `switchhook <command>

  start         the whole product on this machine: stores, ingress, worker, mail inbox and a demo tenant
  keys rotate   put every stored secret under the first of ENCRYPTION_KEYS, in the database of DATABASE_URL

Environment: see .env.example. INGRESS_PORT and OPS_PORT choose ports; with DATABASE_URL or REDIS_URL set,
those are used instead of the embedded stores.`

/** The checkout: what the product keeps for itself lies in its .switchhook folder. */
const root = fileURLToPath(new URL('../../../', import.meta.url))
const [command, ...rest] = process.argv.slice(2)

if (command === 'start' && rest.length === 0) {
  process.exitCode = await start(root, process.env)
} else if (command === 'keys' && rest.join(' ') === 'rotate') {
  try {
    process.exitCode = await rotateKeys(process.env, (line) => console.log(line))
  } catch (error) {
    console.error(`switchhook keys rotate: ${error instanceof Error ? error.message : error}`)
    process.exitCode = 1
  }
} else {
  const asked = command === undefined || command === 'help' || command === '--help'
  console.log(
    asked
      ? USAGE
      : `switchhook: there is no command "${process.argv.slice(2).join(' ')}"\n\n${USAGE}`,
  )
  process.exitCode = asked ? 0 : 2
}
