import { randomBytes } from 'node:crypto'
import { openReplayToken } from '@switchhook/core/delivery/replay-token'
import { silentLogger } from '@switchhook/core/log'
import { createMetrics, type Metrics } from '@switchhook/core/metrics'
import { parseKeyRing } from '@switchhook/core/secrets'
import { createSpool, type Spool } from '@switchhook/core/spool'
import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import type { JournalEntry } from '@switchhook/core/store/journal'
import { type SmtpSink, startSmtpSink } from '@switchhook/testing/smtp-sink'
import { waitFor } from '@switchhook/testing/wait-for'
import { Registry } from 'prom-client'
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  it,
  onTestFinished,
} from 'vitest'
import { drainSpool } from '../src/drain-spool.ts'
import type { OperationalChange } from '../src/operational-events.ts'
import { type SendDigestDeps, sendFallbackDigest } from '../src/send-fallback-digest.ts'
import { createReplayLinks } from '../src/send-fallback-links.ts'
import { createMailSender, type MailSender } from '../src/send-mail.ts'
import {
  clearMails,
  countStates,
  type DigestSlot,
  gather as gatherEntries,
  makeDue as makeDigestsDue,
  RECIPIENT,
} from './gathering.ts'
import { sampleDestination } from './sample-delivery.ts'
import { entryOf, openTestStores, recordOf, type TestStores } from './test-stores.ts'

const DAY_MS = 86_400_000
const ring = parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)

let stores: TestStores
let sink: SmtpSink
let sender: MailSender
let registry: Registry
let counters: Metrics
let told: OperationalChange[]
let spool: Spool

beforeAll(async () => {
  stores = await openTestStores()
})
beforeEach(async () => {
  await stores.clear()
  await clearMails(stores)
  sink = await startSmtpSink()
  sender = createMailSender(sink.url, 'switchhook@hooks.example')
  registry = new Registry()
  counters = createMetrics(registry)
  told = []
  spool = createSpool(stores.connection, 100)
})
afterEach(async () => {
  sender.close()
  await sink.stop()
})
afterAll(() => stores.close())

function createDeps(overrides: Partial<SendDigestDeps> = {}): SendDigestDeps {
  return {
    ...{ nowMs: Date.now, random: () => 0, pool: stores.pool, spool, sender },
    findDestination: async () => sampleDestination(),
    sentUnrecorded: new Set(),
    links: createReplayLinks(ring, 'https://hooks.example'),
    tell: async (changes) => void told.push(...changes),
    publicBaseUrl: 'https://hooks.example',
    ...{ retryForMs: DAY_MS, leaseMs: 60_000, metrics: counters },
    log: silentLogger,
    ...overrides,
  }
}

async function gather(count: number): Promise<{ slot: DigestSlot; entries: JournalEntry[] }> {
  const entries = Array.from({ length: count }, (_, index) => entryOf(index))
  return { slot: await gatherEntries(stores, entries), entries }
}

const makeDue = () => makeDigestsDue(stores)
const states = () => countStates(stores)
const metrics = () => registry.metrics()

describe('a digest that is due', () => {
  it('is one mail that names every delivery, and all of them are emailed', async () => {
    const { slot } = await gather(30)
    expect(await sendFallbackDigest(createDeps(), slot)).toEqual({ kind: 'done' })
    expect(sink.mails).toHaveLength(1)
    const [mail] = sink.mails
    expect(mail).toMatchObject({
      envelopeTo: [RECIPIENT],
      messageId: `<${slot.digestId}@switchhook>`,
      subject: '[Switchhook] 30 deliveries to Sample were not made',
    })
    const payload = JSON.parse(String(mail?.attachments[0]?.content))
    expect(payload.deliveries).toHaveLength(30)
    expect(mail?.text).toContain("It's working!!!")
    const token = /replay\/(\S+)/.exec(mail?.text ?? '')?.[1] ?? ''
    expect(openReplayToken(ring, token, Date.now())).toEqual({
      kind: 'valid',
      subject: slot.digestId,
    })
    expect(openReplayToken(ring, token, Date.now() + 7 * DAY_MS).kind).toBe('expired')
    expect(await states()).toEqual({ emailed: 30 })
    expect(await metrics()).toContain('switchhook_deliveries_total{state="emailed"} 30')
    expect(await metrics()).toContain('switchhook_fallback_emails_total{outcome="sent"} 1')
  })

  it('goes out once, whoever of those that wait comes first', async () => {
    const { slot } = await gather(10)
    const steps = await Promise.all(
      Array.from({ length: 10 }, () => sendFallbackDigest(createDeps(), slot)),
    )
    expect(sink.mails).toHaveLength(1)
    expect(steps.filter(({ kind }) => kind === 'done')).toHaveLength(1)
    expect(steps.filter(({ kind }) => kind === 'defer')).toHaveLength(9)
  })

  it('leaves out what was delivered after all, and is not sent for nobody', async () => {
    const { slot, entries } = await gather(2)
    const [late, other] = entries.map((entry) => recordOf(entry, { state: 'delivered' }))
    if (late === undefined || other === undefined) throw new Error('no entries')
    await writeDeliveryLog(stores.pool, [late], () => undefined)
    await sendFallbackDigest(createDeps(), slot)
    expect(sink.mails[0]?.text).not.toContain(late.deliveryId)
    expect(sink.mails[0]?.text).toContain(other.deliveryId)
    expect(await states()).toEqual({ delivered: 1, emailed: 1 })
    await clearMails(stores)
    await stores.clear()
    const again = await gather(1)
    const delivered = recordOf(again.entries[0] as JournalEntry, { state: 'delivered' })
    await writeDeliveryLog(stores.pool, [delivered], () => undefined)
    expect(await sendFallbackDigest(createDeps(), again.slot)).toEqual({ kind: 'done' })
    expect(sink.mails).toHaveLength(1)
  })

  it('is waited for until then', async () => {
    const { slot } = await gather(1)
    const step = await sendFallbackDigest(createDeps(), { ...slot, dueInMs: 5_000 })
    expect(step).toEqual({ kind: 'defer', delayMs: 5_001 })
    expect(sink.mails).toEqual([])
  })
})

describe('a delivery of a digest that was mailed singly while Postgres was away', () => {
  it('is not mailed twice: the digest waits until the spool is told to Postgres', async () => {
    const { slot, entries } = await gather(2)
    const [first, second] = entries as [JournalEntry, JournalEntry]
    const mailed = recordOf(first, { state: 'emailed', attempts: 3 })
    await spool.addRecord(mailed)
    expect((await sendFallbackDigest(createDeps(), slot)).kind).toBe('defer')
    expect(sink.mails).toEqual([])
    const drain = { pool: stores.pool, spool, metrics: counters, log: silentLogger }
    expect(await drainSpool(drain)).toBe(1)
    expect(await sendFallbackDigest(createDeps(), slot)).toEqual({ kind: 'done' })
    const payload = JSON.parse(String(sink.mails[0]?.attachments[0]?.content))
    expect(payload.deliveries).toMatchObject([{ delivery_id: second.deliveries[0]?.deliveryId }])
    expect(await states()).toEqual({ emailed: 2 })
  })

  it('does not hold the digest up for longer than a mail is tried', async () => {
    const { slot, entries } = await gather(2)
    await spool.addRecord(recordOf(entries[0] as JournalEntry, { state: 'emailed', attempts: 3 }))
    const early = { ...slot, dueInMs: 60_000 - DAY_MS }
    expect((await sendFallbackDigest(createDeps(), early)).kind).toBe('defer')
    const late = { ...slot, dueInMs: -60_000 - DAY_MS }
    expect((await sendFallbackDigest(createDeps(), late)).kind).toBe('done')
    expect(sink.mails).toHaveLength(1)
  })
})

describe('a mail server that does not take a digest', () => {
  it('is tried again, at growing distance, with the same Message-ID', async () => {
    const { slot } = await gather(3)
    sink.mode({ rejectCode: 451, text: 'try later' })
    const delays: number[] = []
    for (let tries = 0; tries < 3; tries += 1) {
      const step = await sendFallbackDigest(createDeps(), slot)
      delays.push(step.kind === 'defer' ? step.delayMs : -1)
      await makeDue()
    }
    expect(delays).toEqual([5_001, 10_001, 20_001])
    expect(await states()).toEqual({ pending: 3 })
    sink.mode('cut_after_data')
    await sendFallbackDigest(createDeps(), slot)
    await makeDue()
    sink.mode('accept')
    expect(await sendFallbackDigest(createDeps(), slot)).toEqual({ kind: 'done' })
    expect(sink.mails).toHaveLength(2)
    expect(new Set(sink.mails.map(({ messageId }) => messageId)).size).toBe(1)
    expect(await states()).toEqual({ emailed: 3 })
  })

  it('for a day makes all of them given up, and says so', async () => {
    const { slot } = await gather(3)
    sink.mode('hang')
    const steps = { connectionTimeout: 300, greetingTimeout: 300, socketTimeout: 500 }
    const timeouts = { ...steps, sendTimeout: 5_000 }
    const hurried = createMailSender(sink.url, 'switchhook@hooks.example', timeouts)
    onTestFinished(() => hurried.close())
    const dueAtMs = Date.now() + 600_000
    const early = createDeps({ sender: hurried, nowMs: () => dueAtMs + DAY_MS - 60_000 })
    expect((await sendFallbackDigest(early, slot)).kind).toBe('defer')
    await makeDue()
    const late = createDeps({ sender: hurried, nowMs: () => dueAtMs + DAY_MS + 60_000 })
    expect(await sendFallbackDigest(late, slot)).toEqual({ kind: 'done' })
    expect(await states()).toEqual({ given_up: 3 })
    expect(told).toMatchObject([
      { name: 'mail.failed', key: slot.digestId, data: { deliveries: 3 } },
      ...[0, 1, 2].map((id) => ({
        ...{ name: 'delivery.given_up', destinationId: 'dst_sample', key: `dlv_${id}` },
        data: { event_id: `evt_${id}`, event_type: 'sms_received', attempts: 3 },
      })),
    ])
    const reasons = told.slice(1).map(({ data }) => String(data?.reason))
    expect(reasons[0]).toMatch(/^It answered 500\. The fallback mail failed: The mail server/)
    const { rows } = await stores.pool.query('select distinct reason from deliveries')
    expect(rows[0].reason).toMatch(/^It answered 500\. The fallback mail failed: The mail server/)
    expect(await metrics()).toContain('switchhook_deliveries_total{state="given_up"} 3')
  })

  it('for good (550) is not asked again', async () => {
    const { slot } = await gather(2)
    sink.mode({ rejectCode: 550, text: 'no such user' })
    expect(await sendFallbackDigest(createDeps(), slot)).toEqual({ kind: 'done' })
    expect(await states()).toEqual({ given_up: 2 })
  })
})

describe('a digest that went out while Postgres took no note of it', () => {
  it('is not sent again, and is recorded once Postgres is back', async () => {
    const { slot } = await gather(2)
    let isAway = false
    const query = (...args: readonly unknown[]) =>
      isAway
        ? Promise.reject(new Error('connect ECONNREFUSED'))
        : (stores.pool.query as (...all: readonly unknown[]) => unknown)(...args)
    const pool = { query } as unknown as TestStores['pool']
    const cut: SendDigestDeps['sender'] = {
      async send(mail) {
        const result = await sender.send(mail)
        isAway = true
        return result
      },
    }
    const deps = createDeps({ pool, sender: cut })
    expect((await sendFallbackDigest(deps, slot)).kind).toBe('defer')
    expect((await sendFallbackDigest(deps, slot)).kind).toBe('defer')
    isAway = false
    expect(await sendFallbackDigest(deps, slot)).toEqual({ kind: 'done' })
    expect(sink.mails).toHaveLength(1)
    expect(await states()).toEqual({ emailed: 2 })
  })

  it('is kept by a worker that is slow to send it, and another’s when that one died', async () => {
    const { slot } = await gather(2)
    const { promise: held, resolve: release } = Promise.withResolvers<void>()
    let sends = 0
    const slow: SendDigestDeps['sender'] = {
      async send(mail) {
        sends += 1
        await held
        return sender.send(mail)
      },
    }
    const sending = sendFallbackDigest(createDeps({ sender: slow, leaseMs: 5_000 }), slot)
    await waitFor(() => sends === 1, { timeoutMs: 20_000, what: 'the mail to be on its way' })
    const lease = async () =>
      (
        await stores.pool.query('select next_try_at from mail_digests')
      ).rows[0].next_try_at.getTime()
    const before = await lease()
    await waitFor(async () => (await lease()) > before, { timeoutMs: 20_000, what: 'a kept lease' })
    expect((await sendFallbackDigest(createDeps({ leaseMs: 5_000 }), slot)).kind).toBe('defer')
    release()
    await sending
    expect(sink.mails).toHaveLength(1)
    // The death of a worker is a lease that nobody keeps.
    await clearMails(stores)
    await stores.clear()
    const again = await gather(1)
    await stores.pool.query(`update mail_digests set state = 'sending', tries = 1`)
    expect(await sendFallbackDigest(createDeps(), again.slot)).toEqual({ kind: 'done' })
    expect(await states()).toEqual({ emailed: 1 })
  })
})
