import { silentLogger } from '@switchhook/core/log'
import { closeRedis, openRedis, type RedisConnection } from '@switchhook/core/redis'
import { type OwnRedis, startOwnRedis } from '@switchhook/testing/isolated'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Fleet, joinFleet, shareOfCap } from '../src/fleet.ts'

let redis: OwnRedis
let connection: RedisConnection

beforeAll(async () => {
  redis = await startOwnRedis({ settings: { appendonly: 'no' } })
  const target = { url: redis.url, clusterNodes: [] }
  connection = openRedis(target, { kind: 'answering', commandTimeoutMs: 20_000 }, silentLogger)
  await waitFor(() => connection.ping(), { timeoutMs: 20_000, what: 'Redis' })
})
afterAll(async () => {
  await closeRedis(connection)
  await redis.stop()
})

describe('the parts of a cap', () => {
  it('sum up to the cap over all workers, for any number of them', () => {
    for (let count = 1; count <= 9; count += 1) {
      const workers = Array.from({ length: count }, (_, index) => `w${index}`)
      for (const cap of [1, 2, 5, 7, 50, 1_000]) {
        for (const id of ['dst_a', 'dst_b', 'dst_c']) {
          const parts = workers.map((self) => shareOfCap(id, cap, workers, self))
          expect(parts.reduce((sum, part) => sum + part, 0)).toBeCloseTo(cap)
          if (cap >= count) expect(parts.every((part) => Number.isInteger(part))).toBe(true)
        }
      }
    }
  })

  it('give the remainder to another worker for another destination', () => {
    const workers = ['w0', 'w1', 'w2']
    const luckyOf = (id: string) => workers.find((self) => shareOfCap(id, 4, workers, self) === 2)
    const lucky = Array.from({ length: 30 }, (_, index) => luckyOf(`dst_${index}`))
    expect(new Set(lucky).size).toBe(3)
  })
})

describe('a fleet', () => {
  it('shares a cap among the workers that are there, and again when one leaves', async () => {
    const fleets: Fleet[] = []
    for (let count = 0; count < 3; count += 1) {
      const fleet = joinFleet(connection, silentLogger)
      fleets.push(fleet)
      await fleet.joined
    }
    const parts = () => fleets.map((fleet) => fleet.shareOf('dst_1', 50)).toSorted()
    await waitFor(() => parts().join() === '16,17,17', { timeoutMs: 20_000, what: 'three workers' })
    await fleets.pop()?.stop()
    await waitFor(() => parts().join() === '25,25', { timeoutMs: 20_000, what: 'two workers' })
    await Promise.all(fleets.map((fleet) => fleet.stop()))
  })

  it('leases the slots of a destination that has fewer than there are workers', async () => {
    const [one, other] = [joinFleet(connection, silentLogger), joinFleet(connection, silentLogger)]
    await Promise.all([one.joined, other.joined])
    const serial = { id: 'dst_serial', maxConcurrency: 1, timeoutMs: 500 }
    const giveBack = await one.lease(serial)
    expect(giveBack).toBeDefined()
    expect(await other.lease(serial)).toBeUndefined()
    expect(await one.lease(serial)).toBeUndefined()
    await giveBack?.()
    expect(await other.lease(serial)).toBeDefined()
    // Never given back: a dead worker's lapses.
    await waitFor(async () => (await one.lease(serial)) !== undefined, {
      timeoutMs: 20_000,
      what: 'the lease to lapse',
    })
    await Promise.all([one.stop(), other.stop()])
  })
})
