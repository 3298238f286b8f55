/**
 * The UTF-8 of a JSON value. A lone surrogate becomes U+FFFD, in names too: JSON may carry it as an escape, which is
 * well-formed UTF-8, but parsers of other languages then refuse the whole document.
 */
export function jsonBody(value: unknown): Buffer {
  const text = JSON.stringify(value)
  // Escapes are taken pair by pair, so that an escaped backslash before "ud800" stays what it was.
  const safe = text.includes('\\ud')
    ? text.replace(/\\(?:ud[89a-f][0-9a-f]{2}|.)/g, (found) =>
        found.length === 2 ? found : '\uFFFD',
      )
    : text
  return Buffer.from(safe, 'utf8')
}
