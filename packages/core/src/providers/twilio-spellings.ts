import { parse, stringify } from 'node:querystring'

/** `url` without its port, or with its scheme's own port if it names none; every other byte untouched. */
function respell(url: string, port: 'without' | 'with'): string {
  const match = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*@)?(\[[^\]]*\]|[^/:?#]*)(:[^/?#]*)?(.*)$/is.exec(
    url,
  )
  if (match === null) return url
  const [, scheme = '', user = '', host = '', given = '', rest = ''] = match
  const ownPort = scheme.toLowerCase() === 'https://' ? ':443' : ':80'
  return scheme + user + host + (port === 'without' ? '' : given || ownPort) + rest
}

/** The query as the `querystring` module spells it: some signers at Twilio escape more than the URL did. */
function reencodeQuery(url: string): string {
  const start = url.indexOf('?')
  if (start === -1 || start === url.length - 1) return url
  return `${url.slice(0, start)}?${stringify(parse(url.slice(start + 1)))}`
}

/** With and without its port: which of the two Twilio signs is not the same for calls and messages. */
export function portSpellings(url: string): readonly string[] {
  return [respell(url, 'without'), respell(url, 'with')]
}

/**
 * The spellings of one URL that Twilio may have signed, likeliest first, as the official package 6.2 tries them
 * (lib/webhooks/webhooks.js): as received, then normalised, then with the query re-encoded.
 */
export function* spellings(url: string): Generator<string> {
  yield* portSpellings(url)
  const normalised = URL.parse(url)?.toString()
  if (normalised === undefined) return
  const both = portSpellings(normalised)
  yield* both
  yield* both.map(reencodeQuery)
}

/** What a URL is made of, byte for byte; undefined for what is no URL with a host. */
function takeApart(url: string) {
  const [, scheme, authority, path, query] =
    /^(https?):\/\/([^/?#]*)([^?#]*)(.*)$/is.exec(url) ?? []
  if (scheme === undefined || authority === undefined) return undefined
  return { scheme: scheme.toLowerCase(), authority, path: path ?? '', query: query ?? '' }
}

/** Ports that servers behind a proxy are wont to listen at. */
const HIDDEN_PORTS = [8443, 8080] as const

/** URLs that Twilio may call instead of the one we believe it calls, each with what is wrong then. */
export function* mistakenUrls(
  url: string,
  hosts: readonly string[],
  paths: readonly string[],
): Generator<{ readonly url: string; readonly detail: string }> {
  const parts = takeApart(url)
  if (parts === undefined) return
  const { scheme, authority, path, query } = parts
  const other = scheme === 'https' ? 'http' : 'https'
  const join = (parts_: Partial<typeof parts>): string => {
    const all = { ...parts, ...parts_ }
    return `${all.scheme}://${all.authority}${all.path}${all.query}`
  }

  yield {
    url: join({ scheme: other }),
    detail: `The signature matches ${other}://…, not ${scheme}://…: PUBLIC_BASE_URL must begin like the URL that is set at Twilio, whatever a proxy speaks to this server.`,
  }
  for (const host of hosts) {
    for (const each of [scheme, other]) {
      yield {
        url: join({ scheme: each, authority: host }),
        detail: `The signature matches ${each}:// and the host that the request names, not PUBLIC_BASE_URL: set PUBLIC_BASE_URL to the URL that Twilio calls.`,
      }
    }
  }
  for (const port of HIDDEN_PORTS) {
    yield {
      url: join({ authority: `${authority.replace(/:\d*$/, '')}:${port}` }),
      detail: `The signature matches port ${port}, which PUBLIC_BASE_URL does not name: a proxy hides it.`,
    }
  }
  const slashed = path.endsWith('/') ? path.slice(0, -1) : `${path}/`
  yield {
    url: join({ path: slashed }),
    detail: `The signature matches the path ${path.endsWith('/') ? 'without' : 'with'} a slash at its end: something on the way changes it. Set the same path at Twilio.`,
  }
  if (query !== '') {
    yield {
      url: join({ query: '' }),
      detail:
        'The signature matches the URL without its query: something on the way adds the query, or Twilio is set to a URL without it.',
    }
  }
  for (const known of paths) {
    if (known === path) continue
    yield {
      url: join({ path: known }),
      detail: `The signature matches the path ${known}: something on the way rewrites it to ${paths.includes(path) ? path : 'another'}.`,
    }
  }
}
