import { silentLogger } from '@switchhook/core/log'
import { describe, expect, it } from 'vitest'
import { createDeliverBench, DELIVERED, REFUSED } from '../test/deliver-bench.ts'
import { sampleDestination } from '../test/sample-delivery.ts'
import { createHeeding } from './disable-destination-heed.ts'

/** Runs one attempt with an answer and returns what was made of it. */
async function heed(answer: Partial<typeof REFUSED>, isPostgresAway = false) {
  const told: string[] = []
  const bench = createDeliverBench({
    post: async () => ({ ...REFUSED, ...answer }),
    heed: createHeeding({
      slots: { slowDown: (id, forMs) => told.push(`slow ${id} ${forMs}`) },
      disabling: {
        noteOutcome: (id, isDelivered) => told.push(`noted ${id} ${isDelivered}`),
        async disableGone({ id, url }) {
          told.push(`disable ${id} ${url}`)
          if (isPostgresAway) throw new Error('no connection')
        },
      },
      log: silentLogger,
    }),
  })
  const step = await bench.run()
  return { told, step, states: bench.records.map(({ state }) => state), mails: bench.fallbacks }
}

describe('an answer', () => {
  it('of success or failure is noted of its destination', async () => {
    expect((await heed(DELIVERED)).told).toEqual(['noted dst_sample true'])
    expect((await heed({ statusCode: 500 })).told).toEqual(['noted dst_sample false'])
  })

  it('that is our own fault is held against nobody', async () => {
    const { told, states } = await heed({ statusCode: null, isOurFault: true })
    expect(told).toEqual([])
    expect(states).toEqual([])
  })

  it('of 429 slows everything to the destination, for as long as it asks', async () => {
    const { told, step } = await heed({ statusCode: 429, retryAfterMs: 30_000 })
    expect(told).toEqual(['noted dst_sample false', 'slow dst_sample 30000'])
    expect(step).toMatchObject({ kind: 'retry', delayMs: 30_000 })
  })

  it('of 410 disables the destination and sends the delivery to its fallback, attempts left or not', async () => {
    const gone = { statusCode: 410, error: 'The destination answered 410.' }
    for (const isPostgresAway of [false, true]) {
      const { told, step, mails } = await heed(gone, isPostgresAway)
      expect(told).toContain('disable dst_sample https://customer.example/sms')
      expect(step).toEqual({ kind: 'done' })
      expect(mails).toMatchObject([{ attempts: 1, reason: gone.error }])
    }
  })
})

describe('a delivery that waits for a destination', () => {
  const run = async (disabledReason: string | null) => {
    const findDestination = async () => sampleDestination({ status: 'disabled', disabledReason })
    const bench = createDeliverBench({ findDestination })
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(bench.happened).not.toContain('sent')
    return bench
  }

  it('is mailed when the gateway disabled it', async () => {
    const { fallbacks } = await run('It answered 410 Gone.')
    const reason = 'The destination was disabled. It answered 410 Gone.'
    expect(fallbacks).toMatchObject([{ to: 'owner@customer.example', attempts: 0, reason }])
  })

  it('is cancelled when its owner disabled it', async () => {
    const { records, fallbacks } = await run(null)
    expect(records).toMatchObject([{ state: 'cancelled' }])
    expect(fallbacks).toEqual([])
  })
})
