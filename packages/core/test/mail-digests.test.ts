import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { writeDeliveryLog } from '../src/store/delivery-log.ts'
import { type JournalEntry, writeJournal } from '../src/store/journal.ts'
import { findDigestLines, listDigest, settleDigest } from '../src/store/mail-digest-lines.ts'
import {
  claimMailSlot,
  keepDigest,
  type MailLimits,
  type MailSlot,
  takeDigest,
} from '../src/store/mail-digests.ts'
import { dropOldRows } from '../src/store/retention.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createEntry, createRecord, DESTINATION, ORGANIZATION } from './test-rows.ts'

const LONG: MailLimits = { windowMs: 600_000, maxSingles: 20 }
const RECIPIENT = 'desk@customer.example'
const LEASE_MS = 60_000

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase('migrated')
})
beforeEach(async () => {
  await database.pool.query(
    'truncate mail_windows, mail_digests, fallback_mails, events, deliveries, dedupe_keys',
  )
})
afterAll(() => database.drop())

/** A delivery whose attempts are used up. */
async function exhaust(): Promise<JournalEntry> {
  const entry = createEntry()
  await writeJournal(database.pool, [entry])
  const owed = { state: 'pending', attempts: 10, fallbackAtMs: Date.now() } as const
  const record = createRecord(entry, { ...owed, reason: 'It answered 500.', attempt: null })
  await writeDeliveryLog(database.pool, [record], () => undefined)
  return entry
}

const idOf = (entry: JournalEntry): string => entry.deliveries[0]?.deliveryId ?? ''

function claim(
  entry: JournalEntry,
  limits = LONG,
  recipient = RECIPIENT,
  pool = database.pool,
): Promise<MailSlot> {
  return claimMailSlot(
    pool,
    {
      ...{ deliveryId: idOf(entry), createdAtMs: entry.event.receivedAtMs, recipient },
      ...{ organizationId: ORGANIZATION, destinationId: DESTINATION },
    },
    limits,
  )
}

function digestOf(slot: MailSlot): string {
  if (slot.kind !== 'digest') throw new Error('it has a mail of its own')
  return slot.digestId
}

const stateOf = async (entry: JournalEntry) =>
  (await database.pool.query('select state, reason from deliveries where id = $1', [idOf(entry)]))
    .rows[0]

/** Digests that are due. */
async function makeDue(): Promise<void> {
  await database.pool.query(`update mail_digests set next_try_at = now() - interval '1 ms'`)
}

describe('the mails of one destination', () => {
  it('are twenty of their own, the rest one digest, whoever asks at once', async () => {
    const entries = Array.from({ length: 50 }, () => createEntry())
    const slots = await Promise.all(entries.map((entry) => claim(entry)))
    expect(slots.filter(({ kind }) => kind === 'single')).toHaveLength(20)
    const digests = slots.flatMap((slot) => (slot.kind === 'digest' ? [slot] : []))
    expect(digests).toHaveLength(30)
    expect(new Set(digests.map(({ digestId }) => digestId)).size).toBe(1)
    for (const { dueInMs } of digests) {
      expect(dueInMs).toBeGreaterThan(500_000)
      expect(dueInMs).toBeLessThanOrEqual(600_000)
    }
  })

  it('are decided once: asked again, by anybody, the answer is the same and takes no place', async () => {
    const entries = Array.from({ length: 25 }, () => createEntry())
    const first: MailSlot[] = []
    for (const entry of entries) first.push(await claim(entry))
    const again = await Promise.all(entries.flatMap((entry) => [claim(entry), claim(entry)]))
    const kinds = again.filter((_, index) => index % 2 === 0).map(({ kind }) => kind)
    expect(kinds).toEqual(first.map(({ kind }) => kind))
    const { rows } = await database.pool.query('select mails from mail_windows')
    expect(rows).toEqual([{ mails: 25 }])
  })

  it('go where they were to go when they were claimed', async () => {
    const entry = createEntry()
    await claim(entry)
    expect(await claim(entry, LONG, 'other@customer.example')).toEqual({
      kind: 'single',
      recipient: RECIPIENT,
    })
  })

  it('count anew when the window is over', async () => {
    const kinds: string[] = []
    const limits = { ...LONG, maxSingles: 1 }
    for (let index = 0; index < 2; index += 1) kinds.push((await claim(createEntry(), limits)).kind)
    await database.pool.query(`update mail_windows set started_at = started_at - interval '10 min'`)
    for (let index = 0; index < 2; index += 1) kinds.push((await claim(createEntry(), limits)).kind)
    expect(kinds).toEqual(['single', 'digest', 'single', 'digest'])
    const { rows } = await database.pool.query('select count(distinct id) as n from mail_digests')
    expect(rows).toEqual([{ n: 2 }])
  })
})

describe('a digest', () => {
  it('is taken when it is due, by one worker, and gathers no more', async () => {
    await claim(await exhaust(), { ...LONG, maxSingles: 0 })
    const last = await exhaust()
    const id = digestOf(await claim(last, { ...LONG, maxSingles: 0 }))
    expect(await takeDigest(database.pool, id, LEASE_MS)).toBeUndefined()
    await makeDue()
    // How long it has been due: what a digest waits for has an end.
    const again = await claim(last)
    expect(again.kind === 'digest' && again.dueInMs).toBeLessThan(0)
    const takers = Array.from({ length: 4 }, () => takeDigest(database.pool, id, LEASE_MS))
    const taken = (await Promise.all(takers)).filter((one) => one !== undefined)
    expect(taken).toMatchObject([
      { id, recipient: RECIPIENT, destinationId: DESTINATION, tries: 1 },
    ])
    // The window is not over, yet what comes now is too late for it.
    const late = await claim(await exhaust(), { ...LONG, maxSingles: 0 })
    expect(late.kind).toBe('single')
  })

  it('waits, when it is taken, for whoever is just joining', async () => {
    const limits = { ...LONG, maxSingles: 0 }
    const [first, second] = [await exhaust(), await exhaust()]
    const id = digestOf(await claim(first, limits))
    await makeDue()
    const { promise: mayCommit, resolve: commit } = Promise.withResolvers<void>()
    const { promise: joined, resolve: join } = Promise.withResolvers<void>()
    const client = await database.pool.connect()
    const slow = {
      async query(text: string, values?: unknown[]) {
        if (text === 'commit') join()
        if (text === 'commit') await mayCommit
        return await client.query(text, values)
      },
      release: () => client.release(),
    }
    const pool = { connect: async () => slow } as unknown as TestDatabase['pool']
    const joining = claim(second, limits, RECIPIENT, pool)
    await joined
    const taking = takeDigest(database.pool, id, LEASE_MS)
    const isWaiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    await waitFor(async () => (await database.pool.query(isWaiting)).rows.length > 0, {
      ...{ timeoutMs: 12_000, what: 'the taker to wait' },
    })
    commit()
    expect(digestOf(await joining)).toBe(id)
    expect(await taking).toMatchObject({ id })
    expect(await listDigest(database.pool, id)).toBe(2)
  })

  it('is another worker’s when its own is silent, and can be kept until then', async () => {
    const id = digestOf(await claim(await exhaust(), { ...LONG, maxSingles: 0 }))
    await makeDue()
    const first = await takeDigest(database.pool, id, 1)
    if (first === undefined) throw new Error('not taken')
    await keepDigest(database.pool, first, LEASE_MS)
    expect(await takeDigest(database.pool, id, LEASE_MS)).toBeUndefined()
    await makeDue()
    expect(await takeDigest(database.pool, id, 1)).toMatchObject({ tries: 2 })
    await makeDue()
    await keepDigest(database.pool, first, LEASE_MS)
    expect(await takeDigest(database.pool, id, LEASE_MS)).toMatchObject({ tries: 3 })
  })

  it('lists those that are still owed a mail, in pages, with what they say', async () => {
    const limits = { ...LONG, maxSingles: 0 }
    const entries: JournalEntry[] = []
    for (let index = 0; index < 5; index += 1) entries.push(await exhaust())
    let id = ''
    for (const entry of entries) id = digestOf(await claim(entry, limits))
    const [delivered, ...owed] = entries
    await writeDeliveryLog(
      database.pool,
      [createRecord(delivered as JournalEntry)],
      () => undefined,
    )
    expect(await listDigest(database.pool, id)).toBe(4)
    const first = await findDigestLines(database.pool, id, undefined, 3)
    const rest = await findDigestLines(database.pool, id, first.at(-1), 3)
    expect(rest).toHaveLength(1)
    const found = [...first, ...rest]
    expect(found.map(({ deliveryId }) => deliveryId).sort()).toEqual(owed.map(idOf).sort())
    expect(found[0]).toMatchObject({ attempts: 10, reason: 'It answered 500.' })
    expect(found[0]?.event.whole?.payload).toEqual(Buffer.from('Body=hello'))
  })

  it('shows nobody who ended while it was listed: what is erased then does not go out', async () => {
    const limits = { ...LONG, maxSingles: 0 }
    const [erased, owed] = [await exhaust(), await exhaust()]
    const id = digestOf(await claim(erased, limits))
    await claim(owed, limits)
    expect(await listDigest(database.pool, id)).toBe(2)
    await database.pool.query(`update deliveries set state = 'cancelled' where id = $1`, [
      idOf(erased),
    ])
    const lines = await findDigestLines(database.pool, id, undefined, 3)
    expect(lines.map(({ deliveryId }) => deliveryId)).toEqual([idOf(owed)])
  })

  it('leaves a large payload where it is', async () => {
    const entry = createEntry({ payload: Buffer.alloc(16_385, 'x') })
    await writeJournal(database.pool, [entry])
    const id = digestOf(await claim(entry, { ...LONG, maxSingles: 0 }))
    await listDigest(database.pool, id)
    const [line] = await findDigestLines(database.pool, id, undefined, 3)
    expect(line?.event).toMatchObject({ id: entry.event.id, whole: undefined })
  })

  it.each(['emailed', 'given_up'] as const)(
    'ends as %s for all that it lists, once, and for nobody else',
    async (state) => {
      const limits = { ...LONG, maxSingles: 0 }
      const [listed, late, alone] = [await exhaust(), await exhaust(), await exhaust()]
      const id = digestOf(await claim(listed, limits))
      await claim(late, limits)
      await makeDue()
      await takeDigest(database.pool, id, LEASE_MS)
      await listDigest(database.pool, id)
      await writeDeliveryLog(database.pool, [createRecord(late)], () => undefined)
      expect(await settleDigest(database.pool, id, state, ' Why.')).toBe(1)
      expect(await settleDigest(database.pool, id, state, ' Why.')).toBe(0)
      expect(await stateOf(listed)).toEqual({ state, reason: 'It answered 500. Why.' })
      expect(await stateOf(late)).toMatchObject({ state: 'delivered' })
      expect(await stateOf(alone)).toMatchObject({ state: 'pending' })
      expect(await takeDigest(database.pool, id, LEASE_MS)).toBeUndefined()
    },
  )

  it('that went out without a delivery gives it back: another mail stands for it', async () => {
    const limits = { ...LONG, maxSingles: 0 }
    const id = digestOf(await claim(await exhaust(), limits))
    // Its row still waits in the spool.
    const unknown = createEntry()
    expect(digestOf(await claim(unknown, limits))).toBe(id)
    await makeDue()
    await takeDigest(database.pool, id, LEASE_MS)
    expect(await listDigest(database.pool, id)).toBe(1)
    await settleDigest(database.pool, id, 'emailed')
    expect(await claim(unknown)).toEqual({ kind: 'single', recipient: RECIPIENT })
    expect(await claim(unknown)).toEqual({ kind: 'single', recipient: RECIPIENT })
  })
})

describe('what is old', () => {
  it('is dropped from every table', async () => {
    await claim(await exhaust(), { ...LONG, maxSingles: 0 })
    const later = Date.now() + 3_600_000
    for (const table of ['mail_windows', 'mail_digests', 'fallback_mails'] as const) {
      expect(await dropOldRows(database.pool, table, Date.now() - 60_000)).toBe(0)
      expect(await dropOldRows(database.pool, table, later)).toBe(1)
    }
    for (const table of ['used_replay_links', 'operator_notices'] as const) {
      expect(await dropOldRows(database.pool, table, later)).toBe(0)
    }
  })
})
