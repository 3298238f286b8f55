import { UnreadableSecretError } from '@switchhook/core/secrets'
import { describe, expect, it } from 'vitest'
import { createDeliverBench, DELIVERED, NOW_MS, REFUSED } from '../test/deliver-bench.ts'
import {
  RECEIVED_AT_MS,
  sampleDestination,
  sampleEvent,
  sampleJob,
} from '../test/sample-delivery.ts'

const refusing = { post: async () => REFUSED }

describe('an attempt', () => {
  it('that delivers ends the job, and is recorded with what was sent', async () => {
    const bench = createDeliverBench()
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['sent', 'recorded delivered'])
    expect(bench.records[0]).toEqual({
      deliveryId: 'dlv_sample',
      createdAtMs: RECEIVED_AT_MS,
      eventId: 'evt_sample',
      eventReceivedAtMs: RECEIVED_AT_MS,
      organizationId: 'org_a',
      destinationId: 'dst_sample',
      eventType: 'sms_received',
      phoneNumber: '+14155551234',
      callSid: null,
      assistantId: null,
      state: 'delivered',
      attempts: 1,
      dueAtMs: NOW_MS,
      fallbackAtMs: null,
      reason: null,
      attempt: {
        attempt: 1,
        attemptedAtMs: NOW_MS,
        url: 'https://customer.example/sms',
        webhookType: 'sms_received',
        requestContentType: 'application/json',
        requestBodyBase64: Buffer.from('{"rendered":true}').toString('base64'),
        statusCode: 200,
        responseBody: null,
        responseTimeMs: 12,
        outcome: 'delivered',
        error: null,
      },
    })
  })

  it('that fails is followed by the next after the planned wait, and recorded as due then', async () => {
    const bench = createDeliverBench(refusing)
    expect(await bench.run()).toEqual({ kind: 'retry', delayMs: 5_000 })
    expect(await bench.run({ run: 2 })).toEqual({ kind: 'retry', delayMs: 15_000 })
    expect(bench.records).toMatchObject([
      { state: 'pending', attempts: 1, dueAtMs: NOW_MS + 5_000, fallbackAtMs: null },
      { state: 'pending', attempts: 2, dueAtMs: NOW_MS + 15_000, attempt: { attempt: 2 } },
    ])
    expect(bench.fallbacks).toEqual([])
  })

  it('that asks for time is followed later', async () => {
    const bench = createDeliverBench({ post: async () => ({ ...REFUSED, retryAfterMs: 60_000 }) })
    expect(await bench.run()).toEqual({ kind: 'retry', delayMs: 60_000 })
  })

  it('counts in the metrics', async () => {
    const bench = createDeliverBench({ nowMs: () => RECEIVED_AT_MS + 3_000 })
    await bench.run()
    const text = await bench.registry.metrics()
    expect(text).toContain('switchhook_attempts_total{format="burki",outcome="delivered"} 1')
    expect(text).toContain('switchhook_deliveries_total{state="delivered"} 1')
    expect(text).toContain('switchhook_delivery_latency_seconds_sum{format="burki"} 3')
  })

  it('has its payload from Postgres when that is too large for a job', async () => {
    const large = sampleEvent({ payload: Buffer.alloc(20_000, 'x') })
    const seen: number[] = []
    const bench = createDeliverBench({
      findEvent: async () => large,
      prepare: (event, destination) => {
        seen.push(event.payload.length)
        return { ...destination, contentType: 'text/plain', body: event.payload }
      },
    })
    await bench.run({ data: sampleJob({}, large) })
    expect(seen).toEqual([20_000])
  })
})

describe('the last attempt, when it fails', () => {
  it('is recorded before the mail is enqueued, so that a crash between the two is found', async () => {
    const bench = createDeliverBench(refusing)
    expect(await bench.run({ run: 3 })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['sent', 'recorded pending', 'mail enqueued'])
    expect(bench.records).toMatchObject([
      { state: 'pending', attempts: 3, fallbackAtMs: NOW_MS, reason: REFUSED.error },
    ])
    expect(bench.fallbacks).toEqual([
      {
        deliveryId: 'dlv_sample',
        to: 'owner@customer.example',
        reason: REFUSED.error,
        attempts: 3,
        delivery: sampleJob(),
      },
    ])
  })

  it('gives the delivery up at once when there is no address', async () => {
    const findDestination = async () => sampleDestination({ fallbackEmail: null })
    const bench = createDeliverBench({ ...refusing, findDestination })
    expect(await bench.run({ run: 3 })).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([
      { state: 'given_up', attempts: 3, fallbackAtMs: null, attempt: { attempt: 3 } },
    ])
    expect(bench.fallbacks).toEqual([])
    expect(await bench.registry.metrics()).toContain(
      'switchhook_deliveries_total{state="given_up"} 1',
    )
  })
})

describe('a destination', () => {
  const withStatus = (status: 'paused' | 'disabled') => ({
    findDestination: async () => sampleDestination({ status }),
  })

  it('that is paused keeps its deliveries waiting, however long, at no attempt', async () => {
    const bench = createDeliverBench({ ...withStatus('paused'), nowMs: () => NOW_MS + 1e9 })
    const step = await bench.run({ run: 3 })
    expect(step).toMatchObject({ kind: 'defer' })
    expect(step.kind === 'defer' && step.delayMs).toBeGreaterThan(1_000)
    expect(bench.happened).toEqual([])
  })

  it('that is disabled or deleted ends them without a mail', async () => {
    for (const bench of [
      createDeliverBench(withStatus('disabled')),
      createDeliverBench({ findDestination: async () => undefined }),
    ]) {
      expect(await bench.run({ run: 2 })).toEqual({ kind: 'done' })
      expect(bench.happened).toEqual(['recorded cancelled'])
      expect(bench.records).toMatchObject([{ attempts: 1, attempt: null }])
      expect(bench.records[0]?.reason).toMatch(/^The destination (is disabled|was deleted)\.$/)
    }
  })

  it('that cannot be looked up now leaves the delivery as it is', async () => {
    const bench = createDeliverBench({
      findDestination: () => Promise.reject(new Error('Postgres is away')),
    })
    await expect(bench.run()).rejects.toThrow('Postgres is away')
    expect(bench.happened).toEqual([])
  })
})

describe('a circuit that is open', () => {
  const held = {
    holdMs: () => 30_000,
    heldSinceMs: () => 0,
    turnMs: async () => 31_000,
    run: () => Promise.reject(new Error('must not be asked')),
  }
  // Its whole schedule takes longer than the pause.
  const patient = {
    findDestination: async () =>
      sampleDestination({ retry: { maxAttempts: 3, delaysSeconds: [60], jitter: false } }),
  }

  it('defers until its turn after the next probe, at no attempt', async () => {
    const bench = createDeliverBench({ circuits: held, ...patient })
    const step = await bench.run({ run: 3 })
    expect(step).toEqual({ kind: 'defer', delayMs: 31_000 })
    expect(bench.happened).toEqual([])
  })

  it('holds no delivery beyond the time its whole schedule would have taken', async () => {
    const schedule = 20_000
    const at = (ageMs: number) =>
      createDeliverBench({ circuits: held, nowMs: () => RECEIVED_AT_MS + ageMs })
    expect(await at(schedule).run()).toEqual({ kind: 'defer', delayMs: 1_001 })
    const bench = at(schedule + 1)
    expect(await bench.run({ run: 2 })).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['recorded pending', 'mail enqueued'])
    expect(bench.records).toMatchObject([{ attempts: 1, attempt: null }])
    expect(bench.fallbacks).toMatchObject([{ attempts: 1 }])
  })

  it('counts that time from when it opened: a pause before it is nobody’s failure', async () => {
    const opened = { ...held, heldSinceMs: () => RECEIVED_AT_MS + 50_000 }
    const at = (ageMs: number) =>
      createDeliverBench({ circuits: opened, nowMs: () => RECEIVED_AT_MS + ageMs })
    expect(await at(69_000).run()).toMatchObject({ kind: 'defer' })
    expect(await at(70_001).run()).toEqual({ kind: 'done' })
  })

  it('gives nothing up while its probe is due or under way', async () => {
    const probed = { ...held, heldSinceMs: () => undefined }
    const bench = createDeliverBench({ circuits: probed, nowMs: () => RECEIVED_AT_MS + 9e6 })
    expect(await bench.run()).toEqual({ kind: 'defer', delayMs: 31_000 })
  })

  it('defers as well when it opened, or was being probed, just before the attempt', async () => {
    const run = async () => 'held' as const
    const circuits = { holdMs: () => 0, heldSinceMs: () => 0, turnMs: async () => 77, run }
    const bench = createDeliverBench({ circuits })
    expect(await bench.run()).toEqual({ kind: 'defer', delayMs: 77 })
    expect(bench.happened).toEqual([])
  })
})

describe('an attempt that reached nobody by our own fault', () => {
  const atFault = { post: async () => ({ ...REFUSED, isOurFault: true }) }

  it('is none: it is charged to nobody, counted, and tried again', async () => {
    const bench = createDeliverBench(atFault)
    expect(await bench.run({ run: 3 })).toEqual({ kind: 'defer', delayMs: 7_500 })
    expect(bench.records).toEqual([])
    const text = await bench.registry.metrics()
    expect(text).toContain('switchhook_own_faults_total 1')
    expect(text).not.toContain('switchhook_attempts_total{')
  })

  it('goes to the mail when its whole schedule, an hour at least, has run out meanwhile', async () => {
    const early = createDeliverBench({ ...atFault, nowMs: () => RECEIVED_AT_MS + 3_599_999 })
    expect(await early.run({ run: 2 })).toMatchObject({ kind: 'defer' })
    const bench = createDeliverBench({ ...atFault, nowMs: () => RECEIVED_AT_MS + 3_600_001 })
    expect(await bench.run({ run: 2 })).toEqual({ kind: 'done' })
    expect(bench.fallbacks).toMatchObject([{ attempts: 1 }])
  })
})

describe('an event', () => {
  it('that cannot be rendered goes to the mail, unsent', async () => {
    const prepare = () => {
      throw new Error('no renderer')
    }
    const bench = createDeliverBench({ prepare })
    expect(await bench.run()).toEqual({ kind: 'done' })
    expect(bench.happened).toEqual(['recorded pending', 'mail enqueued'])
    expect(bench.fallbacks).toMatchObject([
      { attempts: 0, reason: 'The event cannot be put into the format "burki".' },
    ])
  })

  it('whose signing secret cannot be opened waits: that is our fault, not its own', async () => {
    const prepare = () => {
      throw new UnreadableSecretError('no key')
    }
    const bench = createDeliverBench({ prepare })
    expect(await bench.run({ waits: 2 })).toEqual({ kind: 'defer', delayMs: 30_000 })
    expect(bench.records).toEqual([])
  })

  it('whose payload is no longer kept is cancelled', async () => {
    const large = sampleEvent({ payload: Buffer.alloc(20_000) })
    const bench = createDeliverBench()
    expect(await bench.run({ data: sampleJob({}, large) })).toEqual({ kind: 'done' })
    expect(bench.records).toMatchObject([
      { state: 'cancelled', reason: 'The payload is no longer kept.' },
    ])
  })
})

describe('an attempt that could not be recorded', () => {
  const LOOK_AGAIN = { kind: 'retry', delayMs: 5_000, uncertain: true }

  it('is charged, and the next run is told to look first', async () => {
    const bench = createDeliverBench({ record: () => Promise.reject(new Error('no store')) })
    expect(await bench.run()).toEqual(LOOK_AGAIN)
    expect(bench.happened).toEqual(['sent'])
  })

  it('is not made again when only its mail could not be enqueued', async () => {
    const bench = createDeliverBench({
      ...refusing,
      enqueueFallback: () => Promise.reject(new Error('Redis is frozen')),
    })
    expect(await bench.run({ run: 3 })).toEqual(LOOK_AGAIN)
    expect(bench.happened).toEqual(['sent', 'recorded pending'])
  })

  it('does not count as delivered twice', async () => {
    let failures = 1
    const bench = createDeliverBench({
      async post() {
        return DELIVERED
      },
      async record() {
        failures -= 1
        if (failures >= 0) throw new Error('no store')
      },
    })
    await bench.run()
    await bench.run({ run: 2, interrupted: true })
    expect(await bench.registry.metrics()).toContain(
      'switchhook_deliveries_total{state="delivered"} 1',
    )
  })
})
