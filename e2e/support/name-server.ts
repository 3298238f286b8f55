import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { isIPv6 } from 'node:net'

/** What the name server says of a name: addresses, an error, or nothing at all. */
export type NameAnswer = readonly string[] | 'nxdomain' | 'servfail' | 'silent'

export type NameServer = {
  /** For `NODE_OPTIONS`: a process started so asks this server for names that end in `.example`. */
  readonly env: Readonly<Record<string, string>>
  /** How often a name was asked for its IPv4 addresses. */
  asked(name: string): number
  /** The last answer stands for all that follow. `alias` is a CNAME that comes before the addresses. */
  answer(name: string, answers: readonly NameAnswer[], alias?: string): void
  stop(): Promise<void>
}

const A = 1
const CNAME = 5
const AAAA = 28
const RCODES = { nxdomain: 3, servfail: 2 } as const
const PRELOAD = new URL('./resolve-by-name-server.ts', import.meta.url)

function encodeName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.from([label.length, ...Buffer.from(label)]))
  return Buffer.concat([...labels, Buffer.from([0])])
}

/** The name of the only question, and where it ends. */
function readName(message: Buffer): { name: string; end: number } {
  const labels: string[] = []
  let at = 12
  while ((message[at] ?? 0) > 0) {
    const length = message[at] ?? 0
    labels.push(message.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 }
}

function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number))
  // The URL parser writes every IPv6 address in one way, without an IPv4 part.
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const groups = (text: string) => text.split(':').filter((group) => group !== '')
  const missing = 8 - groups(head).length - groups(tail).length
  const all = [...groups(head), ...Array.from({ length: missing }, () => '0'), ...groups(tail)]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

/** Never to be kept (TTL 0). */
function record(name: Buffer, type: number, data: Buffer): Buffer {
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(type, 0)
  fixed.writeUInt16BE(1, 2)
  fixed.writeUInt16BE(data.length, 8)
  return Buffer.concat([name, fixed, data])
}

/** A DNS server on a UDP port of loopback that says what it is told, TTL 0. Unknown names do not exist. */
export async function startNameServer(): Promise<NameServer> {
  const names = new Map<string, { answers: readonly NameAnswer[]; alias: string | undefined }>()
  const asked = new Map<string, number>()
  const socket = createSocket('udp4')

  function respond(message: Buffer): Buffer | undefined {
    const { name, end } = readName(message)
    const type = message.readUInt16BE(end)
    const known = names.get(name)
    const count = asked.get(name) ?? 0
    if (type === A) asked.set(name, count + 1)
    // The IPv6 half of a look-up belongs to the IPv4 half, whichever comes first.
    const index = type === A ? count : Math.max(0, count - 1)
    const answer = known?.answers[Math.min(index, known.answers.length - 1)] ?? 'nxdomain'
    if (answer === 'silent') return undefined
    const addresses = typeof answer === 'string' ? [] : answer
    const wanted = addresses.filter((address) => isIPv6(address) === (type === AAAA))
    const owner = encodeName(known?.alias ?? name)
    const records = wanted.map((address) => record(owner, type, addressBytes(address)))
    if (known?.alias !== undefined) records.unshift(record(encodeName(name), CNAME, owner))
    const head = Buffer.alloc(12)
    message.copy(head, 0, 0, 2)
    // A response, recursion desired and available.
    head.writeUInt16BE(0x8180 | (typeof answer === 'string' ? RCODES[answer] : 0), 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records.length, 6)
    return Buffer.concat([head, message.subarray(12, end + 4), ...records])
  }

  socket.on('message', (message, { port, address }) => {
    const response = respond(message)
    if (response !== undefined) socket.send(response, port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    env: {
      NODE_OPTIONS: `--import=${PRELOAD.href}`,
      TEST_NAME_SERVER: `127.0.0.1:${socket.address().port}`,
    },
    asked: (name) => asked.get(name) ?? 0,
    answer(name, answers, alias) {
      asked.delete(name)
      names.set(name, { answers, alias })
    },
    async stop() {
      socket.close()
      await once(socket, 'close')
    },
  }
}
