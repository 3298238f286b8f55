import { expect, test } from 'vitest'
import { html } from './markup.ts'

test('values are escaped in text and in attributes', () => {
  const value = `<a href="x" title='y'>&`
  const escaped = '&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;'
  expect(html`<p title="${value}">${value}</p>`.markup).toBe(`<p title="${escaped}">${escaped}</p>`)
})

test('markup within markup is not escaped twice', () => {
  const items = ['<', '>'].map((item) => html`<li>${item}</li>`)
  expect(html`<ul>${items}</ul>`.markup).toBe('<ul><li>&lt;</li><li>&gt;</li></ul>')
})
