import { silentLogger } from '@switchhook/core/log'
import { createMetrics } from '@switchhook/core/metrics'
import { openQueues } from '@switchhook/core/queue'
import { createSpool } from '@switchhook/core/spool'
import { waitFor } from '@switchhook/testing/wait-for'
import { Registry } from 'prom-client'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { startUpkeep } from '../src/upkeep.ts'
import { openTestStores, type TestStores } from './test-stores.ts'

let stores: TestStores

beforeAll(async () => {
  stores = await openTestStores()
  await stores.pool.query(`insert into organizations (id, name) values ('org_a', 'A')`)
  await stores.pool.query(
    `insert into destinations (id, organization_id, name, url, format, event_types, success_rule, timeout_ms,
       max_attempts, delays_seconds, jitter, max_concurrency, status, secret)
     select 'dst_' || n, 'org_a', 'd', 'https://example.com', 'burki', '{*}', '2xx', 1000, 1, '{}', false, 1, 'active', 's'
       from generate_series(1, 2) n`,
  )
})
afterAll(() => stores.close())

/** `days`: how long ago it was begun, and ended. */
async function insertWork(id: string, days: number, isRunning: boolean): Promise<void> {
  const values = [id, days, isRunning ? 'running' : 'finished', isRunning ? null : days]
  await stores.pool.query(
    `insert into replays (id, organization_id, destination_id, since, until, states, rate_per_second, state, total,
       paced_at, requested_by, created_at, finished_at)
     values ('rpl_' || $1, 'org_a', 'dst_1', now(), now(), '{given_up}', 1, $3, 0, now(), 'key',
             now() - make_interval(days => $2), now() - make_interval(days => $4))`,
    values,
  )
  await stores.pool.query(
    `insert into erasures (id, organization_id, phone_number, state, phase, requested_by, created_at, finished_at)
     values ('era_' || $1, 'org_a', $1, $3, 'calls', 'key',
             now() - make_interval(days => $2), now() - make_interval(days => $4))`,
    values,
  )
}

async function findIds(): Promise<string[]> {
  const { rows } = await stores.pool.query(
    'select id from replays union all select id from erasures order by id',
  )
  return rows.map(({ id }) => id)
}

it('replays and erasures that ended before the retention are forgotten, those that still run are not', async () => {
  await insertWork('old', 31, false)
  await insertWork('young', 29, false)
  await insertWork('long', 90, true)
  const queues = openQueues(stores.connection, 1, silentLogger)
  const stop = startUpkeep({
    ...{ pool: stores.pool, queues, spool: createSpool(stores.connection, 100) },
    ...{ nowMs: Date.now, everyMs: 50, requeueAfterMs: 60_000, retentionDays: 30 },
    ...{ metrics: createMetrics(new Registry()), log: silentLogger },
    findDestination: async () => undefined,
  })
  onTestFinished(async () => {
    await stop()
    await queues.close()
  })
  const isOver = async () => (await findIds()).length <= 4
  await waitFor(isOver, { timeoutMs: 20_000, everyMs: 50, what: 'the old ones to go' })
  expect(await findIds()).toEqual(['era_long', 'era_young', 'rpl_long', 'rpl_young'])
})
