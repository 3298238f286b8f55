import { waitFor } from '@switchhook/testing/wait-for'
import { describe, expect, it } from 'vitest'
import { silentLogger } from './log.ts'
import { createStoreHealth } from './store-health.ts'

function createHealth(probe: () => Promise<unknown>) {
  const changes: boolean[] = []
  const logged: string[] = []
  const note = (_fields: object, message: string) => void logged.push(message)
  const health = createStoreHealth({
    store: 'postgres',
    probe,
    probeTimeoutMs: 20,
    probeEveryMs: 5,
    onChange: (isUp) => changes.push(isUp),
    log: { ...silentLogger, info: note, error: note },
  })
  return { health, changes, logged }
}

const until = (condition: () => boolean, what: string) =>
  waitFor(condition, { timeoutMs: 20_000, what })

describe('the health of a store', () => {
  it('is up until somebody saw it fail, and up again at the first probe that succeeds', async () => {
    let probes = 0
    const { health, changes, logged } = createHealth(async () => {
      probes += 1
      if (probes < 4) throw new Error('refused')
    })
    expect(health.isUp()).toBe(true)
    health.reportFailure(new Error('refused'))
    expect(health.isUp()).toBe(false)
    await until(() => health.isUp(), 'the store to be up')
    expect(probes).toBe(4)
    await until(() => changes.length === 2, 'the change to be told')
    expect(changes).toEqual([false, true])
    expect(logged).toEqual(['store.degraded', 'store.recovered'])
  })

  it('tells a failure once, however many saw it', async () => {
    const { health, changes } = createHealth(() => Promise.reject(new Error('refused')))
    for (let count = 0; count < 100; count += 1) health.reportFailure(new Error('refused'))
    expect(changes).toEqual([false])
    health.stop()
  })

  it('takes a probe that hangs for a failed one, and tries again', async () => {
    let probes = 0
    const { health } = createHealth(() => {
      probes += 1
      return probes < 3 ? new Promise(() => undefined) : Promise.resolve()
    })
    health.reportFailure(new Error('frozen'))
    await until(() => health.isUp(), 'the store to be up')
    expect(probes).toBe(3)
  })

  it('may fail again after it recovered', async () => {
    const { health, changes } = createHealth(() => Promise.resolve())
    for (const round of [1, 2]) {
      health.reportFailure(new Error('refused'))
      await until(() => changes.length === round * 2, 'the recovery to be told')
    }
    expect(changes).toEqual([false, true, false, true])
  })

  it('probes no more once it is stopped', async () => {
    let probes = 0
    const { health, changes } = createHealth(async () => {
      probes += 1
      throw new Error('refused')
    })
    health.reportFailure(new Error('refused'))
    await until(() => probes > 0, 'a probe')
    health.stop()
    const atStop = probes
    let others = 0
    const control = createHealth(async () => {
      others += 1
      throw new Error('refused')
    })
    control.health.reportFailure(new Error('refused'))
    await until(() => others >= 5, 'five probes of one that was not stopped')
    control.health.stop()
    expect(probes).toBeLessThanOrEqual(atStop + 1)
    health.reportFailure(new Error('refused'))
    expect(changes).toEqual([false])
  })
})
