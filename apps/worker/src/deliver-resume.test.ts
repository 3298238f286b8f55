import type { DeliveryProgress } from '@switchhook/core/store/owed-deliveries'
import { describe, expect, it } from 'vitest'
import { createDeliverBench, NOW_MS, REFUSED } from '../test/deliver-bench.ts'
import { sampleDestination, sampleJob } from '../test/sample-delivery.ts'

const progressOf = (overrides: Partial<DeliveryProgress>): DeliveryProgress => ({
  state: 'pending',
  attempts: 0,
  fallbackAtMs: null,
  reason: null,
  ...overrides,
})

function createBench(
  progress: Partial<DeliveryProgress> | undefined,
  overrides: Parameters<typeof createDeliverBench>[0] = {},
) {
  const known = progress === undefined ? undefined : progressOf(progress)
  return createDeliverBench({ findProgress: async () => known, ...overrides })
}

describe('a job that nothing interrupted', () => {
  it('asks Postgres nothing', async () => {
    const bench = createDeliverBench({ findProgress: () => Promise.reject(new Error('asked')) })
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(await bench.run({ run: 2 })).toEqual({ kind: 'done' })
  })
})

describe('after the death of its worker a delivery', () => {
  it.each(['delivered', 'emailed', 'given_up', 'cancelled', 'expired'] as const)(
    'that was %s already is left alone: nothing is sent, nothing recorded',
    async (state) => {
      const bench = createBench({ state, attempts: 1 })
      expect(await bench.run({ run: 2, interrupted: true })).toEqual({ kind: 'done' })
      expect(bench.happened).toEqual([])
    },
  )

  it('gets the row of the attempt that was cut off, and goes on with the next number', async () => {
    const bench = createBench({ attempts: 0 })
    expect(await bench.run({ run: 2, interrupted: true })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['recorded pending', 'sent', 'recorded delivered'])
    expect(bench.records).toMatchObject([
      {
        attempts: 1,
        attempt: {
          attempt: 1,
          outcome: 'unreachable',
          statusCode: null,
          url: 'https://customer.example/sms',
          error: expect.stringContaining('worker stopped'),
        },
      },
      { attempts: 2, attempt: { attempt: 2, outcome: 'delivered' } },
    ])
    expect(await bench.registry.metrics()).toContain(
      'switchhook_attempts_total{format="burki",outcome="unreachable"} 1',
    )
  })

  it('gets a row for each attempt that was cut off, when more than one worker died', async () => {
    const bench = createBench({ attempts: 0 })
    await bench.run({ run: 3, interrupted: true })
    expect(bench.records.map(({ attempt }) => [attempt?.attempt, attempt?.outcome])).toEqual([
      [1, 'unreachable'],
      [2, 'unreachable'],
      [3, 'delivered'],
    ])
  })

  it('whose attempt was on record before the death gets no second row for it', async () => {
    const bench = createBench({ attempts: 1 }, { post: async () => REFUSED })
    expect(await bench.run({ run: 2, interrupted: true })).toEqual({
      kind: 'retry',
      delayMs: 15_000,
    })
    expect(bench.records.map(({ attempts }) => attempts)).toEqual([2])
  })

  it('goes on when Postgres cannot be asked: not knowing may cost a duplicate, not the delivery', async () => {
    const bench = createBench(undefined)
    expect(await bench.run({ run: 2, interrupted: true })).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([{ attempts: 2, state: 'delivered' }])
  })

  it('that may have cost a row of the log is counted, once it goes on without knowing', async () => {
    const cut = async (bench: ReturnType<typeof createBench>) =>
      /switchhook_log_rows_cut_total (\d+)/.exec(await bench.registry.metrics())?.[1]
    const run = { run: 3, interrupted: true, lostRuns: 2 }
    const unknown = createBench(undefined)
    await unknown.run(run)
    expect(await cut(unknown)).toBe('2')
    await unknown.run({ ...run, run: 4, lostRuns: 0 })
    expect(await cut(unknown)).toBe('2')
    const gone = createBench(undefined, { findDestination: async () => undefined })
    await gone.run(run)
    expect(await cut(gone)).toBe('2')
    // It looks again before it goes on; and what Postgres tells is written down.
    const own = { ...REFUSED, isOurFault: true } as const
    const waiting = createBench(undefined, { post: async () => own })
    await waiting.run({ ...run, run: 1 })
    expect(await cut(waiting)).toBe('0')
    const known = createBench({ attempts: 0 })
    await known.run(run)
    expect(await cut(known)).toBe('0')
  })

  it('is mailed without another request when its attempts are used up', async () => {
    const bench = createBench({ attempts: 2 })
    expect(await bench.run({ run: 4, interrupted: true })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['recorded pending', 'recorded pending', 'mail enqueued'])
    expect(bench.records).toMatchObject([
      { attempts: 3, attempt: { attempt: 3 }, fallbackAtMs: null },
      { attempts: 3, attempt: null, fallbackAtMs: NOW_MS },
    ])
    expect(bench.fallbacks).toMatchObject([{ attempts: 3 }])
  })

  it('that kills its worker every time is mailed after as many tries as any other', async () => {
    let sent = 0
    let attempts = 0
    for (let run = 1; run < 20; run += 1) {
      const dying = createBench({ attempts }, { post: () => Promise.reject(new Error('killed')) })
      // The worker dies while it posts: what it recorded before that stays.
      const outcome = await dying.run({ run, interrupted: run > 1 }).catch(() => 'killed' as const)
      sent += dying.happened.filter((one) => one === 'sent').length
      attempts = dying.records.at(-1)?.attempts ?? attempts
      if (outcome !== 'killed') {
        expect(outcome).toEqual({ kind: 'done' })
        expect(dying.fallbacks).toHaveLength(1)
        break
      }
    }
    expect(sent).toBe(3)
  })

  it('whose mail was owed but not enqueued gets it, with the reason on record', async () => {
    const progress = {
      attempts: 3,
      fallbackAtMs: NOW_MS - 1,
      reason: 'The destination answered 500.',
    }
    const bench = createBench(progress)
    expect(await bench.run({ run: 4, interrupted: true })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['mail enqueued'])
    expect(bench.fallbacks).toMatchObject([
      { to: 'owner@customer.example', attempts: 3, reason: 'The destination answered 500.' },
    ])
  })

  it('whose mail is owed to an address that is gone is given up', async () => {
    const findDestination = async () => sampleDestination({ fallbackEmail: null })
    const bench = createBench({ attempts: 3, fallbackAtMs: NOW_MS - 1 }, { findDestination })
    expect(await bench.run({ run: 4, interrupted: true })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['recorded given_up'])
  })

  it('of a deleted destination is cancelled', async () => {
    const bench = createBench({ attempts: 1 }, { findDestination: async () => undefined })
    await bench.run({ run: 2, interrupted: true })
    expect(bench.happened).toEqual(['recorded cancelled'])
  })
})

describe('an attempt that its stopping worker does not wait for', () => {
  it('counts and is logged, and says nothing about the destination', async () => {
    const heeded: unknown[] = []
    const heed = async (...about: unknown[]) => void heeded.push(about)
    const cutOff = {
      ...REFUSED,
      statusCode: null,
      outcome: 'unreachable',
      wasCutOff: true,
    } as const
    const bench = createDeliverBench({ heed, post: async () => cutOff })
    expect(await bench.run()).toEqual({ kind: 'retry', delayMs: 5_000 })
    expect(bench.records).toMatchObject([{ attempts: 1, attempt: { attempt: 1 } }])
    expect(heeded).toEqual([])
    await createDeliverBench({ heed, post: async () => REFUSED }).run()
    expect(heeded).toHaveLength(1)
  })
})

describe('a job that the requeuer made', () => {
  it('looks first, and sends nothing that was delivered meanwhile', async () => {
    const bench = createBench({ state: 'delivered', attempts: 1 })
    const data = sampleJob({ requeued: true, priorAttempts: 0 })
    expect(await bench.run({ data })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual([])
  })

  it('goes on after the attempts that Postgres knows', async () => {
    const bench = createBench({ attempts: 1 }, { post: async () => REFUSED })
    const data = sampleJob({ requeued: true, priorAttempts: 1 })
    expect(await bench.run({ data })).toEqual({ kind: 'retry', delayMs: 15_000 })
    expect(bench.records).toMatchObject([{ attempts: 2, attempt: { attempt: 2 } }])
  })

  it('notices when Postgres came further since it was made', async () => {
    const bench = createBench({ attempts: 2 }, { post: async () => REFUSED })
    const data = sampleJob({ requeued: true, priorAttempts: 0 })
    expect(await bench.run({ data })).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([{ attempts: 3 }])
    expect(bench.fallbacks).toHaveLength(1)
  })

  it('counts its own runs on top', async () => {
    const bench = createBench({ attempts: 2 }, { post: async () => REFUSED })
    const data = sampleJob({ requeued: true, priorAttempts: 1 })
    expect(await bench.run({ data, run: 2 })).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([{ attempts: 3, attempt: { attempt: 3 } }])
  })
})
