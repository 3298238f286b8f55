import { silentLogger } from '@switchhook/core/log'
import { startDeliveryConsumer, startFallbackConsumer } from '@switchhook/core/queue'
import type { JournalEntry } from '@switchhook/core/store/journal'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { erasePersons } from '../src/erase-person.ts'
import { digits, type Erasing, messageOf, OTHER, openErasing, PERSON } from './erasing.ts'
import { sampleJob } from './sample-delivery.ts'
import { ACCEPTED_AT_MS } from './test-stores.ts'

vi.setConfig({ testTimeout: 90_000 })

let erasing: Erasing

beforeAll(async () => {
  erasing = await openErasing()
})
beforeEach(() => erasing.clear())
afterAll(() => erasing.close())

describe('a delivery that is still owed of an erased event', () => {
  const jobOf = ({ event, deliveries }: JournalEntry) =>
    sampleJob({ ...deliveries[0], createdAtMs: event.receivedAtMs }, event)

  it('is cancelled, and its job is in no queue any more, nor its mail', async () => {
    const [waiting, mailed, other] = [
      messageOf('waiting', PERSON),
      messageOf('mailed', PERSON),
      messageOf('other', OTHER),
    ]
    const spelled = messageOf('spelled', OTHER, { payload: Buffer.from('ring 0703-555 0630') })
    await erasing.journal(waiting, mailed, other, spelled)
    await erasing.queues.addDelivery(jobOf(spelled))
    await erasing.queues.addDelivery(jobOf(waiting))
    await erasing.queues.addDelivery(jobOf(other))
    const mail = { deliveryId: 'dlv_mailed', to: 'a@b.example', reason: '', attempts: 3 }
    await erasing.queues.addFallback({ ...mail, delivery: jobOf(mailed) })
    expect(await erasing.finish(await erasing.ask())).toMatchObject({
      deliveriesCancelled: 3,
      eventsErased: 3,
    })
    const { rows } = await erasing.pool.query(
      `select id, state, reason from deliveries order by id`,
    )
    expect(rows).toEqual([
      { id: 'dlv_mailed', state: 'cancelled', reason: 'The event was erased.' },
      { id: 'dlv_other', state: 'pending', reason: null },
      { id: 'dlv_spelled', state: 'cancelled', reason: 'The event was erased.' },
      { id: 'dlv_waiting', state: 'cancelled', reason: 'The event was erased.' },
    ])
    const refs = rows.map(({ id }) => ({ deliveryId: id, destinationId: 'dst_sample' }))
    expect([...(await erasing.queues.findMissing(refs))].sort()).toEqual([
      'dlv_mailed',
      'dlv_spelled',
      'dlv_waiting',
    ])
    const keys = await erasing.stores.connection.keys('*')
    expect(keys.filter((key) => /dlv_(mailed|spelled|waiting)/.test(key))).toEqual([])
  })

  it('is waited for while a worker has it in hand: what that writes down is erased, too', async () => {
    const entry = messageOf('busy', PERSON)
    await erasing.journal(entry)
    const { promise: isAnswered, resolve: answer } = Promise.withResolvers<void>()
    let isInHand = false
    const consumer = startDeliveryConsumer(
      {
        connection: erasing.stores.consuming,
        lockMs: 30_000,
        shards: 2,
        concurrency: 8,
        log: silentLogger,
      },
      async () => {
        isInHand = true
        await isAnswered
        await erasing.attempt(entry, { state: 'pending', attempts: 1 })
        return { kind: 'done' }
      },
    )
    try {
      await erasing.queues.addDelivery(jobOf(entry))
      await waitFor(() => isInHand, { timeoutMs: 20_000, what: 'the worker to take it' })
      const id = await erasing.ask()
      for (let step = 0; step < 5; step += 1) await erasePersons(erasing.deps)
      expect(await erasing.find(id)).toMatchObject({ state: 'running', eventsErased: 0 })
      expect((await erasing.find(id))?.deliveriesCancelled).toBe(1)
      answer()
      const ref = { deliveryId: 'dlv_busy', destinationId: 'dst_sample' }
      await waitFor(async () => (await erasing.queues.findMissing([ref])).size === 1, {
        ...{ timeoutMs: 20_000, what: 'the worker to be done' },
      })
      expect(await erasing.tablesWith(digits(PERSON))).toContain('webhook_logs')
      expect(await erasing.finish(id)).toMatchObject({ eventsErased: 1, deliveriesCancelled: 1 })
      expect(await erasing.tablesWith(digits(PERSON))).toEqual([])
    } finally {
      answer()
      await consumer.stop(20_000)
    }
  })

  it('is not sent in between: the job goes before the row, and neither when Redis is away', async () => {
    const entry = messageOf('waiting', PERSON)
    await erasing.journal(entry)
    const id = await erasing.ask()
    // The calls; then come the events.
    await erasePersons(erasing.deps)
    const down = {
      ...erasing.queues,
      removeDelivery: () => Promise.reject(new Error('Redis is away')),
    }
    await expect(erasePersons({ ...erasing.deps, queues: down })).rejects.toThrow('Redis is away')
    const { rows } = await erasing.pool.query('select state from deliveries')
    expect(rows).toEqual([{ state: 'pending' }])
    expect(await erasing.finish(id)).toMatchObject({ eventsErased: 1, deliveriesCancelled: 1 })
  })
})

describe('an erasure', () => {
  const MANY = 450

  async function journalMany(): Promise<void> {
    await erasing.journal(
      ...Array.from({ length: MANY }, (_, index) =>
        messageOf(index, index % 3 === 0 ? PERSON : OTHER, {
          receivedAtMs: ACCEPTED_AT_MS + index,
        }),
      ),
    )
    await erasing.pool.query(`update deliveries set state = 'delivered', updated_at = '2020-01-01'`)
  }

  it('that a worker dropped at any step is finished by another, and nothing is left out', async () => {
    await journalMany()
    const id = await erasing.ask()
    const seen = new Set<string>()
    // Each step by a process that knows nothing but what Postgres holds.
    for (let step = 0; (await erasing.find(id))?.state === 'running'; step += 1) {
      if (step > 50) throw new Error('it does not end')
      const { phase, eventsErased } = (await erasing.find(id)) ?? {}
      seen.add(`${phase} ${eventsErased}`)
      const refuse = { ...erasing.spool, length: () => Promise.reject(new Error('killed')) }
      // Before it, a step that dies on its way: between the jobs and the commit.
      await erasePersons({ ...erasing.deps, spool: refuse }).catch(() => undefined)
      await erasePersons(erasing.deps)
    }
    expect([...seen]).toEqual(expect.arrayContaining(['events 0', 'events 67', 'events 134']))
    expect((await erasing.find(id))?.eventsErased).toBe(MANY / 3)
    expect(await erasing.tablesWith(digits(PERSON))).toEqual([])
    const { rows } = await erasing.pool.query(
      'select count(*) from events where peer_number = $1',
      [OTHER],
    )
    expect(rows).toEqual([{ count: (MANY * 2) / 3 }])
  })

  it('by two processes at once ends with every row erased and counted once', async () => {
    await journalMany()
    const id = await erasing.ask()
    for (let step = 0; (await erasing.find(id))?.state === 'running'; step += 1) {
      if (step > 50) throw new Error('it does not end')
      // The slower one finds that the other came further, and rolls back.
      await Promise.allSettled([erasePersons(erasing.deps), erasePersons(erasing.deps)])
    }
    expect((await erasing.find(id))?.eventsErased).toBe(MANY / 3)
    expect(await erasing.tablesWith(digits(PERSON))).toEqual([])
  })

  it('waits for what the spool holds: Postgres does not know all of the person yet', async () => {
    await erasing.spool.takeEvent(messageOf('spooled', PERSON))
    const id = await erasing.ask()
    expect(await erasePersons(erasing.deps)).toBe(0)
    expect((await erasing.find(id))?.phase).toBe('calls')
    await erasing.journal(messageOf('spooled', PERSON))
    await erasing.spool.read(1)
    await erasing.spool.drop(1)
    expect(await erasing.finish(id)).toMatchObject({ eventsErased: 1 })
  })

  it('begins when what was being accepted at the request is in Postgres', async () => {
    const id = await erasing.ask()
    expect(await erasePersons({ ...erasing.deps, settleMs: 60_000 })).toBe(0)
    expect((await erasing.find(id))?.phase).toBe('calls')
  })

  it('leaves what came long after it was asked for', async () => {
    const id = await erasing.ask()
    await erasing.journal(messageOf('later', PERSON, { receivedAtMs: Date.now() + 30_000 }))
    expect(await erasing.finish(id)).toMatchObject({ eventsErased: 0 })
    expect((await erasing.rowOf('later')).peer_number).toBe(PERSON)
  })

  it('keeps no number once it is over', async () => {
    const id = await erasing.ask()
    await erasing.finish(id)
    const { rows } = await erasing.pool.query('select phone_number from erasures where id = $1', [
      id,
    ])
    expect(rows).toEqual([{ phone_number: null }])
  })
})

it('a fallback consumer is part of what findMissing looks at', async () => {
  // The control of the tests above: a mail that a worker has in hand is not missing.
  const entry = messageOf('mail', PERSON)
  const job = sampleJob(
    { ...entry.deliveries[0], createdAtMs: entry.event.receivedAtMs },
    entry.event,
  )
  const mail = { deliveryId: 'dlv_mail', to: 'a@b.example', reason: '', attempts: 3 }
  const { promise: isSent, resolve: send } = Promise.withResolvers<void>()
  let isInHand = false
  const consumer = startFallbackConsumer(
    { connection: erasing.stores.consuming, lockMs: 30_000, concurrency: 1, log: silentLogger },
    (data) => data as never,
    async () => {
      isInHand = true
      await isSent
      return { kind: 'done' }
    },
  )
  try {
    await erasing.queues.addFallback({ ...mail, delivery: job })
    await waitFor(() => isInHand, { timeoutMs: 20_000, what: 'the worker to take it' })
    await erasing.queues.removeDelivery('dlv_mail', 'dst_sample')
    const ref = { deliveryId: 'dlv_mail', destinationId: 'dst_sample' }
    expect((await erasing.queues.findMissing([ref])).size).toBe(0)
  } finally {
    send()
    await consumer.stop(20_000)
  }
})
