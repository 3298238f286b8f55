import type { LookupAddress } from 'node:dns'
import { createEgressRules } from '@switchhook/core/egress-rules'
import { waitFor } from '@switchhook/testing/wait-for'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createEgressAgent, type ResolveHost } from './egress-agent.ts'
import { createSharedLookup } from './egress-lookup.ts'
import { postEvent } from './post-event.ts'

type Callback = Parameters<ResolveHost>[2]

let clockMs: number
/** Look-ups under way, by host. */
let open: { host: string; callback: Callback }[]
let shared: ResolveHost

beforeEach(() => {
  clockMs = 0
  open = []
  shared = createSharedLookup(
    (host, _options, callback) => open.push({ host, callback }),
    () => clockMs,
  )
})

function look(host: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    shared(host, { all: true }, (error, addresses) => {
      if (error === null) resolve(addresses)
      else reject(error)
    })
  })
}

/** Answers the look-up that has waited longest. */
function answer(error: NodeJS.ErrnoException | null, ...addresses: readonly string[]): void {
  open.shift()?.callback(
    error,
    addresses.map((address) => ({ address, family: 4 })),
  )
}

const failure = Object.assign(new Error('no such host'), { code: 'ENOTFOUND' })

describe('looking hosts up', () => {
  it('asks once for a host, however many want to know, and apart from other hosts', async () => {
    const looking = Array.from({ length: 100 }, () => look('slow.example'))
    const other = look('quick.example')
    expect(open.map(({ host }) => host)).toEqual(['slow.example', 'quick.example'])
    answer(null, '192.0.2.1')
    answer(null, '192.0.2.2')
    for (const addresses of await Promise.all(looking)) {
      expect(addresses).toEqual([{ address: '192.0.2.1', family: 4 }])
    }
    expect(await other).toEqual([{ address: '192.0.2.2', family: 4 }])
  })

  it('remembers for five seconds what it found, and for one that there was nothing', async () => {
    const first = look('a.example')
    answer(null, '192.0.2.1')
    await first
    clockMs = 4_999
    expect(await look('a.example')).toHaveLength(1)
    expect(open).toEqual([])
    clockMs = 5_000
    const second = look('a.example')
    answer(failure)
    await expect(second).rejects.toThrow(failure)
    clockMs = 5_999
    await expect(look('a.example')).rejects.toThrow(failure)
    clockMs = 6_000
    const third = look('a.example')
    answer(null, '192.0.2.3')
    expect(await third).toEqual([{ address: '192.0.2.3', family: 4 }])
  })

  it('what is remembered is judged again by whoever connects', async () => {
    const agent = createEgressAgent(
      createEgressRules({ allowedCidrs: [], allowHttp: true }),
      shared,
    )
    onTestFinished(() => agent.destroy())
    const request = { url: 'http://rebind.example/', headers: {}, timeoutMs: 20_000 }
    const post = () => postEvent(agent, { ...request, body: Buffer.from('{}'), successRule: '2xx' })
    const first = post()
    await waitFor(() => open.length === 1, { timeoutMs: 20_000, what: 'the look-up' })
    answer(null, '127.0.0.1')
    expect((await first).outcome).toBe('blocked')
    expect((await post()).outcome).toBe('blocked')
    expect(open).toEqual([])
  })
})
