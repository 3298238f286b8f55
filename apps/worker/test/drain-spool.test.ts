import { silentLogger } from '@switchhook/core/log'
import { createMetrics, type Metrics } from '@switchhook/core/metrics'
import { createSpool, type Spool } from '@switchhook/core/spool'
import { writeJournal } from '@switchhook/core/store/journal'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { drainSpool } from '../src/drain-spool.ts'
import { entryOf, openTestStores, recordOf, type TestStores } from './test-stores.ts'

const LIST = '{switchhook:control}:spool'
const POISON_LIST = '{switchhook:control}:spool-poison'

let stores: TestStores
let spool: Spool
let registry: Registry
let metrics: Metrics

beforeAll(async () => {
  stores = await openTestStores()
  spool = createSpool(stores.connection, 10_000)
})
beforeEach(async () => {
  await stores.clear()
  registry = new Registry()
  metrics = createMetrics(registry)
})
afterAll(() => stores.close())

function drain(overrides: Partial<Spool> = {}) {
  return drainSpool({
    pool: stores.pool,
    spool: { ...spool, ...overrides },
    ...{ metrics, log: silentLogger },
  })
}

async function rows(text: string): Promise<unknown[]> {
  return (await stores.pool.query(text)).rows
}

const deliveries = () => rows('select id, state, attempts from deliveries order by id')
const countOf = async (table: string): Promise<number> =>
  Number(((await rows(`select count(*) as n from ${table}`)) as { n: number }[])[0]?.n)

describe('a spool that is drained', () => {
  it('leaves in Postgres what happened while that was away, and nothing in Redis', async () => {
    const [one, two] = [entryOf(1), entryOf(2)]
    await spool.takeEvent(one)
    await spool.addRecord(recordOf(one))
    await spool.takeEvent(two)
    await spool.addRecord(recordOf(one, { attempts: 2, state: 'delivered' }))
    expect(await drain()).toBe(4)
    expect(await spool.length()).toBe(0)
    expect(await deliveries()).toEqual([
      { id: 'dlv_1', state: 'delivered', attempts: 2 },
      { id: 'dlv_2', state: 'pending', attempts: 0 },
    ])
    expect(await countOf('events')).toBe(2)
    expect(await countOf('webhook_logs')).toBe(2)
    const [event] = await rows("select payload from events where id = 'evt_1'")
    expect(event).toEqual({ payload: one.event.payload })
  })

  it('may hold the record of a delivery before its event', async () => {
    const entry = entryOf(1)
    await spool.addRecord(recordOf(entry, { attempts: 1, state: 'delivered' }))
    await spool.takeEvent(entry)
    await drain()
    expect(await deliveries()).toEqual([{ id: 'dlv_1', state: 'delivered', attempts: 1 }])
  })

  it('may hold authentic webhooks of nobody, each byte of them', async () => {
    await stores.pool.query("insert into organizations (id, name) values ('org_a', 'A')")
    const body = Buffer.from([0, 255, 128, 10])
    const row = {
      ...{ id: 'qua_1', organizationId: 'org_a', providerAccountId: 'pac_1' },
      provider: 'pbx' as const,
      ...{ claimedAccountSid: null, claimedNumbers: ['+1'], reason: 'unknown_number' },
      ...{ detail: 'd', isAuthentic: true, method: 'POST', target: '/webhooks/pbx/{token}' },
      ...{ headers: { 'content-type': 'text/plain' }, clientIp: null, body },
      ...{ receivedAtMs: Date.now(), expiresAtMs: Date.now() + 60_000 },
    } as const
    await spool.addQuarantined(row)
    await spool.addQuarantined({ ...row, id: 'qua_poison', detail: 'no\0text' })
    expect(await drain()).toBe(2)
    expect(await rows('select id, body, headers from quarantine')).toEqual([
      { id: 'qua_1', body, headers: row.headers },
    ])
    expect(await stores.connection.llen(POISON_LIST)).toBe(1)
    await stores.pool.query('truncate organizations cascade')
  })

  it('takes nothing back that Postgres was told since', async () => {
    const entry = entryOf(1)
    await writeJournal(stores.pool, [entry])
    await spool.addRecord(recordOf(entry, { attempts: 1 }))
    await stores.pool.query("update deliveries set state = 'delivered', attempts = 2")
    await drain()
    expect(await deliveries()).toEqual([{ id: 'dlv_1', state: 'delivered', attempts: 2 }])
    expect(await countOf('webhook_logs')).toBe(1)
  })

  it('of more than one batch is drained to the end', async () => {
    for (let index = 0; index < 450; index += 1) await spool.takeEvent(entryOf(index))
    expect(await drain()).toBe(450)
    expect(await countOf('events')).toBe(450)
    expect(await drain()).toBe(0)
  })
})

describe('a drain that is killed', () => {
  it('between the write and the drop does it again, which changes nothing', async () => {
    const entry = entryOf(1)
    await spool.takeEvent(entry)
    await spool.addRecord(recordOf(entry))
    await spool.addRecord(recordOf(entry, { attempts: 2, state: 'delivered' }))
    const killed = drain({ drop: () => Promise.reject(new Error('killed')) })
    await expect(killed).rejects.toThrow('killed')
    expect(await spool.length()).toBe(3)
    const before = await deliveries()
    expect(await drain()).toBe(3)
    expect(await deliveries()).toEqual(before)
    expect(before).toEqual([{ id: 'dlv_1', state: 'delivered', attempts: 2 }])
    expect(await countOf('events')).toBe(1)
    expect(await countOf('webhook_logs')).toBe(2)
  })

  it('by Postgres going away again loses nothing', async () => {
    await spool.takeEvent(entryOf(1))
    const away = { query: () => Promise.reject(new Error('connect ECONNREFUSED')) }
    const deps = { spool, metrics, log: silentLogger }
    const pool = away as unknown as TestStores['pool']
    await expect(drainSpool({ ...deps, pool })).rejects.toThrow('ECONNREFUSED')
    expect(await spool.length()).toBe(1)
    expect(await drain()).toBe(1)
  })
})

describe('poison', () => {
  const poisonList = async () => await stores.connection.lrange(POISON_LIST, 0, -1)

  it('in an event is set aside, and the others are written', async () => {
    for (const id of [1, 2, 3]) await spool.takeEvent(entryOf(id))
    await spool.takeEvent(entryOf('bad', { phoneNumber: 'a\0b' }))
    for (const id of [4, 5]) await spool.takeEvent(entryOf(id))
    expect(await drain()).toBe(6)
    expect(await countOf('events')).toBe(5)
    expect(await spool.length()).toBe(0)
    const items = await poisonList()
    expect(items).toHaveLength(1)
    expect(JSON.parse(items[0] ?? '')).toMatchObject({ kind: 'event', event: { id: 'evt_bad' } })
  })

  it('in the bodies of a record costs the bodies, not the outcome', async () => {
    const [good, bad] = [entryOf(1), entryOf(2)]
    await writeJournal(stores.pool, [good, bad])
    const { attempt, ...facts } = recordOf(bad, { state: 'delivered' })
    const poisoned = attempt && { ...attempt, responseBody: 'a\0b' }
    await spool.addRecord(recordOf(good, { state: 'delivered' }))
    await spool.addRecord({ ...facts, attempt: poisoned })
    expect(await drain()).toBe(2)
    // Still pending, the second one would be delivered again and again.
    expect(await deliveries()).toEqual([
      { id: 'dlv_1', state: 'delivered', attempts: 1 },
      { id: 'dlv_2', state: 'delivered', attempts: 1 },
    ])
    expect(await poisonList()).toHaveLength(1)
    expect(await registry.metrics()).toContain('switchhook_log_rows_cut_total 1')
  })

  it('that is no item at all is set aside, and stops nothing', async () => {
    await stores.connection.rpush(LIST, 'not JSON', '{"kind":"event","event":{"v":2}}')
    await spool.takeEvent(entryOf(1))
    expect(await drain()).toBe(3)
    expect(await countOf('events')).toBe(1)
    expect(await poisonList()).toEqual(['not JSON', '{"kind":"event","event":{"v":2}}'])
  })
})
