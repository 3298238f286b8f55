import { startMailInbox } from './mail-inbox.ts'

/**
 * The mail inbox as a process of its own, for docker compose. Variables: SMTP_PORT (1025),
 * HTTP_PORT (8025), HOST (0.0.0.0). SIGTERM or SIGINT stops it; mails are in memory only.
 */
const inbox = await startMailInbox({
  smtpPort: readPort('SMTP_PORT', 1025),
  httpPort: readPort('HTTP_PORT', 8025),
  host: process.env.HOST || '0.0.0.0',
})
process.stdout.write(`mail inbox: ${inbox.smtpUrl} in, ${inbox.httpUrl} to look at\n`)

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    inbox.stop().catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`)
      process.exitCode = 1
    })
  })
}

function readPort(name: string, fallback: number): number {
  const text = process.env[name] || String(fallback)
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new Error(`${name} must be a port from 0 to 65535, not "${text}"`)
}
