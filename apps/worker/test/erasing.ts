import { silentLogger } from '@switchhook/core/log'
import { openQueues } from '@switchhook/core/queue'
import { createSpool } from '@switchhook/core/spool'
import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { type JournalEntry, writeJournal } from '@switchhook/core/store/journal'
import { type Erasure, findErasure, insertErasure } from '@switchhook/core/store/privacy'
import { type ErasePersonDeps, erasePersons } from '../src/erase-person.ts'
import { entryOf, openTestStores, recordOf } from './test-stores.ts'

export const PERSON = '+17035550630'
export const OTHER = '+17035550631'
export const ORGANIZATION = 'org_a'

const MAX_STEPS = 60
const TABLES = ['events', 'deliveries', 'webhook_logs', 'calls', 'quarantine', 'erasures']

export const digits = (number: string): string => number.slice(1)

type Facts = NonNullable<Parameters<typeof entryOf>[1]>

/** A message with a text that tells it from the others. */
export function messageOf(id: string | number, from: string, facts: Facts = {}): JournalEntry {
  const payload = Buffer.from(new URLSearchParams({ From: from, Body: `text of ${id}` }).toString())
  return entryOf(id, { peerNumber: from, payload, ...facts })
}

/** Stores of their own, and an organization whose persons can be erased. */
export async function openErasing() {
  const stores = await openTestStores()
  const { database, pool } = stores
  const queues = openQueues(stores.connection, 2, silentLogger)
  const spool = createSpool(stores.connection, 100)
  await pool.query('insert into organizations (id, name) values ($1, $1)', [ORGANIZATION])
  const deps: ErasePersonDeps = { database, queues, spool, settleMs: 0, log: silentLogger }

  const find = (id: string) => findErasure(database.db, ORGANIZATION, id)

  return {
    ...{ stores, pool, queues, spool, deps, find },
    async clear(): Promise<void> {
      await stores.clear()
      await pool.query('truncate erasures, quarantine')
    },
    async close(): Promise<void> {
      await queues.close()
      await stores.close()
    },
    /** As the API does. */
    async ask(phoneNumber = PERSON): Promise<string> {
      const facts = { organizationId: ORGANIZATION, phoneNumber, requestedBy: 'key' }
      const erasure = await database.db
        .transaction()
        .execute((tx) => insertErasure(tx, { ...facts, nowMs: Date.now() - 1 }))
      return erasure.id
    },
    /** Steps until it is over. */
    async finish(id: string): Promise<Erasure | undefined> {
      for (let step = 0; step < MAX_STEPS; step += 1) {
        await erasePersons(deps)
        const erasure = await find(id)
        if (erasure?.state !== 'running') return erasure
      }
      throw new Error('the erasure does not end')
    },
    async journal(...entries: readonly JournalEntry[]): Promise<void> {
      await writeJournal(pool, entries)
    },
    /** Logs an attempt with the number and the text in its bodies. */
    async attempt(entry: JournalEntry, facts: Parameters<typeof recordOf>[1] = {}): Promise<void> {
      const record = recordOf(entry, facts)
      const bodies = {
        requestBodyBase64: entry.event.payload.toString('base64'),
        responseBody: `no, ${entry.event.peerNumber}`,
        error: `refused ${entry.event.peerNumber}`,
      }
      const withBodies = { ...record, attempt: record.attempt && { ...record.attempt, ...bodies } }
      await writeDeliveryLog(pool, [withBodies], () => undefined)
    },
    /** Those with a row that holds the text, as text or as bytes. */
    async tablesWith(text: string): Promise<string[]> {
      const found: string[] = []
      for (const table of TABLES) {
        const { rows } = await pool.query(
          `select 1 from ${table} as t where t::text like $1 or t::text like $2 limit 1`,
          [`%${text}%`, `%${Buffer.from(text).toString('hex')}%`],
        )
        if (rows.length > 0) found.push(table)
      }
      return found
    },
    /** The row of the event `evt_${id}`. */
    async rowOf(id: string) {
      return (await pool.query('select * from events where id = $1', [`evt_${id}`])).rows[0]
    },
  }
}

export type Erasing = Awaited<ReturnType<typeof openErasing>>
