/** HTML that is safe to send: only `html` makes it, and escapes every value put into it. */
export type Markup = { readonly markup: string }

type Value = string | number | Markup | readonly Markup[]

/** Template tag: text between the placeholders is taken as it is, each value is escaped unless it is Markup. */
export function html(parts: TemplateStringsArray, ...values: Value[]): Markup {
  return { markup: String.raw({ raw: parts }, ...values.map(toMarkup)) }
}

function toMarkup(value: Value): string {
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value))
  if ('markup' in value) return value.markup
  return value.map((item) => item.markup).join('')
}

const escapes: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => escapes[character] ?? '')
}
