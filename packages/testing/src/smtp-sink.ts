import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { type AddressObject, type ParsedMail, simpleParser } from 'mailparser'
import { SMTPServer, type SMTPServerSession } from 'smtp-server'

export type SinkMail = {
  messageId: string | undefined
  /** The To header, addresses only. */
  to: string[]
  /** The From header, the first address only. */
  from: string | undefined
  subject: string | undefined
  text: string | undefined
  html: string | undefined
  attachments: { filename: string | undefined; contentType: string; content: Buffer }[]
  headers: ReadonlyMap<string, unknown>
  /** Where it really goes: the recipients of the SMTP dialogue. */
  envelopeTo: string[]
  envelopeFrom: string | undefined
}

/**
 * - `rejectCode`: answers every recipient with this code (4xx or 5xx) and text.
 * - `hang`: accepts connections and says nothing.
 * - `cut_after_data`: takes the mail, and cuts the connection where its answer would be, so that the
 *   sender cannot know.
 */
export type SmtpSinkMode =
  | 'accept'
  | { rejectCode: number; text: string }
  | 'hang'
  | 'cut_after_data'

export type SmtpSink = {
  /** `smtp://127.0.0.1:<port>` */
  url: string
  port: number
  /** The newest 10,000 that were taken, oldest first. */
  mails: readonly SinkMail[]
  /** For connections there are and for new ones. */
  mode(mode: SmtpSinkMode): void
  /** Cuts all connections. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const MAX_MAILS = 10_000
const MAX_MAIL_BYTES = 16 * 1024 * 1024

/** Starts a mail server on loopback, without TLS or login, that keeps what it gets. */
export async function startSmtpSink({ port = 0 }: { port?: number } = {}): Promise<SmtpSink> {
  const mails: SinkMail[] = []
  const sockets = new Map<number, Socket>()
  let mode: SmtpSinkMode = 'accept'

  const server = new SMTPServer({
    disabledCommands: ['AUTH', 'STARTTLS'],
    disableReverseLookup: true,
    size: MAX_MAIL_BYTES,
    onConnect(_session, callback) {
      if (mode !== 'hang') callback()
    },
    onRcptTo(_address, _session, callback) {
      if (mode === 'hang') return
      if (typeof mode === 'string') callback()
      else callback(Object.assign(new Error(mode.text), { responseCode: mode.rejectCode }))
    },
    onData(stream, session, callback) {
      simpleParser(stream).then((parsed) => {
        if (mode === 'hang') return
        if (stream.sizeExceeded) {
          callback(Object.assign(new Error('message too big'), { responseCode: 552 }))
          return
        }
        mails.push(describeMail(parsed, session))
        if (mails.length > MAX_MAILS) mails.splice(0, MAX_MAILS / 10)
        if (mode === 'cut_after_data') sockets.get(session.remotePort)?.resetAndDestroy()
        else callback()
      }, callback)
    },
  })
  server.on('error', () => undefined)
  server.server.on('connection', (socket) => {
    const { remotePort } = socket
    if (remotePort === undefined) return
    sockets.set(remotePort, socket)
    socket.once('close', () => sockets.delete(remotePort))
  })
  const listening = server.listen(port, '127.0.0.1')
  await once(listening, 'listening')
  const { port: listeningPort } = listening.address() as AddressInfo

  const sink: SmtpSink = {
    url: `smtp://127.0.0.1:${listeningPort}`,
    port: listeningPort,
    mails,
    mode(next) {
      mode = next
    },
    async stop() {
      if (!listening.listening) return
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets.values()) socket.destroy()
      await closed
    },
    [Symbol.asyncDispose]: () => sink.stop(),
  }
  return sink
}

function describeMail(parsed: ParsedMail, session: SMTPServerSession): SinkMail {
  const { mailFrom, rcptTo } = session.envelope
  return {
    messageId: parsed.messageId,
    to: addressesOf(parsed.to),
    from: addressesOf(parsed.from)[0],
    subject: parsed.subject,
    text: parsed.text,
    html: parsed.html === false ? undefined : parsed.html,
    attachments: parsed.attachments.map(({ filename, contentType, content }) => ({
      filename,
      contentType,
      content,
    })),
    headers: parsed.headers,
    envelopeTo: rcptTo.map((recipient) => recipient.address),
    envelopeFrom: mailFrom === false ? undefined : mailFrom.address,
  }
}

function addressesOf(field: AddressObject | AddressObject[] | undefined): string[] {
  return [field ?? []]
    .flat()
    .flatMap((one) => one.value)
    .flatMap(({ address }) => (address === undefined ? [] : [address]))
}
