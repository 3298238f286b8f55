import { describe, expect, it } from 'vitest'
import { blockListOf, isInCidrs } from './cidr.ts'

describe('CIDR lists', () => {
  it('hold the addresses of their ranges, whichever way they are spelled', () => {
    const cidrs = ['192.0.2.0/24', '2001:db8::/32', '198.51.100.7']
    expect(isInCidrs('192.0.2.77', cidrs)).toBe(true)
    expect(isInCidrs('::ffff:192.0.2.77', cidrs)).toBe(true)
    expect(isInCidrs('2001:db8:0:1::9', cidrs)).toBe(true)
    expect(isInCidrs('198.51.100.7', cidrs)).toBe(true)
    expect(isInCidrs('198.51.100.8', cidrs)).toBe(false)
    expect(isInCidrs('2001:db9::1', cidrs)).toBe(false)
  })

  it('hold no address of the other family, even where a range covers all', () => {
    expect(isInCidrs('192.0.2.1', ['::/0'])).toBe(false)
    expect(isInCidrs('2001:db8::1', ['0.0.0.0/0'])).toBe(false)
  })

  it('hold nothing that is no address', () => {
    for (const text of ['', 'garbage', '1.2.3', '192.0.2.1, 10.0.0.1']) {
      expect(isInCidrs(text, ['0.0.0.0/0', '::/0'])).toBe(false)
    }
  })

  it('refuse what is no CIDR', () => {
    for (const text of ['10.0.0.0/33', 'a/8', '10.0.0.0/8/8', '10.0.0.0/-1', 'fe80::1%eth0/64']) {
      expect(() => blockListOf([text])).toThrow('is not a CIDR')
    }
  })
})
