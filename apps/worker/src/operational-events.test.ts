import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { Destination } from '@switchhook/core/event'
import { silentLogger } from '@switchhook/core/log'
import { parsePlatformPayload } from '@switchhook/core/providers/platform'
import type { JournalEntry } from '@switchhook/core/store/journal'
import { describe, expect, it } from 'vitest'
import { RECEIVED_AT_MS, sampleDestination, sampleJob } from '../test/sample-delivery.ts'
import {
  createOperationalEvents,
  createTellingRecorder,
  type OperationalChange,
  type OperationalEventsDeps,
  toOperationalChanges,
} from './operational-events.ts'
import { toDeliveryRecord } from './prepare-request.ts'

const DESTINATIONS: Readonly<Record<string, Destination>> = {
  dst_sample: sampleDestination(),
  dst_ops: sampleDestination({ id: 'dst_ops', eventTypes: ['operational'] }),
  dst_disabled: sampleDestination({ id: 'dst_disabled', status: 'disabled' }),
  dst_foreign: sampleDestination({ id: 'dst_foreign', organizationId: 'org_b' }),
}

const opened: OperationalChange = {
  name: 'circuit.opened',
  destinationId: 'dst_sample',
  key: '1',
  atMs: RECEIVED_AT_MS,
  message: 'The circuit opened.',
}

function createBench(
  listener: string | null = 'dst_ops',
  overrides: Partial<OperationalEventsDeps> = {},
) {
  const journaled: JournalEntry[] = []
  const spooled: JournalEntry[] = []
  const enqueued: DeliveryJob[] = []
  const tell = createOperationalEvents({
    nowMs: () => RECEIVED_AT_MS + 5_000,
    snapshot: {
      findDestination: (id) => DESTINATIONS[id],
      findOrganization: (id) => ({
        ...{ id, name: 'A', needsChangeApproval: false, operationsDestinationId: listener },
        ...{ version: 1, isDeleted: false },
      }),
    },
    async journal(entries) {
      const known = new Set(journaled.map(({ event }) => event.id))
      const results = entries.map(({ event }) => (known.has(event.id) ? 'duplicate' : 'new'))
      journaled.push(...entries)
      return results
    },
    spool: {
      async takeEvent(entry) {
        spooled.push(entry)
        return 'new'
      },
    },
    queues: { addDelivery: async (job) => void enqueued.push(job) },
    log: silentLogger,
    ...overrides,
  })
  return { tell, journaled, spooled, enqueued }
}

describe('an operational event', () => {
  it('is journaled and enqueued for the destination that the organization named, and no other', async () => {
    const { tell, journaled, enqueued } = createBench()
    await tell([{ ...opened, data: { opened_at: 'then' } }])
    expect(journaled).toHaveLength(1)
    const [entry] = journaled
    expect(entry?.deliveries.map(({ destinationId }) => destinationId)).toEqual(['dst_ops'])
    expect(entry?.event).toMatchObject({
      organizationId: 'org_a',
      provider: 'platform',
      type: 'operational',
      receivedAtMs: RECEIVED_AT_MS + 5_000,
    })
    expect(parsePlatformPayload(entry?.event.payload ?? Buffer.alloc(0))).toMatchObject({
      occurred_at: '2026-11-21T01:02:03.456Z',
      data: {
        type: 'circuit.opened',
        message: 'The circuit opened.',
        destination_id: 'dst_sample',
        destination_name: 'Sample',
        opened_at: 'then',
      },
    })
    expect(enqueued.map(({ deliveryId }) => deliveryId)).toEqual([entry?.deliveries[0]?.deliveryId])
  })

  it('has the same id whoever tells it, and goes out once', async () => {
    const { tell, journaled, enqueued } = createBench()
    await tell([opened])
    await tell([{ ...opened, atMs: opened.atMs + 30 }])
    expect(new Set(journaled.map(({ event }) => event.id)).size).toBe(1)
    expect(enqueued).toHaveLength(1)
    await tell([
      { ...opened, key: '2' },
      { ...opened, name: 'circuit.closed' },
    ])
    expect(new Set(journaled.map(({ event }) => event.id)).size).toBe(3)
  })

  it('is never told of the destination that hears them: each would make the next', async () => {
    const { tell, journaled, enqueued } = createBench()
    await tell([{ ...opened, destinationId: 'dst_ops' }])
    expect([journaled, enqueued]).toEqual([[], []])
  })

  it.each([
    ['named none', null],
    ['named one that is gone', 'dst_gone'],
    ['disabled it', 'dst_disabled'],
    ['does not own it', 'dst_foreign'],
  ])('is not made when the organization %s', async (_why, listener) => {
    const { tell, journaled } = createBench(listener)
    await tell([opened])
    expect(journaled).toEqual([])
  })

  it('goes through Redis while Postgres is away', async () => {
    const { tell, spooled, enqueued } = createBench('dst_ops', {
      journal: () => Promise.reject(new Error('connect ECONNREFUSED')),
    })
    await tell([opened])
    expect(spooled).toHaveLength(1)
    expect(enqueued).toHaveLength(1)
    expect(enqueued[0]?.event.payload).not.toBeNull()
  })

  it('never throws, whatever is away', async () => {
    const fails = () => Promise.reject(new Error('away'))
    const { tell } = createBench('dst_ops', { journal: fails, spool: { takeEvent: fails } })
    await tell([opened])
    const half = createBench('dst_ops', { queues: { addDelivery: fails } })
    await half.tell([opened])
    expect(half.journaled).toHaveLength(1)
  })
})

describe('a delivery that is given up', () => {
  const record = toDeliveryRecord(sampleJob(), {
    ...{ state: 'given_up', attempts: 3, dueAtMs: 0, fallbackAtMs: null },
    ...{ reason: 'The destination answered 500.', attempt: null },
  })

  async function happened(change: Partial<typeof record> = {}) {
    const order: unknown[] = []
    const recordAndTell = createTellingRecorder(
      async () => void order.push('recorded'),
      async (changes) => void order.push(...changes),
      () => RECEIVED_AT_MS,
    )
    await recordAndTell({ ...record, ...change })
    return order
  }

  it('is told before it is recorded, so that a crash in between loses neither', async () => {
    expect(await happened()).toEqual([
      {
        name: 'delivery.given_up',
        destinationId: 'dst_sample',
        key: 'dlv_sample',
        atMs: RECEIVED_AT_MS,
        message:
          'A delivery of sms_received was given up after 3 attempts. The destination answered 500.',
        data: {
          delivery_id: 'dlv_sample',
          event_id: 'evt_sample',
          event_type: 'sms_received',
          attempts: 3,
          reason: 'The destination answered 500.',
        },
      },
      'recorded',
    ])
  })

  it('is told of no other end, and of no operational event', async () => {
    for (const state of ['delivered', 'emailed', 'pending', 'cancelled', 'expired'] as const) {
      expect(await happened({ state })).toEqual(['recorded'])
    }
    expect(await happened({ eventType: 'operational' })).toEqual(['recorded'])
  })
})

describe('the change of a circuit', () => {
  const change = { destinationId: 'dst_sample', atMs: 5, openedAtMs: 5 }

  it('is told by the time of its opening, a failed probe not at all', () => {
    const told = toOperationalChanges([
      { ...change, kind: 'opened', pauseMs: 30_000, nextProbeAtMs: 30_005 },
      { ...change, kind: 'probe_failed', atMs: 30_006, pauseMs: 60_000, nextProbeAtMs: 90_006 },
      { ...change, kind: 'closed', atMs: 90_007, pauseMs: null, nextProbeAtMs: null },
    ])
    expect(told.map(({ name, key, atMs }) => [name, key, atMs])).toEqual([
      ['circuit.opened', '5', 5],
      ['circuit.closed', '5', 90_007],
    ])
    expect(told[0]?.data).toEqual({
      opened_at: '1970-01-01T00:00:00.005Z',
      next_probe_at: '1970-01-01T00:00:30.005Z',
    })
  })
})
