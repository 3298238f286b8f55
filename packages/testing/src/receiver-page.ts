import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { ReceivedRequest } from './receiver.ts'

const SHOWN_REQUESTS = 50
const SHOWN_BODY_BYTES = 10 * 1024
const REFRESH_SECONDS = 5

const STYLE = `
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem }
h1 { font-size: 1.3rem; margin: 0 }
p { margin: .25rem 0 1.5rem; opacity: .7 }
article { border: 1px solid #8884; border-radius: .5rem; margin: 0 0 .75rem; padding: .75rem 1rem }
header { display: flex; gap: .75rem; align-items: baseline; flex-wrap: wrap }
header b { overflow-wrap: anywhere }
time, .id { font-size: .85rem; opacity: .7 }
time { margin-left: auto }
summary { cursor: pointer; font-size: .85rem; opacity: .7 }
pre { margin: .5rem 0; padding: .6rem .75rem; border-radius: .35rem; background: #8881;
  font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere }
`

const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store',
  refresh: String(REFRESH_SECONDS),
}

/** Answers with a page of the newest requests, which reloads itself. No script, nothing fetched. */
export function sendReceiverPage(
  response: ServerResponse,
  received: readonly ReceivedRequest[],
  count: number,
): void {
  const newest = received.slice(-SHOWN_REQUESTS).reverse()
  response.writeHead(200, PAGE_HEADERS).end(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${count} received</title>
<style>${STYLE}</style>
<h1>Receiver</h1>
<p>${count} ${count === 1 ? 'request' : 'requests'} received, the last ${newest.length} below. Reloads every ${REFRESH_SECONDS} s.</p>
${newest.map(renderRequest).join('\n')}
</html>
`)
}

function renderRequest(request: ReceivedRequest): string {
  const { method, path, headers } = request
  const at = new Date(request.receivedAtMs).toISOString()
  const webhookId = headers['webhook-id']
  const id = typeof webhookId === 'string' ? `<span class="id">${escapeHtml(webhookId)}</span>` : ''
  const headerLines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  return `<article>
<header><b>${escapeHtml(`${method} ${path}`)}</b>${id}<time datetime="${at}">${at}</time></header>
<pre>${escapeHtml(bodyText(request))}</pre>
<details><summary>${headerLines.length} headers</summary><pre>${escapeHtml(headerLines.join('\n'))}</pre></details>
</article>`
}

/** The request as JSON shows it: the body as UTF-8 text, cut at 10 KB. */
export function describeRequest(request: ReceivedRequest): {
  method: string
  path: string
  headers: ReceivedRequest['headers']
  body: string
  receivedAtMs: number
} {
  const { method, path, headers, receivedAtMs } = request
  return { method, path, headers, body: bodyText(request), receivedAtMs }
}

function bodyText({ body }: ReceivedRequest): string {
  return body.subarray(0, SHOWN_BODY_BYTES).toString('utf8')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
}
