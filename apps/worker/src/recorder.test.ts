import { OverfullError } from '@switchhook/core/group-commit'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics } from '@switchhook/core/metrics'
import type { DeliveryRecord } from '@switchhook/core/store/delivery-log'
import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { sampleJob } from '../test/sample-delivery.ts'
import { toDeliveryRecord } from './prepare-request.ts'
import { createRecorder, type RecorderDeps } from './recorder.ts'

const record: DeliveryRecord = toDeliveryRecord(sampleJob(), {
  ...{ state: 'delivered', attempts: 1, dueAtMs: 1, fallbackAtMs: null, reason: null },
  attempt: null,
})

type Answers = {
  readonly commit?: () => Promise<void>
  readonly addRecord?: RecorderDeps['spool']['addRecord']
}

function createBench({ commit, addRecord }: Answers, isUp = true) {
  const asked: ('postgres' | 'redis')[] = []
  const failures: unknown[] = []
  const registry = new Registry()
  const save = createRecorder({
    deliveryLog: {
      push() {
        asked.push('postgres')
        return commit?.() ?? Promise.resolve()
      },
      idle: () => Promise.resolve(),
    },
    spool: {
      addRecord(one) {
        asked.push('redis')
        return addRecord?.(one) ?? Promise.resolve({ bodiesKept: true })
      },
    },
    postgres: {
      isUp: () => isUp,
      reportFailure: (error) => void failures.push(error),
      stop: () => undefined,
    },
    metrics: createMetrics(registry),
    log: silentLogger,
  })
  return { save, asked, failures, registry }
}

const fail = (error: Error) => () => Promise.reject(error)
const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })

describe('a record', () => {
  it('goes to Postgres, and nowhere else while that is up', async () => {
    const bench = createBench({})
    await bench.save(record)
    expect(bench.asked).toEqual(['postgres'])
  })

  it('goes to Redis at once while Postgres is known to be away', async () => {
    const bench = createBench({}, false)
    await bench.save(record)
    expect(bench.asked).toEqual(['redis'])
  })

  it('goes to Redis when Postgres fails, which is told', async () => {
    const bench = createBench({ commit: fail(refused) })
    await bench.save(record)
    expect(bench.asked).toEqual(['postgres', 'redis'])
    expect(bench.failures).toEqual([refused])
  })

  it('goes to Redis when too many wait for Postgres, which is not its failure', async () => {
    const bench = createBench({ commit: fail(new OverfullError('full')) })
    await bench.save(record)
    expect(bench.asked).toEqual(['postgres', 'redis'])
    expect(bench.failures).toEqual([])
  })

  it('is counted when its bodies had to be left out', async () => {
    const bench = createBench({ addRecord: async () => ({ bodiesKept: false }) }, false)
    await bench.save(record)
    expect(await bench.registry.metrics()).toContain('switchhook_log_rows_cut_total 1')
  })

  it('is offered to both again until one takes it', async () => {
    let refusals = 1
    const bench = createBench({
      commit: fail(refused),
      async addRecord() {
        refusals -= 1
        if (refusals >= 0) throw refused
        return { bodiesKept: true }
      },
    })
    await bench.save(record)
    expect(bench.asked).toEqual(['postgres', 'redis', 'postgres', 'redis'])
  })
})
