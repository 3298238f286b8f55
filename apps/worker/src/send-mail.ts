import { DeadlineError, withDeadline } from '@switchhook/core/deadline'
import { createTransport } from 'nodemailer'
import type { FallbackMail } from './fallback-mail.ts'

export type MailResult =
  | { readonly kind: 'sent' }
  /** Worth another try: the server is away, busy, or greylists. */
  | { readonly kind: 'failed'; readonly error: string }
  /** The server will not take it for this recipient, or with this content, today or tomorrow (5xx). */
  | { readonly kind: 'rejected'; readonly error: string }

export type MailSender = {
  send(mail: FallbackMail): Promise<MailResult>
  close(): void
}

/** In milliseconds, for one step of the dialogue each. */
export type MailTimeouts = {
  readonly connectionTimeout: number
  readonly greetingTimeout: number
  readonly socketTimeout: number
  /** For the whole mail: a server that says a little now and then never runs into the others. */
  readonly sendTimeout: number
}

/** Nodemailer's own defaults wait up to ten minutes. */
const TIMEOUTS: MailTimeouts = {
  connectionTimeout: 10_000,
  greetingTimeout: 10_000,
  socketTimeout: 30_000,
  sendTimeout: 120_000,
}

/** Of RFC 3463: what a server that judges the sender last says of it in its answer to RCPT TO. */
const ABOUT_SENDER = /^5\d\d[ -]5\.(1\.[78]|7\.\d+)\b/

/** Only what was said of this recipient or this mail is final: a refused sender or password is our own trouble. */
function isAboutThisMail(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  if (error.code === 'EMESSAGE') return true
  if (error.code !== 'EENVELOPE' || !('command' in error)) return false
  if (error.command === 'RCPT TO') {
    return !('response' in error && ABOUT_SENDER.test(String(error.response)))
  }
  // No server was asked: what should be an address is none.
  return error.command === 'API'
}

function toResult(error: unknown): MailResult {
  const code = error instanceof Error && 'responseCode' in error ? Number(error.responseCode) : 0
  const text = error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason'
  const told = code > 0 ? `The mail server answered ${code}.` : `The mail server failed (${text}).`
  const isFinal = (code >= 500 && code < 600) || (code === 0 && text === 'EENVELOPE')
  return isFinal && isAboutThisMail(error)
    ? { kind: 'rejected', error: told }
    : { kind: 'failed', error: told }
}

/** Sends over SMTP, a few connections at a time. Never throws. */
export function createMailSender(
  smtpUrl: string,
  from: string,
  timeouts: MailTimeouts = TIMEOUTS,
): MailSender {
  const { sendTimeout, ...steps } = timeouts
  const connect = () =>
    createTransport(
      {
        url: smtpUrl,
        pool: true,
        maxConnections: 3,
        // A password never goes in clear because somebody on the way hides STARTTLS. The URL may say otherwise.
        requireTLS: new URL(smtpUrl).username !== '',
        ...steps,
        // Content comes from outside: it must never name a file or a URL to be read.
        disableFileAccess: true,
        disableUrlAccess: true,
      },
      { from },
    )
  let transport = connect()

  /** The connections of a server that keeps us waiting are left to it. */
  function giveUpOn(stuck: typeof transport): MailResult {
    if (transport === stuck) transport = connect()
    stuck.close()
    return { kind: 'failed', error: 'The mail server took too long.' }
  }

  return {
    async send(mail) {
      const used = transport
      try {
        const sending = used.sendMail({
          // One address as an object: a text would be parsed, and could grow recipients.
          to: { name: '', address: mail.to },
          subject: mail.subject,
          text: mail.text,
          html: mail.html,
          messageId: mail.messageId,
          headers: { 'Auto-Submitted': 'auto-generated' },
          attachments: mail.payload === null ? [] : [attachmentOf(mail.payload)],
        })
        await withDeadline(sending, sendTimeout, 'mail')
        return { kind: 'sent' }
      } catch (error) {
        return error instanceof DeadlineError ? giveUpOn(used) : toResult(error)
      }
    },
    close: () => transport.close(),
  }
}

function attachmentOf(payload: Buffer) {
  return {
    filename: 'payload.json',
    contentType: 'application/json',
    content: payloadJson(payload),
  }
}

/** The event's body, byte for byte if it is JSON, else as text or base64 in a JSON document. */
function payloadJson(payload: Buffer): Buffer {
  const text = payload.toString('utf8')
  try {
    JSON.parse(text)
    return payload
  } catch {
    const isText = Buffer.from(text, 'utf8').equals(payload)
    const body = isText ? { payload: text } : { payload_base64: payload.toString('base64') }
    return Buffer.from(JSON.stringify(body, null, 2))
  }
}
