import { type ParsedMail, simpleParser } from 'mailparser'

export type StoredMail = {
  id: string
  /** `address` or `Name <address>` of the From header, else the address of the SMTP envelope. */
  from: string
  /** The addresses of the SMTP envelope, Bcc included. */
  to: string[]
  subject: string
  /** The text part; empty when there is none. */
  text: string
  /** The HTML part, untrusted; empty when there is none. */
  html: string
  messageId: string
  /** ISO 8601, UTC. */
  receivedAt: string
  /** By lower-case name, unfolded; repeated ones joined by ", ". */
  headers: Partial<Record<string, string>>
  attachments: StoredAttachment[]
}

export type StoredAttachment = { filename: string; contentType: string; sizeBytes: number }

export type Envelope = { from: string; to: readonly string[] }

/**
 * The mail as a mailbox keeps it: a Return-Path and a Delivered-To per recipient before the bytes as
 * received, so that a file alone still tells whom it was for (RFC 5321 section 4.4).
 */
export function addEnvelope(received: Buffer, envelope: Envelope): Buffer {
  const lines = [
    `Return-Path: <${oneLine(envelope.from)}>`,
    ...envelope.to.map((address) => `Delivered-To: ${oneLine(address)}`),
  ]
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n`), received])
}

/** Reads a mail that `addEnvelope` made. */
export async function parseMail(id: string, receivedAt: Date, raw: Buffer): Promise<StoredMail> {
  const parsed = await parse(raw)
  const headers: Partial<Record<string, string>> = Object.create(null)
  const to: string[] = []
  for (const { key, line } of parsed.headerLines) {
    const value = line
      .slice(line.indexOf(':') + 1)
      .replace(/\r?\n[ \t]+/g, ' ')
      .trim()
    headers[key] = headers[key] === undefined ? value : `${headers[key]}, ${value}`
    if (key === 'delivered-to') to.push(value)
  }
  return {
    id,
    from: readFrom(parsed) || (headers['return-path'] ?? '').replace(/^<|>$/g, ''),
    to,
    subject: parsed.subject ?? '',
    text: parsed.text ?? '',
    html: parsed.html || '',
    messageId: parsed.messageId ?? '',
    receivedAt: receivedAt.toISOString(),
    headers,
    attachments: parsed.attachments.map((attachment, index) => ({
      filename: attachment.filename || `attachment-${index + 1}`,
      contentType: attachment.contentType,
      sizeBytes: attachment.size,
    })),
  }
}

/** The content of the attachment with this index in `StoredMail.attachments`. */
export async function parseAttachment(raw: Buffer, index: number): Promise<Buffer | undefined> {
  const parsed = await parse(raw)
  return parsed.attachments[index]?.content
}

function readFrom(parsed: ParsedMail): string {
  const senders = parsed.from?.value ?? []
  return senders
    .map(({ name, address = '' }) => (name === '' ? address : `${name} <${address}>`))
    .join(', ')
}

async function parse(raw: Buffer): Promise<ParsedMail> {
  return await simpleParser(raw, { skipTextToHtml: true, skipHtmlToText: true })
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, ' ')
}
