import { silentLogger } from '@switchhook/core/log'
import { createMetrics } from '@switchhook/core/metrics'
import type { FallbackJob, JobRun } from '@switchhook/core/queue'
import type { DeliveryRecord } from '@switchhook/core/store/delivery-log'
import type { DeliveryProgress } from '@switchhook/core/store/owed-deliveries'
import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import {
  RECEIVED_AT_MS,
  sampleDestination,
  sampleEvent,
  sampleJob,
} from '../test/sample-delivery.ts'
import type { FallbackMail } from './fallback-mail.ts'
import type { OperationalChange } from './operational-events.ts'
import { parseFallbackJob, type SendFallbackDeps, sendFallback } from './send-fallback.ts'
import type { MailResult } from './send-mail.ts'

const DAY_MS = 86_400_000
const OWED_AT_MS = RECEIVED_AT_MS + 60_000
const owed: DeliveryProgress = {
  state: 'pending',
  attempts: 10,
  fallbackAtMs: OWED_AT_MS,
  reason: 'The destination answered 500.',
}

const job: FallbackJob = {
  deliveryId: 'dlv_sample',
  to: 'owner@customer.example',
  reason: 'The destination answered 500.',
  attempts: 10,
  delivery: sampleJob(),
}

function createBench(overrides: Partial<SendFallbackDeps> = {}, result?: MailResult) {
  const mails: FallbackMail[] = []
  const records: DeliveryRecord[] = []
  const told: OperationalChange[] = []
  const registry = new Registry()
  const deps: SendFallbackDeps = {
    nowMs: () => OWED_AT_MS + 1_000,
    snapshot: {
      findPhoneNumber: (organizationId, phoneNumber) => ({
        ...{ id: 1, organizationId, phoneNumber, assistantId: null, serviceId: 'SVC-9' },
        ...{ version: 1, isDeleted: false },
      }),
    },
    findDestination: async () => sampleDestination(),
    findProgress: async () => owed,
    findEvent: async () => undefined,
    findSlot: async ({ to }) => ({ kind: 'single', recipient: to }),
    sendDigest: async () => ({ kind: 'defer', delayMs: 77 }),
    links: (subject, nowMs) => ({
      url: `https://hooks.example/replay/${subject}`,
      expiresAtMs: nowMs,
    }),
    tell: async (changes) => void told.push(...changes),
    sender: {
      async send(mail) {
        mails.push(mail)
        return result ?? { kind: 'sent' }
      },
    },
    record: async (record) => void records.push(record),
    sentUnrecorded: new Set(),
    publicBaseUrl: 'https://hooks.example',
    retryForMs: DAY_MS,
    metrics: createMetrics(registry),
    log: silentLogger,
    ...overrides,
  }
  return {
    mails,
    records,
    told,
    registry,
    run: (run: Partial<JobRun<FallbackJob>> = {}) =>
      sendFallback(deps, { data: job, run: 1, interrupted: false, ...run }),
  }
}

describe('the mail of an exhausted delivery', () => {
  it('is sent once, and the delivery is emailed', async () => {
    const bench = createBench()
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(bench.mails).toHaveLength(1)
    expect(bench.mails[0]).toMatchObject({
      to: 'owner@customer.example',
      messageId: '<dlv_sample@switchhook>',
      payload: sampleEvent().payload,
    })
    expect(bench.mails[0]?.text).toContain('\nservice_id: SVC-9\n')
    expect(bench.mails[0]?.text).toContain('\nwebhook_url: https://customer.example/sms\n')
    expect(bench.mails[0]?.text).toContain('\nattempts: 10\n')
    expect(bench.records).toMatchObject([
      { state: 'emailed', attempts: 10, attempt: null, reason: job.reason },
    ])
    const text = await bench.registry.metrics()
    expect(text).toContain('switchhook_fallback_emails_total{outcome="sent"} 1')
    expect(text).toContain('switchhook_deliveries_total{state="emailed"} 1')
  })

  it.each(['delivered', 'emailed', 'given_up', 'cancelled'] as const)(
    'is not sent for one that is %s already',
    async (state) => {
      const bench = createBench({ findProgress: async () => ({ ...owed, state }) })
      expect(await bench.run({ interrupted: true })).toEqual({ kind: 'done' })
      expect(bench.mails).toEqual([])
      expect(bench.records).toEqual([])
    },
  )

  it('waits when it was taken away and Postgres cannot be asked', async () => {
    const bench = createBench({ findProgress: async () => 'unknown' })
    const data = { ...job, delivery: { ...job.delivery, removed: true } }
    expect(await bench.run({ data })).toEqual({ kind: 'defer', delayMs: 5_000 })
    expect(bench.mails).toEqual([])
  })

  it('is sent while Postgres is away, and after its destination was deleted', async () => {
    const bench = createBench({
      findProgress: async () => 'unknown',
      findDestination: async () => undefined,
    })
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(bench.mails).toHaveLength(1)
    expect(bench.records).toMatchObject([{ state: 'emailed' }])
  })

  it('carries a payload that only Postgres holds, and is given up when that is gone', async () => {
    const large = sampleEvent({ payload: Buffer.alloc(20_000, 'x') })
    const data = { ...job, delivery: sampleJob({}, large) }
    const bench = createBench({ findEvent: async () => large })
    await bench.run({ data })
    expect(bench.mails[0]?.payload).toBe(large.payload)
    const gone = createBench()
    expect(await gone.run({ data })).toEqual({ kind: 'done' })
    expect(gone.mails).toEqual([])
    expect(gone.records).toMatchObject([
      { state: 'given_up', reason: 'The payload is no longer kept.' },
    ])
  })

  it('is sent for an event that cannot be read, which may be why there is a mail', async () => {
    const events = [
      sampleEvent({ payload: Buffer.from('MessageSid=SM1&Body=no+receiver') }),
      sampleEvent({ provider: 'platform', payload: Buffer.from('not JSON') }),
      sampleEvent({ provider: 'telnyx', payload: Buffer.from('of a newer version') }),
    ]
    for (const event of events) {
      const bench = createBench()
      const data = { ...job, delivery: sampleJob({}, event) }
      expect(await bench.run({ data })).toEqual({ kind: 'done' })
      expect(bench.mails[0]?.payload?.equals(event.payload)).toBe(true)
      expect(bench.mails[0]?.text).toContain('\nsms_number: +14155551234\n')
    }
  })
})

describe('the mail that stands for a delivery', () => {
  it('goes to the address that was claimed for it, and links to its replay', async () => {
    const recipient = 'then@customer.example'
    const bench = createBench({ findSlot: async () => ({ kind: 'single', recipient }) })
    await bench.run()
    expect(bench.mails[0]?.to).toBe(recipient)
    expect(bench.mails[0]?.text).toContain('https://hooks.example/replay/dlv_sample\n')
  })

  it('may be a digest: then none of its own goes out', async () => {
    const slot = { kind: 'digest', digestId: 'dig_1', dueInMs: 5 } as const
    const bench = createBench({ findSlot: async () => slot })
    expect(await bench.run()).toEqual({ kind: 'defer', delayMs: 77 })
    expect(bench.mails).toEqual([])
    expect(bench.records).toEqual([])
  })

  it('waits while it cannot be told which it is', async () => {
    const bench = createBench({ findSlot: async () => 'later' })
    expect((await bench.run()).kind).toBe('defer')
    expect(bench.mails).toEqual([])
  })
})

describe('a mail server that does not take it', () => {
  const failed: MailResult = { kind: 'failed', error: 'The mail server answered 451.' }

  it('is tried again, at growing distance up to ten minutes', async () => {
    const bench = createBench({}, failed)
    const delays: number[] = []
    for (const run of [1, 2, 3, 7, 8, 50]) {
      const step = await bench.run({ run })
      delays.push(step.kind === 'retry' ? step.delayMs : -1)
    }
    expect(delays).toEqual([5_000, 10_000, 20_000, 320_000, 600_000, 600_000])
    expect(bench.records).toEqual([])
  })

  it('is tried for 24 h since the mail was owed, then the delivery is given up', async () => {
    const at = (ageMs: number) => createBench({ nowMs: () => OWED_AT_MS + ageMs }, failed)
    expect(await at(DAY_MS).run({ run: 99 })).toMatchObject({ kind: 'retry' })
    const bench = at(DAY_MS + 1)
    expect(await bench.run({ run: 99 })).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([
      {
        state: 'given_up',
        reason:
          'The destination answered 500. The fallback mail failed: The mail server answered 451.',
      },
    ])
  })

  it('is not asked again once it rejected the mail for good', async () => {
    const bench = createBench({}, { kind: 'rejected', error: 'The mail server answered 550.' })
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([{ state: 'given_up' }])
    expect(bench.told).toMatchObject([
      { name: 'mail.failed', destinationId: 'dst_sample', key: 'dlv_sample' },
    ])
    const text = await bench.registry.metrics()
    expect(text).toContain('switchhook_fallback_emails_total{outcome="rejected"} 1')
    expect(text).toContain('switchhook_deliveries_total{state="given_up"} 1')
  })
})

describe('a job of the mail queue', () => {
  it('comes back from Redis as it was', () => {
    expect(parseFallbackJob(JSON.parse(JSON.stringify(job)))).toEqual(job)
  })

  it.each([
    ['null', null],
    ['a delivery of another version', { ...job, delivery: { ...job.delivery, v: 2 } }],
    ['no address', { ...job, to: undefined }],
    ['attempts that are no number', { ...job, attempts: '10' }],
  ])('is refused when this version did not write it: %s', (_what, data) => {
    expect(() => parseFallbackJob(data)).toThrow()
  })
})

describe('a mail that went out while no store took note of it', () => {
  it('is not sent again, and is recorded once a store is back', async () => {
    const faults = [new Error('no store took the record')]
    const records: DeliveryRecord[] = []
    const bench = createBench({
      async record(record) {
        const fault = faults.pop()
        if (fault !== undefined) throw fault
        records.push(record)
      },
    })
    expect(await bench.run()).toMatchObject({ kind: 'retry', uncertain: true })
    expect(await bench.run({ run: 2, interrupted: true })).toEqual({ kind: 'done' })
    expect(bench.mails).toHaveLength(1)
    expect(records.map(({ state }) => state)).toEqual(['emailed'])
  })

  it('waits for Postgres when another process may have sent it', async () => {
    const bench = createBench({ findProgress: async () => 'unknown' })
    expect((await bench.run({ run: 2, interrupted: true })).kind).toBe('defer')
    expect(bench.mails).toEqual([])
  })
})
