import { BlockList, isIP } from 'node:net'

function addCidr(list: BlockList, cidr: string): void {
  const [address = '', prefix, ...rest] = cidr.trim().split('/')
  const family = isIP(address)
  const bits = family === 4 ? 32 : 128
  const length = prefix === undefined ? bits : Number(prefix)
  const isPrefix = prefix === undefined || /^\d{1,3}$/.test(prefix)
  if (family === 0 || address.includes('%') || rest.length > 0 || !isPrefix || length > bits) {
    throw new Error(`"${cidr}" is not a CIDR such as 10.0.0.0/8`)
  }
  list.addSubnet(address, length, family === 4 ? 'ipv4' : 'ipv6')
}

/** Throws for text that is no CIDR; a bare address stands for itself. */
export function blockListOf(cidrs: readonly string[]): BlockList {
  const list = new BlockList()
  for (const cidr of cidrs) addCidr(list, cidr)
  return list
}

/** Is the address in one of the ranges? An IPv4 address counts the same when it is written as a mapped IPv6 one. */
export function isInCidrs(address: string, cidrs: readonly string[]): boolean {
  const ip = address.replace(/^::ffff:(?=\d+\.)/i, '')
  const family = isIP(ip)
  if (family === 0) return false
  const own = cidrs.filter((cidr) => cidr.includes(':') === (family === 6))
  return blockListOf(own).check(ip, family === 4 ? 'ipv4' : 'ipv6')
}
