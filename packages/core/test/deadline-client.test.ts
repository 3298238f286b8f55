import { setTimeout as sleep } from 'node:timers/promises'
import { type ChaosProxy, startChaosProxy } from '@switchhook/testing/chaos-proxy'
import { waitFor } from '@switchhook/testing/wait-for'
import { sql } from 'kysely'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentLogger } from '../src/log.ts'
import { type DatabaseHandle, openDatabase } from '../src/store/database.ts'
import { isStoreUnavailable } from '../src/store/unavailable.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'

/** What must succeed takes less, on a machine that stands still too. */
const QUERY_TIMEOUT_MS = 2_500
const APPLICATION = 'deadline-client'

let direct: TestDatabase
let proxy: ChaosProxy
let proxied: string
let spoilt: DatabaseHandle

beforeEach(async () => {
  direct = await createTestDatabase('empty')
  await direct.pool.query('create table notes (text text)')
  const url = new URL(direct.url)
  proxy = await startChaosProxy({ targetPort: Number(url.port) })
  url.port = String(proxy.port)
  proxied = url.href
  spoilt = open(QUERY_TIMEOUT_MS)
  await sql`select 1`.execute(spoilt.db)
})

/** With one connection, so that what comes next would take the same. */
function open(queryTimeoutMs: number): DatabaseHandle {
  const options = { url: proxied, applicationName: APPLICATION, maxConnections: 1 }
  return openDatabase({ ...options, queryTimeoutMs }, silentLogger)
}

afterEach(async () => {
  await spoilt.close()
  await proxy.stop()
  await direct.drop()
})

/** The error, which must be one that the API answers with 503. */
async function failureOf(work: Promise<unknown>): Promise<unknown> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(isStoreUnavailable(error)).toBe(true)
  return error
}

test('when the server goes without a word, one statement fails and the next has a new connection', async () => {
  proxy.silenceAll()
  await failureOf(sql`select 1`.execute(spoilt.db))
  expect((await sql<{ n: number }>`select 2 as n`.execute(spoilt.db)).rows).toEqual([{ n: 2 }])
})

test('the same within a transaction', async () => {
  const failed = spoilt.db.transaction().execute(async (tx) => {
    proxy.silenceAll()
    await sql`insert into notes values ('lost')`.execute(tx)
  })
  await failureOf(failed)
  await spoilt.db.transaction().execute((tx) => sql`insert into notes values ('kept')`.execute(tx))
  const { rows } = await direct.pool.query('select text from notes')
  expect(rows).toEqual([{ text: 'kept' }])
})

test('what follows a transaction whose begin came late is committed', async () => {
  proxy.mode({ latencyMs: QUERY_TIMEOUT_MS })
  await failureOf(spoilt.db.transaction().execute((tx) => sql`select 1`.execute(tx)))
  proxy.mode('pass')
  await sleep(QUERY_TIMEOUT_MS)
  await sql`insert into notes values ('kept')`.execute(spoilt.db)
  const { rows } = await direct.pool.query('select text from notes')
  expect(rows).toEqual([{ text: 'kept' }])
})

test('what nobody waits for any more keeps no backend: not a slow statement, not one that waits for a lock', async () => {
  const holder = await direct.pool.connect()
  await holder.query('begin; select pg_advisory_xact_lock(1)')
  await spoilt.close()
  spoilt = open(400)
  for (const statement of [sql`select pg_sleep(60)`, sql`select pg_advisory_xact_lock(1)`]) {
    for (let round = 0; round < 4; round += 1) await failureOf(statement.execute(spoilt.db))
  }
  await waitFor(async () => (await countBackends()) <= 1, {
    timeoutMs: 15_000,
    what: 'the backends to end',
  })
  holder.release(true)
})

/** Of the pool with one connection. */
async function countBackends(): Promise<number> {
  const { rows } = await direct.pool.query<{ n: number }>(
    'select count(*)::int as n from pg_stat_activity where application_name = $1',
    [APPLICATION],
  )
  return rows[0]?.n ?? Number.NaN
}
