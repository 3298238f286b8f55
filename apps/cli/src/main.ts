import { fileURLToPath } from 'node:url'
import { start } from './start.ts'

const USAGE = `switchhook <command>

  start    the whole product on this machine: stores, ingress, worker, mail inbox and a demo tenant

Environment: see .env.example. INGRESS_PORT and OPS_PORT choose ports; with DATABASE_URL or REDIS_URL set,
those are used instead of the embedded stores.`

/** The checkout: what the product keeps for itself lies in its .switchhook folder. */
const root = fileURLToPath(new URL('../../../', import.meta.url))
const [command, ...rest] = process.argv.slice(2)

if (command === 'start' && rest.length === 0) {
  process.exitCode = await start(root, process.env)
} else {
  const asked = command === undefined || command === 'help' || command === '--help'
  console.log(
    asked
      ? USAGE
      : `switchhook: there is no command "${process.argv.slice(2).join(' ')}"\n\n${USAGE}`,
  )
  process.exitCode = asked ? 0 : 2
}
