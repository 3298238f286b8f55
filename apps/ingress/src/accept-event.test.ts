import type { DeliveryJob } from '@switchhook/core/delivery/delivery-job'
import type { AcceptedEvent } from '@switchhook/core/event'
import { createGroupCommit, type GroupCommit } from '@switchhook/core/group-commit'
import { bareContent } from '@switchhook/core/providers/content-of'
import {
  createSnapshot,
  type DestinationRow,
  type PhoneNumber,
} from '@switchhook/core/routing/snapshot'
import type { JournalEntry, JournalResult } from '@switchhook/core/store/journal'
import type { StoreHealth } from '@switchhook/core/store-health'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type AcceptDeps, type AcceptResult, acceptEvent } from './accept-event.ts'

// Time passes when a test says so: a machine that stands still is no slow store.
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const event: AcceptedEvent = {
  id: 'evt_1',
  organizationId: 'org_1',
  provider: 'twilio',
  type: 'sms_received',
  receivedAtMs: 1_795_222_800_000,
  phoneNumber: '+14155550100',
  peerNumber: '+14155550101',
  callSid: null,
  assistantId: null,
  order: null,
  isStale: false,
  contentType: 'application/x-www-form-urlencoded',
  payload: Buffer.alloc(20_000, 'x'),
}

const content = bareContent(event)

const destination: DestinationRow = {
  id: 'dst_1',
  organizationId: 'org_1',
  name: 'Sample',
  url: 'https://example.com',
  format: 'burki',
  eventTypes: ['*'],
  assistantId: null,
  phoneNumber: null,
  filter: null,
  skipStale: false,
  fallbackEmail: null,
  successRule: '2xx',
  timeoutMs: 10_000,
  retry: { maxAttempts: 10, delaysSeconds: [5], jitter: true },
  maxConcurrency: 50,
  rateLimitPerSecond: null,
  freshnessSeconds: null,
  headers: {},
  sealedHeaders: null,
  status: 'active',
  disabledReason: null,
  secret: '',
  previousSecret: null,
  previousSecretExpiresAtMs: null,
  ed25519Key: null,
  previousEd25519Key: null,
  previousEd25519KeyExpiresAtMs: null,
  version: 1,
  isDeleted: false,
}

function createHealth(isUp: boolean): StoreHealth & { readonly failures: unknown[] } {
  const failures: unknown[] = []
  return {
    isUp: () => isUp && failures.length === 0,
    reportFailure: (error) => failures.push(error),
    stop: () => undefined,
    failures,
  }
}

const ownNumber: PhoneNumber = {
  id: 1,
  organizationId: 'org_1',
  phoneNumber: '+14155550100',
  assistantId: null,
  serviceId: null,
  version: 1,
  isDeleted: false,
}

type Behaviour = 'works' | 'fails' | 'hangs' | 'knows it'

async function behave<T>(behaviour: Behaviour, result: T, known: T): Promise<T> {
  if (behaviour === 'fails') throw new Error('connection terminated')
  if (behaviour === 'hangs') return new Promise(() => undefined)
  return behaviour === 'knows it' ? known : result
}

function createRig(postgres: Behaviour, redis: Behaviour) {
  const added: DeliveryJob[] = []
  const snapshot = createSnapshot()
  snapshot.apply({
    ...{ organizations: [], apiKeys: [], providerAccounts: [], assistants: [] },
    phoneNumbers: [ownNumber],
    destinations: [destination],
  })
  const journal: GroupCommit<JournalEntry, JournalResult> = createGroupCommit({
    write: () => behave<JournalResult[]>(postgres, ['new'], ['duplicate']),
    maxBatchItems: 10,
    maxWaitingItems: 10,
  })
  const deps = {
    ...{ snapshot, journal },
    postgres: createHealth(true),
    redis: createHealth(true),
    spoolHoldsItems: () => false,
    spool: {
      hasSeen: async () => false,
      takeEvent: () => behave<'new' | 'duplicate'>(redis, 'new', 'duplicate'),
    },
    queues: {
      async addDelivery(job: DeliveryJob) {
        await behave(redis, undefined, undefined)
        added.push(job)
      },
    },
  } satisfies AcceptDeps
  return { deps, added }
}

/** What is answered within the time that a provider gives it; undefined when nothing is. */
async function answerInTime(deps: AcceptDeps): Promise<AcceptResult | undefined> {
  const answer = acceptEvent(deps, event, content)
  await vi.advanceTimersByTimeAsync(1_499)
  return await Promise.race([answer, undefined])
}

describe('acceptEvent', () => {
  it('with both stores up: journals, enqueues a job without the large payload, accepts', async () => {
    const { deps, added } = createRig('works', 'works')
    const result = await acceptEvent(deps, event, content)
    expect(result.kind).toBe('accepted')
    expect(added.map(({ event: { payload } }) => payload)).toEqual([null])
  })

  it('with Redis gone: accepts, since Postgres has it, and remembers that Redis is away', async () => {
    const { deps, added } = createRig('works', 'fails')
    expect((await acceptEvent(deps, event, content)).kind).toBe('accepted')
    expect(added).toEqual([])
    expect(deps.redis.failures).toHaveLength(1)
  })

  it('with Postgres gone: takes it into Redis, the job carries the whole event', async () => {
    const { deps, added } = createRig('fails', 'works')
    expect((await acceptEvent(deps, event, content)).kind).toBe('accepted')
    expect(added.map(({ event: { payload } }) => payload?.length)).toEqual([20_000])
    expect(deps.postgres.failures).toHaveLength(1)
  })

  it('with one store frozen: answers within 1.5 s', async () => {
    for (const [postgres, redis] of [
      ['hangs', 'works'],
      ['works', 'hangs'],
    ] as const) {
      const { deps } = createRig(postgres, redis)
      expect((await answerInTime(deps))?.kind).toBe('accepted')
    }
  })

  it('with both frozen: says unavailable within 1.5 s', async () => {
    const { deps } = createRig('hangs', 'hangs')
    expect((await answerInTime(deps))?.kind).toBe('unavailable')
  })

  it('is no refusal while a store takes longer than its own time, but not than the whole', async () => {
    const isNew = () => new Promise<'new'>((resolve) => setTimeout(resolve, 800, 'new'))
    for (const slow of ['postgres', 'redis'] as const) {
      const { deps } = createRig('hangs', 'hangs')
      const pushing = { push: isNew, idle: async () => undefined }
      const taking = { ...deps.spool, takeEvent: isNew }
      const late = slow === 'postgres' ? { journal: pushing } : { spool: taking }
      // So the slow one is the first to be asked.
      if (slow === 'redis') deps.postgres.reportFailure(new Error('a moment ago'))
      const result = await answerInTime({ ...deps, ...late })
      expect([slow, result?.kind]).toEqual([slow, 'accepted'])
    }
  })

  it('says unavailable when the one is full and the other fails', async () => {
    const { deps } = createRig('fails', 'works')
    const spool = { ...deps.spool, takeEvent: async () => 'full' as const }
    expect((await acceptEvent({ ...deps, spool }, event, content)).kind).toBe('unavailable')
  })

  it('tries a store that is believed to be away before it refuses', async () => {
    const { deps } = createRig('works', 'fails')
    deps.postgres.reportFailure(new Error('a moment ago'))
    deps.redis.reportFailure(new Error('a moment ago'))
    expect((await acceptEvent(deps, event, content)).kind).toBe('accepted')
  })

  it('does not enqueue a duplicate, and names the same deliveries', async () => {
    const first = await acceptEvent(createRig('works', 'works').deps, event, content)
    for (const [postgres, redis] of [
      ['knows it', 'works'],
      ['fails', 'knows it'],
    ] as const) {
      const { deps, added } = createRig(postgres, redis)
      expect(await acceptEvent(deps, event, content)).toEqual({ ...first, kind: 'duplicate' })
      expect(added).toEqual([])
    }
  })

  it('knows an event again that Redis took while Postgres was away and that is not drained yet', async () => {
    const { deps, added } = createRig('works', 'works')
    const seen = {
      ...deps,
      spoolHoldsItems: () => true,
      spool: { ...deps.spool, hasSeen: async () => true },
    }
    expect((await acceptEvent(seen, event, content)).kind).toBe('duplicate')
    expect(added).toEqual([])
  })

  it('tells the job of a stale status that it is one', async () => {
    const { deps, added } = createRig('works', 'works')
    const journal = { push: async () => 'stale' as const, idle: async () => undefined }
    expect((await acceptEvent({ ...deps, journal }, event, content)).kind).toBe('accepted')
    expect(added.map(({ event: { isStale } }) => isStale)).toEqual([true])
  })

  it('does not blame Postgres for a row that it refuses', async () => {
    const { deps } = createRig('works', 'works')
    const refused = Object.assign(new Error('invalid byte sequence'), { code: '22021' })
    const journal = { push: () => Promise.reject(refused), idle: async () => undefined }
    expect((await acceptEvent({ ...deps, journal }, event, content)).kind).toBe('accepted')
    expect(deps.postgres.failures).toEqual([])
  })
})
