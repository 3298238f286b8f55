import { isIP } from 'node:net'
import { domainToUnicode } from 'node:url'
import { blockListOf } from './cidr.ts'

export type UrlCheck =
  | { readonly ok: true /** As WHATWG URL writes it. */; readonly url: string }
  | { readonly ok: false; readonly detail: string }

export type EgressRules = {
  /** Whether a destination may have this URL. What its name resolves to is checked again at every connection. */
  checkUrl(text: string): UrlCheck
  /** True for everything that is not a public address, and for text that is no address. */
  isBlockedAddress(ip: string): boolean
}

export type EgressRulesOptions = {
  /** `10.0.0.0/8`, `fd00::/8`, `127.0.0.1`: reachable although private. Any but loopback allows private names, too. */
  readonly allowedCidrs: readonly string[]
  readonly allowHttp: boolean
}

const MAX_URL_LENGTH = 2048
const MAX_HOST_LENGTH = 253

/** Special-purpose ranges (IANA registry, RFC 6890 and its updates). */
const PRIVATE_IPV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
]

/** Within 2000::/3, the only global unicast range: Teredo and other protocol assignments, documentation, 6to4. */
const SPECIAL_IPV6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20']

/** Services that speak no HTTP, or trust whoever reaches them; each has been the target of a forged request. */
const REFUSED_PORTS: ReadonlySet<number> = new Set([
  1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5672, 5900, 6379, 6380, 6443, 9042,
  9092, 9200, 9300, 10250, 11211, 26379, 27017,
])

const PRIVATE_SUFFIXES = ['localhost', 'local', 'internal', 'localdomain', 'home.arpa']

const privateIpv4 = blockListOf(PRIVATE_IPV4)
const specialIpv6 = blockListOf(SPECIAL_IPV6)
const globalIpv6 = blockListOf(['2000::/3'])
const loopback = blockListOf(['127.0.0.0/8', '::1/128'])
const mappedIpv4 = blockListOf(['::ffff:0:0/96'])

function isUsablePort(text: string): boolean {
  if (text === '' || text === '80' || text === '443') return true
  const port = Number(text)
  return port >= 1024 && !REFUSED_PORTS.has(port)
}

/** Names that mean something inside a network only; a single label is completed by the resolver's search list. */
function isPrivateName(host: string): boolean {
  if (!host.includes('.')) return true
  return PRIVATE_SUFFIXES.some((suffix) => host.endsWith(`.${suffix}`))
}

function isDnsName(host: string): boolean {
  if (host.length > MAX_HOST_LENGTH) return false
  // What cannot be decoded comes back as it was.
  if (/(^|\.)xn--/.test(domainToUnicode(host))) return false
  return host.split('.').every((label) => /^[a-z0-9_-]{1,63}$/.test(label))
}

/** A range of this machine alone: allowing it makes no network's names reachable. */
function isLoopback(cidr: string): boolean {
  const [address = ''] = cidr.trim().split('/')
  return loopback.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}

/** Throws for an entry of `allowedCidrs` that is none. */
export function createEgressRules({ allowedCidrs, allowHttp }: EgressRulesOptions): EgressRules {
  // Two lists: a BlockList takes an IPv4 address for its mapped IPv6 spelling, so that ::/0 would allow all of IPv4.
  const allowedIpv4 = blockListOf(allowedCidrs.filter((cidr) => !cidr.includes(':')))
  const allowedIpv6 = blockListOf(allowedCidrs.filter((cidr) => cidr.includes(':')))

  function isBlockedAddress(ip: string): boolean {
    const family = isIP(ip)
    if (family === 0 || ip.includes('%')) return true
    if (family === 4) return !allowedIpv4.check(ip) && privateIpv4.check(ip)
    if (allowedIpv6.check(ip, 'ipv6')) return false
    if (mappedIpv4.check(ip, 'ipv6')) {
      return !allowedIpv4.check(ip, 'ipv6') && privateIpv4.check(ip, 'ipv6')
    }
    return !globalIpv6.check(ip, 'ipv6') || specialIpv6.check(ip, 'ipv6')
  }

  const isLocalhostAllowed = !isBlockedAddress('127.0.0.1') || !isBlockedAddress('::1')
  // In a network that may be reached names have meanings of their own; what they resolve to is judged at every connection.
  const arePrivateNamesAllowed = allowedCidrs.some((cidr) => !isLoopback(cidr))

  function findHostFault(hostname: string): string | undefined {
    const address = hostname.replace(/^\[|\]$/g, '')
    if (isIP(address) !== 0) {
      return isBlockedAddress(address) ? 'The URL must not point to a private address' : undefined
    }
    const host = hostname.replace(/\.$/, '')
    if (!isDnsName(host)) return 'The host of the URL is not a valid name'
    if (host === 'localhost' && isLocalhostAllowed) return undefined
    if (arePrivateNamesAllowed || !isPrivateName(host)) return undefined
    return 'The URL must not point to a private host name'
  }

  function checkUrl(text: string): UrlCheck {
    const fault = (detail: string): UrlCheck => ({ ok: false, detail })
    if (text.length > MAX_URL_LENGTH) {
      return fault(`The URL must have at most ${MAX_URL_LENGTH} characters`)
    }
    // WHATWG URL drops tabs and line ends and turns "\" into "/": what a person reads would not be what is called.
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
    if (/[\s\\\u0000-\u001f\u007f-\u009f\ufeff]/.test(text) || !text.isWellFormed()) {
      return fault('The URL must not contain spaces, control characters or backslashes')
    }
    const schemes = allowHttp ? 'http:// or https://' : 'https://'
    const authority = /^https?:\/\/([^/?#]+)/i.exec(text)?.[1]
    if (authority === undefined || !URL.canParse(text)) {
      return fault(`The URL must be a valid one that starts with ${schemes}`)
    }
    const url = new URL(text)
    if (url.protocol !== 'https:' && !allowHttp) return fault(`The URL must start with ${schemes}`)
    if (authority.includes('@')) return fault('The URL must not contain a user name or password')
    if (text.includes('#')) return fault('The URL must not contain a fragment')
    if (!isUsablePort(url.port)) return fault('The port of the URL is not allowed')
    const hostFault = findHostFault(url.hostname)
    if (hostFault !== undefined) return fault(hostFault)
    if (url.href.length > MAX_URL_LENGTH) {
      return fault(`The URL must have at most ${MAX_URL_LENGTH} characters once it is encoded`)
    }
    return { ok: true, url: url.href }
  }

  return { checkUrl, isBlockedAddress }
}
