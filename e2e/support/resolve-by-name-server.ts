import dns, { type LookupAddress, type LookupOptions, Resolver } from 'node:dns'
import { syncBuiltinESMExports } from 'node:module'

// Loaded with --import into a process under test: the system's resolver cannot be pointed at a server of the test's
// own without being root. Names that end in `.example` are asked there, over UDP; all others go on as before.

type Callback = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void

const system = dns.lookup
const servers = [process.env.TEST_NAME_SERVER ?? '']

function resolve(host: string, family: 4 | 6): Promise<LookupAddress[] | NodeJS.ErrnoException> {
  // One for each question: an error that one of them meets would end the others' waiting.
  const resolver = new Resolver({ timeout: 60_000, tries: 1 })
  resolver.setServers(servers)
  return new Promise((settle) => {
    const done = (error: NodeJS.ErrnoException | null, addresses: string[]) =>
      settle(error ?? addresses.map((address) => ({ address, family })))
    if (family === 4) resolver.resolve4(host, done)
    else resolver.resolve6(host, done)
  })
}

/** As getaddrinfo would say it. */
function failure(errors: readonly NodeJS.ErrnoException[]): NodeJS.ErrnoException {
  const isMissing = errors.every(({ code }) => code === 'ENOTFOUND' || code === 'ENODATA')
  const code = isMissing ? 'ENOTFOUND' : 'EAI_AGAIN'
  return Object.assign(new Error(`getaddrinfo ${code}`), { code })
}

async function look(host: string, options: LookupOptions, callback: Callback): Promise<void> {
  const halves = await Promise.all([resolve(host, 4), resolve(host, 6)])
  const addresses = halves.flatMap((half) => (half instanceof Error ? [] : half))
  const errors = halves.filter((half) => half instanceof Error)
  const [first] = addresses
  if (first === undefined) callback(failure(errors), [])
  else if (options.all === true) callback(null, addresses)
  else callback(null, first.address, first.family)
}

function lookup(host: string, options: LookupOptions, callback: Callback): void {
  if (host.endsWith('.example')) void look(host, options, callback)
  else system(host, options, callback)
}

Object.assign(dns, { lookup })
syncBuiltinESMExports()
