import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics } from '@switchhook/core/metrics'
import type { FallbackJob } from '@switchhook/core/queue'
import { parseKeyRing } from '@switchhook/core/secrets'
import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { type JournalEntry, writeJournal } from '@switchhook/core/store/journal'
import { findDeliveryProgress } from '@switchhook/core/store/owed-deliveries'
import { createStoreHealth, type StoreHealth } from '@switchhook/core/store-health'
import { type SmtpSink, startSmtpSink } from '@switchhook/testing/smtp-sink'
import { Registry } from 'prom-client'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type SendFallbackDeps, sendFallback } from '../src/send-fallback.ts'
import { createReplayLinks } from '../src/send-fallback-links.ts'
import { createSlotFinder } from '../src/send-fallback-slot.ts'
import { createMailSender, type MailSender } from '../src/send-mail.ts'
import { sampleDestination, sampleJob } from './sample-delivery.ts'
import {
  ACCEPTED_AT_MS,
  entryOf,
  openTestStores,
  recordOf,
  type TestStores,
} from './test-stores.ts'

const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
const LIMITS = { windowMs: 600_000, maxSingles: 3 }

let stores: TestStores
let sink: SmtpSink
let sender: MailSender
let postgres: StoreHealth

beforeAll(async () => {
  stores = await openTestStores()
})
beforeEach(async () => {
  await stores.clear()
  await stores.pool.query('truncate mail_windows, mail_digests, fallback_mails')
  sink = await startSmtpSink()
  sender = createMailSender(sink.url, 'switchhook@hooks.example')
  postgres = createStoreHealth({
    ...{ store: 'postgres', probe: () => sleep(60_000, undefined, { ref: false }) },
    ...{ probeTimeoutMs: 60_000, probeEveryMs: 60_000, log: silentLogger },
    onChange: () => undefined,
  })
})
afterEach(async () => {
  postgres.stop()
  sender.close()
  await sink.stop()
})
afterAll(() => stores.close())

function createDeps(overrides: Partial<SendFallbackDeps> = {}): SendFallbackDeps {
  const { pool } = stores
  return {
    ...{ nowMs: Date.now, snapshot: { findPhoneNumber: () => undefined }, sender },
    findDestination: async () => sampleDestination(),
    findProgress: ({ deliveryId, createdAtMs }) =>
      findDeliveryProgress(pool, deliveryId, createdAtMs),
    findEvent: async () => undefined,
    findSlot: createSlotFinder(pool, postgres, LIMITS, Date.now),
    sendDigest: async () => ({ kind: 'defer', delayMs: 1 }),
    links: createReplayLinks(ring, 'https://hooks.example'),
    tell: async () => undefined,
    sentUnrecorded: new Set(),
    record: (record) => writeDeliveryLog(pool, [record], () => undefined),
    ...{ publicBaseUrl: 'https://hooks.example', retryForMs: 86_400_000 },
    ...{ metrics: createMetrics(new Registry()), log: silentLogger },
    ...overrides,
  }
}

async function exhaust(id: number): Promise<{ entry: JournalEntry; job: FallbackJob }> {
  const entry = entryOf(id)
  await writeJournal(stores.pool, [entry])
  const owed = { attempts: 3, fallbackAtMs: ACCEPTED_AT_MS }
  await writeDeliveryLog(stores.pool, [recordOf(entry, owed)], () => undefined)
  const deliveryId = `dlv_${id}`
  const delivery = sampleJob({ deliveryId, createdAtMs: entry.event.receivedAtMs }, entry.event)
  const to = 'owner@customer.example'
  return { entry, job: { deliveryId, to, reason: 'no', attempts: 3, delivery } }
}

const run = (data: FallbackJob, overrides?: Partial<SendFallbackDeps>, interrupted = false) =>
  sendFallback(createDeps(overrides), { data, run: 1, interrupted })

async function stateOf(id: number): Promise<string> {
  const { rows } = await stores.pool.query('select state from deliveries where id = $1', [
    `dlv_${id}`,
  ])
  return rows[0].state
}

describe('a mail whose 250 is lost on the way (F4)', () => {
  it('comes twice at worst, and is the same mail to whoever reads it', async () => {
    const { job } = await exhaust(1)
    sink.mode('cut_after_data')
    expect((await run(job)).kind).toBe('retry')
    expect(await stateOf(1)).toBe('pending')
    sink.mode('accept')
    expect(await run(job)).toEqual({ kind: 'done' })
    expect(await run(job)).toEqual({ kind: 'done' })
    expect(sink.mails.map(({ messageId }) => messageId)).toEqual(
      Array.from({ length: 2 }, () => '<dlv_1@switchhook>'),
    )
    expect(await stateOf(1)).toBe('emailed')
  })
})

describe('a destination that answers after all (F9)', () => {
  it('before the mail: none is sent', async () => {
    const [late, other] = [await exhaust(1), await exhaust(2)]
    const delivered = recordOf(late.entry, { state: 'delivered', attempts: 3 })
    await writeDeliveryLog(stores.pool, [delivered], () => undefined)
    await run(late.job)
    expect(sink.mails).toEqual([])
    await run(other.job)
    expect(sink.mails).toHaveLength(1)
  })

  it('after the mail: it stays emailed, one end is chosen once', async () => {
    const { entry, job } = await exhaust(1)
    await run(job)
    const delivered = recordOf(entry, { state: 'delivered', attempts: 3 })
    await writeDeliveryLog(stores.pool, [delivered], () => undefined)
    expect(await stateOf(1)).toBe('emailed')
  })
})

describe('a worker that dies (F10)', () => {
  it('between deciding which mail it is and sending it: the next one sends that mail', async () => {
    const { job } = await exhaust(1)
    const dies = run(job, { sender: { send: () => Promise.reject(new Error('killed')) } })
    await expect(dies).rejects.toThrow('killed')
    expect(await run(job, {}, true)).toEqual({ kind: 'done' })
    expect(sink.mails).toHaveLength(1)
    const { rows } = await stores.pool.query('select mails from mail_windows')
    expect(rows).toEqual([{ mails: 1 }])
  })

  it('between the 250 and the record: the mail comes again under the same Message-ID', async () => {
    const { job } = await exhaust(1)
    const dies = { record: () => Promise.reject(new Error('killed')) }
    expect((await run(job, dies)).kind).toBe('retry')
    expect(await run(job, {}, true)).toEqual({ kind: 'done' })
    expect(new Set(sink.mails.map(({ messageId }) => messageId)).size).toBe(1)
    expect(await stateOf(1)).toBe('emailed')
  })
})

describe('while Postgres is away', () => {
  it('no more mails of one destination go out than without it', async () => {
    postgres.reportFailure(new Error('connect ECONNREFUSED'))
    const findSlot = createSlotFinder(stores.pool, postgres, LIMITS, Date.now)
    const job = (id: number, destinationId = 'dst_sample'): FallbackJob => {
      const deliveryId = `dlv_${id}`
      const delivery = sampleJob({ deliveryId, destinationId })
      return { deliveryId, to: 'a@b.example', reason: '', attempts: 3, delivery }
    }
    const slots = await Promise.all([1, 2, 3, 4, 3].map((id) => findSlot(job(id))))
    expect(slots.map((slot) => (slot === 'later' ? slot : slot.kind))).toEqual([
      ...['single', 'single', 'single', 'later', 'single'],
    ])
    expect(await findSlot(job(5, 'dst_other'))).toMatchObject({ kind: 'single' })
  })

  it('and the answer of one is not heard, nothing is sent before it is known what was decided', async () => {
    const broken = { connect: () => Promise.reject(new Error('timeout')) }
    const pool = broken as unknown as TestStores['pool']
    const findSlot = createSlotFinder(pool, postgres, LIMITS, Date.now)
    const { job } = await exhaust(1)
    expect((await run(job, { findSlot })).kind).toBe('defer')
    expect(sink.mails).toEqual([])
  })
})
