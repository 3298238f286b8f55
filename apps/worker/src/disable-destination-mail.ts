import type { OwnerNotice } from '@switchhook/core/store/failing-destinations'

/** A mail without an attachment. */
export type NoticeMail = {
  readonly to: string
  readonly subject: string
  readonly text: string
  readonly html: string
  /** Stable per notice: sent twice, it is one mail to whoever reads it. */
  readonly messageId: string
}

const MAX_NAME_CHARACTERS = 100

/** No control characters: nothing that a header or a terminal would obey. */
function clean(text: string): string {
  return text
    .replaceAll(/\p{Cc}+/gu, ' ')
    .trim()
    .toWellFormed()
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? '')
}

const WORDS = {
  failing: {
    title: 'does not take its webhooks',
    next: 'After five days of nothing but failure it is disabled. One webhook that it takes is enough to stop that.',
  },
  disabled: {
    title: 'was disabled',
    next: 'Nothing is sent to it any more. Once it works again, set its status to "active".',
  },
} as const satisfies Record<OwnerNotice['kind'], { title: string; next: string }>

/** The mail that tells an owner of a destination that fails, or that was disabled. Pure; both parts say the same. */
export function createNoticeMail(
  notice: OwnerNotice,
  to: string,
  publicBaseUrl: string,
): NoticeMail {
  const { title, next } = WORDS[notice.kind]
  const name = clean(notice.name).slice(0, MAX_NAME_CHARACTERS).toWellFormed()
  const subject = `[Switchhook] The destination "${name}" ${title}`
  const lines = [
    `The destination "${name}" (${clean(notice.url)}) ${title}.`,
    clean(notice.reason),
    next,
    `Its settings and attempts (with your API key): ${publicBaseUrl}/api/v1/destinations/${notice.destinationId}`,
  ]
  const paragraphs = lines.map((line) => `<p>${escapeHtml(line)}</p>`)
  return {
    to,
    subject,
    text: `${lines.join('\n\n')}\n`,
    html: `<!doctype html><html><body style="font-family:sans-serif">\n${paragraphs.join('\n')}\n</body></html>`,
    messageId: `<notice-${notice.id}@switchhook>`,
  }
}
