import type { SharedCircuits } from '@switchhook/core/circuits'
import { silentLogger } from '@switchhook/core/log'
import { waitFor } from '@switchhook/testing/wait-for'
import { expect, it, onTestFinished, vi } from 'vitest'
import { sampleDestination } from '../test/sample-delivery.ts'
import { startResumingParked } from './resume-parked.ts'

vi.setConfig({ testTimeout: 60_000 })

type ProbeAnswer = Awaited<ReturnType<SharedCircuits['probeNow']>>

/** A destination with an open circuit and one delivery parked; what was done, in order. */
function start(answers: (ProbeAnswer | 'away')[]) {
  const did: string[] = []
  let destination = sampleDestination({ status: 'paused' })
  let parkedIds: string[] = ['dst_sample']
  const stop = startResumingParked({
    parked: {
      async findDestinations() {
        did.push('looked')
        return parkedIds
      },
      async wake(id) {
        did.push(`resumed ${id}`)
        parkedIds = []
        return 1
      },
    },
    circuits: { openIds: () => ['dst_sample'] },
    async probeNow(id) {
      did.push(`probed ${id}`)
      const answer = answers.shift() ?? { kind: 'known', waiting: [] }
      if (answer === 'away') throw new Error('Redis is away')
      return answer
    },
    queues: {
      async promote(_id, waiting) {
        for (const { deliveryId } of waiting) did.push(`woke ${deliveryId}`)
      },
    },
    findDestination: () => destination,
    log: silentLogger,
  })
  onTestFinished(stop)
  const waitUntilDone = (what: string) =>
    waitFor(() => did.includes(what), { timeoutMs: 20_000, everyMs: 5, what })
  return {
    ...{ did, waitUntilDone },
    async resume() {
      await waitUntilDone('looked')
      did.length = 0
      destination = { ...destination, status: 'active' }
    },
  }
}

const LANE = { lane: 'messages' } as const

it('a resumed destination is probed one look later, when every worker knows, and its parked deliveries come after', async () => {
  const waiting = [{ ...LANE, deliveryId: 'dlv_1' }]
  const bench = start([{ kind: 'due', waiting }])
  await bench.resume()
  await bench.waitUntilDone('resumed dst_sample')
  await bench.waitUntilDone('woke dlv_1')
  const inOrder = bench.did.filter((one) => one !== 'woke dlv_1')
  expect(inOrder).toEqual(['looked', 'looked', 'probed dst_sample', 'resumed dst_sample'])
})

it('is asked for again while an older probe is under way, or Redis is away, and once it was heard no more', async () => {
  const bench = start([{ kind: 'probed', waiting: [] }, 'away', { kind: 'due', waiting: [] }])
  await bench.resume()
  await bench.waitUntilDone('resumed dst_sample')
  const looks = () => bench.did.filter((one) => one === 'looked').length
  const before = looks()
  await waitFor(() => looks() >= before + 2, { timeoutMs: 20_000, what: 'two more looks' })
  expect(bench.did.filter((one) => one === 'probed dst_sample')).toHaveLength(3)
})
