import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isIP } from 'node:net'
import { mailListPage, mailPage, messagePage } from './mail-inbox-pages.ts'
import { mailInboxStyle } from './mail-inbox-style.ts'
import type { MailStore } from './mail-store.ts'
import { parseAttachment } from './stored-mail.ts'

const styleHash = createHash('sha256').update(mailInboxStyle).digest('base64')
const pagePolicy = `default-src 'none'; style-src 'sha256-${styleHash}'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`
const untrustedPolicy =
  "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"

type Reply = { status: number; headers: Record<string, string>; body: string | Buffer }

/** The web side of the inbox: pages for people, `/api/mails` for programs. Not listening yet. */
export function createMailInboxHttp(store: MailStore, smtpUrl: () => string): Server {
  const server = createServer((request, response) => {
    request.resume()
    answer(request, store, smtpUrl())
      .catch(() => pageReply(500, messagePage('This page could not be made.')))
      .then((reply) => send(request, response, reply))
      .catch(() => response.destroy())
  })
  server.headersTimeout = 10_000
  server.requestTimeout = 10_000
  server.maxConnections = 100
  return server
}

async function answer(request: IncomingMessage, store: MailStore, smtpUrl: string): Promise<Reply> {
  if (!isLocalName(request.headers.host)) {
    return pageReply(421, messagePage('This inbox answers by IP address or local name only.'))
  }
  const { pathname } = new URL(request.url ?? '/', 'http://inbox')
  const isDelete = request.method === 'DELETE' && pathname === '/api/mails'
  if (isDelete) {
    await store.clear()
    return { status: 204, headers: {}, body: '' }
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return pageReply(405, messagePage('Only GET here, and DELETE for /api/mails.'))
  }
  if (pathname === '/') return pageReply(200, mailListPage(store.mails(), smtpUrl))
  if (pathname === '/api/mails') {
    return reply('application/json; charset=utf-8', JSON.stringify(store.mails()))
  }
  return await answerForMail(pathname, store)
}

async function answerForMail(pathname: string, store: MailStore): Promise<Reply> {
  const [, folder, id = '', part, index, ...rest] = pathname.split('/')
  const found = folder === 'mails' && rest.length === 0 ? store.find(id) : undefined
  const missing = pageReply(404, messagePage('There is no such mail (any more).'))
  if (found === undefined) return missing
  const { mail, raw } = found
  if (part === 'attachments' && index !== undefined) {
    const content = await parseAttachment(raw, Number(index))
    const attachment = mail.attachments[Number(index)]
    if (content === undefined || attachment === undefined) return missing
    return reply('application/octet-stream', content, {
      'content-disposition': asDownload(attachment.filename),
    })
  }
  if (index !== undefined) return missing
  if (part === undefined) return pageReply(200, mailPage(mail))
  if (part === 'html') return reply('text/html; charset=utf-8', mail.html)
  if (part === 'raw') return reply('text/plain; charset=utf-8', raw)
  return missing
}

/** Content made by whoever sent the mail: never allowed more than to be looked at. */
function reply(
  contentType: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Reply {
  const policy = { 'content-security-policy': untrustedPolicy }
  return { status: 200, headers: { 'content-type': contentType, ...policy, ...headers }, body }
}

function pageReply(status: number, body: string): Reply {
  const headers = {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': pagePolicy,
  }
  return { status, headers, body }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers, body }: Reply,
) {
  response.writeHead(status, {
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cache-control': 'no-store',
    ...headers,
    ...(status === 204 ? {} : { 'content-length': Buffer.byteLength(body) }),
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/**
 * A web page of a stranger can point a name of its own at 127.0.0.1 and read what is there (DNS
 * rebinding), but only a name with a dot in it. Container names and localhost have none.
 */
function isLocalName(host: string | undefined): boolean {
  const name = (host ?? '').replace(/:\d*$/, '').replace(/^\[|\]$/g, '')
  return isIP(name) !== 0 || /^[a-z0-9_-]+$/i.test(name)
}

/** RFC 6266: an ASCII name for old programs, the real one in UTF-8. */
function asDownload(filename: string): string {
  const plain = filename.replace(/[^\w. -]/g, '_')
  const encoded = encodeURIComponent(filename.toWellFormed()).replace(/['()*]/g, encodeCharacter)
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`
}

function encodeCharacter(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}
