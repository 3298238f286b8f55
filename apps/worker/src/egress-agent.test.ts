import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createEgressAgent, type ResolveHost } from './egress-agent.ts'
import { postEvent } from './post-event.ts'

/** Whatever reaches it is counted. */
let server: Server
let port: number
let connections = 0
let requests = 0

beforeAll(async () => {
  server = createServer((request, response) => {
    requests += 1
    request.resume()
    response.end('reached')
  })
  server.on('connection', () => {
    connections += 1
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
})
beforeEach(() => {
  connections = 0
  requests = 0
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})

const strict = createEgressRules({ allowedCidrs: [], allowHttp: true })
const ipv4Loopback = createEgressRules({ allowedCidrs: ['127.0.0.0/8'], allowHttp: true })

type Rules = Parameters<typeof createEgressAgent>[0]

async function post(host: string, rules: Rules, resolve?: ResolveHost) {
  const agent = createEgressAgent(rules, resolve)
  onTestFinished(() => agent.destroy())
  return postEvent(agent, {
    url: `http://${host}:${port}/`,
    headers: {},
    body: Buffer.from('secret'),
    timeoutMs: 20_000,
    successRule: '2xx',
  })
}

const resolveTo =
  (...addresses: readonly string[]): ResolveHost =>
  (_host, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )

const BLOCKED = {
  outcome: 'blocked',
  statusCode: null,
  error: 'The address is not one that deliveries may reach.',
}

describe('an address that deliveries must not reach', () => {
  it.each([
    '127.0.0.1',
    '127.1',
    '127.0.1',
    '2130706433',
    '0x7f000001',
    '0x7f.1',
    '0177.0.0.1',
    '017700000001',
    '127.0.0.1.',
    '127.255.255.254',
    '0',
    '0.0.0.0',
    '１２７.0.0.1',
    '①②⑦。0。0。1',
    '%31%32%37.0.0.1',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[64:ff9b:1::7f00:1]',
    '[2002:7f00:1::]',
    '[::ffff:0:7f00:1]',
    '[fe80::1]',
    '[fd00:ec2::254]',
    '10.0.0.1',
    '169.254.169.254',
    '0xa9fea9fe',
    '2852039166',
    '100.100.100.200',
    '192.168.1.1',
    '172.16.0.1',
    '198.18.0.1',
    '224.0.0.1',
    '255.255.255.255',
    'user:password@127.0.0.1',
    '93.184.216.34@127.0.0.1',
    'customer.example%40127.0.0.1',
  ])('gets no connection when it is written as %s', async (host) => {
    const result = await post(host, strict)
    // What is no URL gets no connection either.
    if (URL.canParse(`http://${host}/`)) expect(result).toMatchObject(BLOCKED)
    expect(result.outcome).not.toBe('delivered')
    expect(connections).toBe(0)
  })

  it.each([
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f.1',
    '[::ffff:127.0.0.1]',
    'user:pw@127.0.0.1',
  ])('is really there: %s reaches it where it is allowed', async (host) => {
    expect(await post(host, ipv4Loopback)).toMatchObject({ outcome: 'delivered' })
    expect(connections).toBe(1)
  })

  it.each(['localhost', 'LOCALHOST', 'localhost.'])(
    'gets no connection when it has the name %s',
    async (host) => {
      const { outcome } = await post(host, strict)
      // A name that this machine does not know is refused by the resolver.
      expect(['blocked', 'unreachable']).toContain(outcome)
      if (host.toLowerCase() === 'localhost') expect(outcome).toBe('blocked')
      expect(connections).toBe(0)
    },
  )

  it('gets no connection when a name has it beside good addresses, in any order', async () => {
    for (const addresses of [
      ['93.184.216.34', '127.0.0.1'],
      ['127.0.0.1', '93.184.216.34'],
      ['2606:2800:220:1::1', '::1'],
      ['93.184.216.34', '::ffff:127.0.0.1'],
      ['127.0.0.1'],
    ]) {
      const result = await post('rebind.example', strict, resolveTo(...addresses))
      expect(result).toMatchObject(BLOCKED)
    }
    // Only some of loopback is allowed here.
    const mixed = await post('rebind.example', ipv4Loopback, resolveTo('127.0.0.1', '::1'))
    expect(mixed).toMatchObject(BLOCKED)
    expect(connections).toBe(0)
  })

  it('gets no connection when a name has no address at all', async () => {
    expect(await post('empty.example', ipv4Loopback, resolveTo())).toMatchObject(BLOCKED)
    expect(connections).toBe(0)
  })

  it('gets no request when the finished connection turns out to be to it', async () => {
    // As if the address had been judged wrongly before: the first look lets it pass.
    let looks = 0
    const rules = {
      isBlockedAddress() {
        looks += 1
        return looks > 1
      },
    }
    expect(await post('127.0.0.1', rules)).toMatchObject(BLOCKED)
    expect(looks).toBe(2)
    expect(requests).toBe(0)
  })
})

describe('an address that deliveries may reach', () => {
  it('is reached by its literal and by names', async () => {
    expect(await post('127.0.0.1', ipv4Loopback)).toMatchObject({ outcome: 'delivered' })
    const named = await post('inside.example', ipv4Loopback, resolveTo('127.0.0.1'))
    expect(named).toMatchObject({ outcome: 'delivered', responseBody: 'reached' })
    expect(requests).toBe(2)
  })

  it('is the one that was judged: a name is looked up once per connection', async () => {
    let lookUps = 0
    const rebinding: ResolveHost = (host, options, callback) => {
      lookUps += 1
      const addresses = lookUps === 1 ? ['127.0.0.1'] : ['169.254.169.254']
      resolveTo(...addresses)(host, options, callback)
    }
    const result = await post('rebind.example', ipv4Loopback, rebinding)
    expect(result).toMatchObject({ outcome: 'delivered' })
    expect(lookUps).toBe(1)
    expect(await post('rebind.example', ipv4Loopback, rebinding)).toMatchObject(BLOCKED)
    expect(requests).toBe(1)
  })

  it('cannot be looked up when the resolver fails, which is not the same as blocked', async () => {
    const failing: ResolveHost = (_host, _options, callback) =>
      callback(Object.assign(new Error('try again'), { code: 'EAI_AGAIN' }), [])
    expect(await post('any.example', ipv4Loopback, failing)).toMatchObject({
      outcome: 'unreachable',
      error: 'The host name could not be looked up.',
    })
  })
})
