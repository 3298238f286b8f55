import { describe, expect, it } from 'vitest'
import { createEgressRules } from './egress-rules.ts'

const strict = createEgressRules({ allowedCidrs: [], allowHttp: false })
const local = createEgressRules({ allowedCidrs: ['127.0.0.0/8', 'fd00::/8'], allowHttp: true })
const loopback = createEgressRules({ allowedCidrs: ['127.0.0.0/8', '::1'], allowHttp: true })

const PRIVATE_ADDRESSES = [
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '127.0.0.1',
  '169.254.169.254',
  '172.31.255.255',
  '192.0.0.8',
  '192.0.2.1',
  '192.88.99.1',
  '192.168.1.1',
  '198.19.255.255',
  '198.51.100.7',
  '203.0.113.9',
  '224.0.0.1',
  '240.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::7f00:1',
  '::8.8.8.8',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '::ffff:0:7f00:1',
  '64:ff9b::7f00:1',
  '64:ff9b:1::1',
  '100::1',
  '2001::1',
  '2001:1ff::1',
  '2001:db8::1',
  '2002:7f00:1::',
  '3fff::1',
  '5f00::1',
  'fc00::1',
  'fd00:ec2::254',
  'fe80::1',
  'fec0::1',
  'ff02::1',
  '4000::1',
]

const PRIVATE_URLS = [
  'https://127.1/',
  'https://2130706433/',
  'https://0x7f.1/',
  'https://0177.0.0.1/',
  'https://①②⑦.0.0.1/',
  'https://127。0。0。1/',
  'https://127.0.0.1./',
  'https://0/',
  'https://[::]/',
  'https://[::1]/',
  'https://[::ffff:7f00:1]/',
  'https://[::7f00:1]/',
  'https://[64:ff9b::7f00:1]/',
  'https://[2002:7f00:1::]/',
  'https://0xa9fea9fe/latest/meta-data',
  'https://%31%32%37.0.0.1/',
  'https://localhost/',
  'https://LOCALHOST./',
  'https://x.localhost/',
  'https://metadata.google.internal/',
  'https://printer.local/',
  'https://router.home.arpa/',
  'https://intranet/',
  'https://intranet./',
]

const INVALID_URLS = [
  '',
  'example.com',
  '//example.com/x',
  'https:example.com',
  'https:/example.com',
  'https:///example.com',
  'https://',
  'https://exa mple.com/',
  ' https://example.com/',
  'https://example.com/\r\nx',
  'https://exam\tple.com/',
  'https://example.com/\u0000',
  'https://a\\@127.0.0.1/',
  'https://example.com\\x',
  'https://user:secret@example.com/',
  'https://@example.com/',
  'https://example.com/#part',
  'https://example.com/#',
  'https://example.com:0/',
  'https://example.com:22/',
  'https://example.com:25/',
  'https://example.com:6379/',
  'https://example.com:65536/',
  'https://example.com:-1/',
  'ftp://example.com/',
  'file:///etc/passwd',
  'gopher://example.com/',
  'data:text/plain,x',
  'javascript:alert(1)',
  'ws://example.com/',
  `https://example.com/${'a'.repeat(2048)}`,
  `https://example.com/${'ä'.repeat(1000)}`,
  `https://${'a'.repeat(64)}.example.com/`,
  `https://${'a.'.repeat(130)}com/`,
  'https://a..example.com/',
  'https://xn--a.example.com/',
  'https://exa\ud800mple.com/',
  'https://[fe80::1%25eth0]/',
]

describe('addresses', () => {
  it.each(PRIVATE_ADDRESSES)('%s is blocked', (address) => {
    expect(strict.isBlockedAddress(address)).toBe(true)
  })

  it.each([
    '8.8.8.8',
    '100.63.255.255',
    '172.32.0.1',
    '198.20.0.1',
    '223.255.255.255',
    '2606:4700::1111',
    '2001:4860:4860::8888',
    '::ffff:8.8.8.8',
  ])('%s is reachable', (address) => {
    expect(strict.isBlockedAddress(address)).toBe(false)
  })

  it.each(['', 'localhost', '127.1', '8.8.8.8 ', '2606:4700::1111%eth0'])(
    '"%s", which is no plain address, is blocked',
    (text) => {
      expect(strict.isBlockedAddress(text)).toBe(true)
    },
  )

  it('an allowed range is reachable in every spelling, its neighbours are not', () => {
    expect(local.isBlockedAddress('127.0.0.1')).toBe(false)
    expect(local.isBlockedAddress('::ffff:127.0.0.1')).toBe(false)
    expect(local.isBlockedAddress('fd00::1')).toBe(false)
    expect(local.isBlockedAddress('::1')).toBe(true)
    expect(local.isBlockedAddress('10.0.0.1')).toBe(true)
    expect(local.isBlockedAddress('::ffff:10.0.0.1')).toBe(true)
    expect(local.isBlockedAddress('fc00::1')).toBe(true)
  })

  it('allowing all of IPv6 allows nothing of IPv4', () => {
    const rules = createEgressRules({ allowedCidrs: ['::/0'], allowHttp: false })
    expect(rules.isBlockedAddress('127.0.0.1')).toBe(true)
    expect(rules.isBlockedAddress('::1')).toBe(false)
  })

  it.each(['10.0.0.0/33', '10.0.0/8', 'example.com', '10.0.0.0/', '10.0.0.0/8/8', '::/129', ''])(
    'an allowed range written "%s" is an error that names it',
    (cidr) => {
      expect(() => createEgressRules({ allowedCidrs: [cidr], allowHttp: false })).toThrow(
        `"${cidr}" is not a CIDR`,
      )
    },
  )
})

describe('URLs', () => {
  it.each([
    ['https://Example.COM', 'https://example.com/'],
    ['https://example.com:443/a?b=c', 'https://example.com/a?b=c'],
    ['https://example.com:8443/', 'https://example.com:8443/'],
    ['https://bücher.example/ä', 'https://xn--bcher-kva.example/%C3%A4'],
    ['https://8.8.8.8/hook', 'https://8.8.8.8/hook'],
    ['https://[2606:4700::1111]/hook', 'https://[2606:4700::1111]/hook'],
    ['https://my_service.example.com./', 'https://my_service.example.com./'],
  ])('%s is kept as %s', (text, url) => {
    expect(strict.checkUrl(text)).toEqual({ ok: true, url })
  })

  it.each(PRIVATE_URLS)('%s is refused without a word about the range', (text) => {
    const result = strict.checkUrl(text)
    expect(result.ok).toBe(false)
    if (result.ok) return
    expect(result.detail).toMatch(/^The URL must not point to a private (address|host name)$/)
  })

  it.each(INVALID_URLS.map((text) => ({ text, start: text.slice(0, 60) })))(
    '"$start" is refused even where private hosts and http are allowed',
    ({ text }) => {
      expect(local.checkUrl(text).ok).toBe(false)
    },
  )

  it('plain http is refused unless it is allowed', () => {
    expect(strict.checkUrl('http://example.com/').ok).toBe(false)
    expect(local.checkUrl('http://example.com/')).toEqual({ ok: true, url: 'http://example.com/' })
  })

  it('with loopback allowed, its literals and "localhost" are accepted, other local names are not', () => {
    expect(loopback.checkUrl('http://127.0.0.1:9000/hook').ok).toBe(true)
    expect(loopback.checkUrl('http://localhost:9000/hook').ok).toBe(true)
    expect(loopback.checkUrl('http://intranet/').ok).toBe(false)
    expect(loopback.checkUrl('http://x.internal/').ok).toBe(false)
    expect(loopback.checkUrl('http://10.0.0.1/').ok).toBe(false)
  })

  it.each(['http://orders:8080/hook', 'http://orders.internal/', 'http://printer.local./'])(
    'with a private network allowed, %s is accepted: what it resolves to is judged at every connection',
    (text) => {
      expect(local.checkUrl(text).ok).toBe(true)
      expect(strict.checkUrl(text.replace('http:', 'https:')).ok).toBe(false)
    },
  )

  it('a network that is not allowed stays out of reach beside one that is', () => {
    expect(local.checkUrl('http://10.0.0.1/').ok).toBe(false)
    expect(local.checkUrl('http://169.254.169.254/latest/meta-data').ok).toBe(false)
    expect(local.checkUrl('http://[fd00::1]/').ok).toBe(true)
  })
})
