import { once } from 'node:events'
import type { Server } from 'node:net'
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from 'smtp-server'
import { createMailInboxHttp } from './mail-inbox-http.ts'
import { type MailStore, openMailStore } from './mail-store.ts'
import type { StoredMail } from './stored-mail.ts'

const maxMailBytes = 10 * 1024 * 1024
const maxRecipients = 100
const maxClients = 50
const idleTimeoutMs = 30_000
const closeTimeoutMs = 500

export type MailInboxOptions = {
  /** Without it, a free one. */
  smtpPort?: number
  /** Without it, a free one. */
  httpPort?: number
  host?: string
  /** The oldest go first; also when all together pass 128 MiB. */
  maxMails?: number
  /** Keeps each mail here as `<id>.eml` too, and loads those found at the start. */
  dir?: string
}

export type MailInbox = {
  /** `smtp://127.0.0.1:<port>`, for SMTP_URL. */
  smtpUrl: string
  /** The web page; JSON at `/api/mails`, which DELETE empties. */
  httpUrl: string
  /** Newest first. */
  mails(): readonly StoredMail[]
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Starts a mail server that delivers nothing and shows everything: SMTP without login or TLS, mails up to
 * 10 MiB, and a web page. Whoever reaches `host` can read all mails, so it is loopback unless told otherwise.
 */
export async function startMailInbox(options: MailInboxOptions = {}): Promise<MailInbox> {
  const { smtpPort = 0, httpPort = 0, host = '127.0.0.1', maxMails = 1_000, dir } = options
  const store = await openMailStore(maxMails, dir)
  const smtp = createSmtpServer(store)
  // A client that breaks off is reported by this event, and would be an uncaught error.
  smtp.on('error', () => undefined)
  const smtpUrl = await listen(smtp.listen(smtpPort, host), 'smtp')
  const http = createMailInboxHttp(store, () => smtpUrl)
  let httpUrl: string
  try {
    httpUrl = await listen(http.listen(httpPort, host), 'http')
  } catch (error) {
    await closeSmtp(smtp)
    throw error
  }
  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= closeBoth(smtp, http)
    return stopping
  }
  return { smtpUrl, httpUrl, mails: store.mails, stop, [Symbol.asyncDispose]: stop }
}

function createSmtpServer(store: MailStore): SMTPServer {
  return new SMTPServer({
    name: 'localhost',
    banner: 'Switchhook mail inbox',
    disabledCommands: ['AUTH', 'STARTTLS'],
    size: maxMailBytes,
    maxClients,
    socketTimeout: idleTimeoutMs,
    closeTimeout: closeTimeoutMs,
    // A look-up in the DNS for every client is slow where there is no DNS.
    disableReverseLookup: true,
    onRcptTo: (_address, session, callback) => {
      const isFull = session.envelope.rcptTo.length >= maxRecipients
      callback(isFull ? smtpError(452, 'Too many recipients') : null)
    },
    onData: (stream, session, callback) => {
      receiveMail(stream, session, store).then(
        () => callback(null, 'Kept'),
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
      )
    },
  })
}

async function receiveMail(
  stream: SMTPServerDataStream,
  session: SMTPServerSession,
  store: MailStore,
): Promise<void> {
  const chunks: Buffer[] = []
  // An oversized mail is read to its end, or the client would not see the answer, but not kept.
  for await (const chunk of stream) {
    if (stream.byteLength > maxMailBytes) chunks.length = 0
    else chunks.push(chunk)
  }
  if (stream.sizeExceeded) throw smtpError(552, `A mail may have ${maxMailBytes} bytes here`)
  const { mailFrom, rcptTo } = session.envelope
  await store.add(Buffer.concat(chunks), {
    from: mailFrom === false ? '' : mailFrom.address,
    to: rcptTo.map(({ address }) => address),
  })
}

/** smtp-server answers with the `responseCode` of an error. */
function smtpError(responseCode: number, message: string): Error {
  return Object.assign(new Error(message), { responseCode })
}

/** `once` also rejects on the `error` event, e.g. EADDRINUSE. */
async function listen(server: Server, scheme: string): Promise<string> {
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no TCP address')
  const isEverywhere = address.address === '0.0.0.0' || address.address === '::'
  const host = isEverywhere ? '127.0.0.1' : address.address
  return `${scheme}://${host.includes(':') ? `[${host}]` : host}:${address.port}`
}

async function closeBoth(
  smtp: SMTPServer,
  http: ReturnType<typeof createMailInboxHttp>,
): Promise<void> {
  const httpClosed = new Promise<void>((resolve) => {
    http.close(() => resolve())
  })
  http.closeAllConnections()
  await Promise.all([httpClosed, closeSmtp(smtp)])
}

function closeSmtp(smtp: SMTPServer): Promise<void> {
  return new Promise((resolve) => {
    smtp.close(() => resolve())
  })
}
