import type { AttemptResult } from '@switchhook/core/delivery/attempt'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics } from '@switchhook/core/metrics'
import type { DeliveryRun, FallbackJob } from '@switchhook/core/queue'
import type { DeliveryRecord } from '@switchhook/core/store/delivery-log'
import { Registry } from 'prom-client'
import { type DeliverDeps, deliver } from '../src/deliver.ts'
import { createGates } from '../src/gates.ts'
import { createSlots } from '../src/slots.ts'
import { RECEIVED_AT_MS, sampleDestination, sampleRun } from './sample-delivery.ts'

const facts = { responseBody: null, responseTimeMs: 12, retryAfterMs: null }
export const DELIVERED: AttemptResult = {
  ...facts,
  outcome: 'delivered',
  statusCode: 200,
  error: null,
}
export const REFUSED: AttemptResult = {
  ...facts,
  outcome: 'refused',
  statusCode: 500,
  error: 'The destination answered 500.',
}

export const NOW_MS = RECEIVED_AT_MS + 1_000

/** What happened outside, in order: `sent`, `recorded …`, `mail owed`. */
export type Happening = 'sent' | `recorded ${string}` | 'mail enqueued'

/** Runs `deliver` on a bench: every dependency a literal that notes what it was asked; `overrides` bend them. */
export function createDeliverBench(overrides: Partial<DeliverDeps> = {}) {
  const happened: Happening[] = []
  const records: DeliveryRecord[] = []
  const fallbacks: FallbackJob[] = []
  const registry = new Registry()
  const nowMs = overrides.nowMs ?? (() => NOW_MS)
  const random = () => 0.5
  const deps: DeliverDeps = {
    ...{ nowMs, random, firstAttemptGraceMs: 0 },
    findDestination: async () => sampleDestination(),
    findProgress: async () => undefined,
    findEvent: async () => undefined,
    prepare: (_event, destination) => ({
      url: destination.url,
      headers: { 'x-test': '1' },
      body: Buffer.from('{"rendered":true}'),
      timeoutMs: destination.timeoutMs,
      successRule: destination.successRule,
      contentType: 'application/json',
    }),
    gates: createGates({
      ...{ nowMs, random },
      slots: createSlots({ ...{ concurrency: 100, nowMs, random }, shareOf: () => 50 }),
      fleet: { shareOf: () => 50, lease: async () => undefined },
      rateLimits: { waitMs: async () => 0 },
      parked: { note: async () => undefined },
    }),
    moveToSlowLane: async () => undefined,
    heed: async () => undefined,
    circuits: {
      holdMs: () => 0,
      heldSinceMs: () => 0,
      turnMs: async () => 0,
      run: (_destination, _delivery, attempt) => attempt(),
    },
    metrics: createMetrics(registry),
    log: silentLogger,
    ...overrides,
    async post(request) {
      happened.push('sent')
      return (overrides.post ?? (async () => DELIVERED))(request)
    },
    async record(record) {
      await overrides.record?.(record)
      records.push(record)
      happened.push(`recorded ${record.state}`)
    },
    async enqueueFallback(job) {
      await overrides.enqueueFallback?.(job)
      fallbacks.push(job)
      happened.push('mail enqueued')
    },
  }
  return {
    happened,
    records,
    fallbacks,
    registry,
    run: (run: Partial<DeliveryRun> = {}) => deliver(deps, sampleRun(run)),
  }
}
