import { hash } from 'node:crypto'

/** What a replay link is about and what became of it, without a secret or a whole number: links are forwarded. */
export type LinkView =
  | { readonly kind: 'offer'; readonly facts: LinkFacts; readonly isPaused: boolean }
  | { readonly kind: 'done'; readonly count: number; readonly isPaused: boolean }
  | { readonly kind: 'used'; readonly usedAtMs: number }
  | { readonly kind: 'expired' | 'unknown' | 'unsettled' | 'unavailable' }
  | { readonly kind: 'gone'; readonly what: 'payload' | 'destination' | 'disabled' }

export type LinkFacts = {
  readonly destinationName: string
  /** Deliveries that would be made again. */
  readonly count: number
  /** Of a single delivery. */
  readonly event?: {
    readonly type: string
    readonly phoneNumber: string | null
    readonly receivedAtMs: number
  }
}

const STYLE = `
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --line: #e3e6eb; --text: #1b2330; --quiet: #667085; --accent: #2f5fd0; --on: #fff }
@media (prefers-color-scheme: dark) { :root { --page: #11151c; --card: #191f29; --line: #2a3240; --text: #e6e9ef; --quiet: #93a0b4; --accent: #8db0ff; --on: #11151c } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 34rem; margin: 12vh auto 0; padding: 0 1.25rem }
article { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.75rem }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .75rem }
p { margin: 0 0 1rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: 0 0 1.5rem }
dt { color: var(--quiet) }
dd { margin: 0; overflow-wrap: anywhere }
button { font: inherit; font-weight: 600; color: var(--on); background: var(--accent); border: 0; border-radius: 8px; padding: .7rem 1.25rem; cursor: pointer }
button:focus-visible { outline: 3px solid var(--text); outline-offset: 2px }
.quiet { color: var(--quiet); font-size: .9rem; margin: 1rem 0 0 }
`

/** No script, nothing fetched, no other page around it, and nobody is told the address. */
export const LINK_HEADERS = {
  'content-security-policy': `default-src 'none'; style-src 'sha256-${hash('sha256', STYLE, 'base64')}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-robots-tag': 'noindex',
  'cache-control': 'no-store',
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escapeHtml = (text: string): string =>
  text.replaceAll(/[&<>"']/g, (one) => ESCAPES[one] ?? '')

const timeOf = (ms: number): string =>
  `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`

const deliveries = (count: number): string => (count === 1 ? '1 delivery' : `${count} deliveries`)

function factsOf({ destinationName, count, event }: LinkFacts): (readonly [string, string])[] {
  const to = ['Destination', destinationName] as const
  if (event === undefined) return [to, ['What', deliveries(count)]]
  const number =
    event.phoneNumber === null
      ? []
      : [['Number', `ending in ${event.phoneNumber.slice(-4)}`] as const]
  return [to, ['Event', event.type], ...number, ['Received', timeOf(event.receivedAtMs)]]
}

function offer(facts: LinkFacts, isPaused: boolean): readonly [title: string, content: string] {
  const rows = factsOf(facts).map(
    ([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`,
  )
  const what =
    facts.event === undefined ? `Send ${deliveries(facts.count)} again?` : 'Send it again?'
  const waits = isPaused
    ? '<p>The destination is paused: nothing arrives there before it is resumed.</p>'
    : ''
  return [
    what,
    `<dl>${rows.join('')}</dl>${waits}<form method="post"><button>Send again</button></form>
<p class="quiet">Nothing has been sent yet. This link works once.</p>`,
  ]
}

const GONE = {
  payload: 'The events are no longer kept.',
  destination: 'The destination was deleted.',
  disabled: 'The destination is disabled. Enable it first; this link still works then.',
} as const

function contentOf(view: LinkView): readonly [title: string, content: string] {
  switch (view.kind) {
    case 'offer':
      return offer(view.facts, view.isPaused)
    case 'done': {
      const verb = view.count === 1 ? 'is on its way' : 'are on their way'
      const when = view.isPaused ? 'will go out when the destination is resumed' : verb
      const same = 'The destination sees the same webhook-id as before.'
      return ['Done', `<p>${deliveries(view.count)} ${when}. ${same}</p>`]
    }
    case 'used':
      return [
        'This link was used already',
        `<p>It sent everything again on ${timeOf(view.usedAtMs)}. To do so once more, use the API.</p>`,
      ]
    case 'expired':
      return ['This link has expired', '<p>Use the API to send it again.</p>']
    case 'unknown':
      return ['This link is not valid', '<p>Check that it was copied whole.</p>']
    case 'unsettled':
      return ['Not yet', '<p>The delivery is still being settled. Try again in a minute.</p>']
    case 'gone':
      return ['This cannot be sent again', `<p>${GONE[view.what]}</p>`]
    case 'unavailable':
      return ['Try again in a moment', '<p>Nothing was sent: the database does not answer.</p>']
  }
}

export function renderLinkPage(view: LinkView): string {
  const [title, content] = contentOf(view)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} · Switchhook</title>
<style>${STYLE}</style>
</head>
<body><main><article>
<h1>${escapeHtml(title)}</h1>
${content}
</article></main></body>
</html>
`
}
