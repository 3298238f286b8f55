import { silentLogger } from '@switchhook/core/log'
import { listAudit } from '@switchhook/core/store/audit-logs'
import { type DatabaseHandle, openDatabase } from '@switchhook/core/store/database'
import type { OwnerNotice } from '@switchhook/core/store/failing-destinations'
import { migrate } from '@switchhook/core/store/migrate'
import { ensurePartitions } from '@switchhook/core/store/partitions'
import { createIsolatedDatabase } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest'
import { type Disabling, startDisabling } from '../src/disable-destination.ts'

const HOUR_MS = 3_600_000
const TIMEOUT = { timeoutMs: 30_000, everyMs: 20 }

// Five days are 121 failures, each written down before the next.
vi.setConfig({ testTimeout: 120_000 })

let database: DatabaseHandle
let isolated: Awaited<ReturnType<typeof createIsolatedDatabase>>
/** Every worker's clock. */
let clockMs = Date.now()
let announced = 0
const told: OwnerNotice[] = []
let isMailServerUp = true

beforeAll(async () => {
  isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const options = { url: isolated.url, applicationName: 'test', maxConnections: 6 }
  database = openDatabase({ ...options, queryTimeoutMs: 30_000 }, silentLogger)
  await migrate(database)
  await database.pool.query(`insert into organizations (id, name) values ('org_a', 'A')`)
  await ensurePartitions(database.pool, Date.now())
})
beforeEach(async () => {
  clockMs = Date.now()
  announced = 0
  told.length = 0
  isMailServerUp = true
  await database.pool.query('truncate destination_failures, destination_notices, deliveries')
  await database.pool.query('delete from destinations')
  await database.pool.query('delete from audit_logs')
  await database.pool.query(
    `insert into destinations (id, organization_id, name, url, format, event_types, success_rule, timeout_ms,
       max_attempts, delays_seconds, jitter, max_concurrency, status, secret, fallback_email)
     values ('dst_a', 'org_a', 'A', 'https://a.example/', 'burki', '{*}', '2xx', 1000, 1, '{}', false, 1, 'active',
             'sealed', 'owner@a.example')`,
  )
})
afterAll(async () => {
  await database.close()
  await isolated.drop()
})

function startWorker(): Disabling {
  const disabling = startDisabling({
    database,
    nowMs: () => clockMs,
    everyMs: 20,
    announce: async () => {
      announced += 1
    },
    tellOwner: async (notice) => {
      if (isMailServerUp) told.push(notice)
      return isMailServerUp
    },
    log: silentLogger,
  })
  onTestFinished(() => disabling.stop())
  return disabling
}

async function statusOf(id = 'dst_a'): Promise<Record<string, unknown>> {
  const { rows } = await database.pool.query('select * from destinations where id = $1', [id])
  return rows[0]
}

/** Attempts at the destination every hour, all failing, while the workers' clock runs on. */
async function failFor(worker: Disabling, hours: number): Promise<void> {
  for (let hour = 0; hour < hours; hour += 1) {
    clockMs += HOUR_MS + 1
    worker.noteOutcome('dst_a', false)
    await waitFor(
      async () => {
        const { rows } = await database.pool.query(
          'select last_failed_at from destination_failures',
        )
        return rows[0]?.last_failed_at.getTime() === clockMs
      },
      { ...TIMEOUT, what: 'the failure to be written down' },
    )
  }
}

/** What the audit log tells of it. */
async function findAudited() {
  const page = { limit: 10, offset: 0 }
  const { logs } = await listAudit(database.db, 'org_a', { resourceId: 'dst_a' }, page)
  return logs.map(({ eventType, apiKeyNumber, resourceName, details, oldValues, newValues }) => ({
    ...{ eventType, apiKeyNumber, resourceName, details, oldValues, newValues },
  }))
}

const auditedFor = (reason: unknown) => ({
  ...{ eventType: 'destination.disabled', apiKeyNumber: null, resourceName: 'A' },
  ...{ details: { actor: 'system', reason } },
  ...{ oldValues: { status: 'active' }, newValues: { status: 'disabled' } },
})

const kinds = () => told.map(({ kind }) => kind)

describe('a destination from which nothing but failure comes', () => {
  it('is disabled after five days, and its owner told after one, four and five', async () => {
    const worker = startWorker()
    startWorker() // a second one: nobody is told twice
    await failFor(worker, 24)
    expect(kinds()).toEqual([])
    await failFor(worker, 2)
    await waitFor(() => told.length === 1, { ...TIMEOUT, what: 'the first warning' })
    await failFor(worker, 71)
    await waitFor(() => told.length === 2, { ...TIMEOUT, what: 'the second warning' })
    expect(kinds()).toEqual(['failing', 'failing'])
    expect(await statusOf()).toMatchObject({ status: 'active' })
    await failFor(worker, 24)
    await waitFor(() => told.length === 3, { ...TIMEOUT, what: 'the disabling' })
    expect(told[2]).toMatchObject({
      kind: 'disabled',
      destinationId: 'dst_a',
      fallbackEmail: 'owner@a.example',
      reason: expect.stringMatching(/^Nothing but failure came from it since 20/),
    })
    expect(await statusOf()).toMatchObject({
      status: 'disabled',
      disabled_reason: told[2]?.reason,
      disabled_at: expect.any(Date),
    })
    expect(await findAudited()).toEqual([auditedFor(told[2]?.reason)])
    expect(announced).toBe(1)
  })

  it('starts anew with one success, also when another worker saw it', async () => {
    const [one, other] = [startWorker(), startWorker()]
    await failFor(one, 30)
    await waitFor(() => told.length === 1, { ...TIMEOUT, what: 'the first warning' })
    other.noteOutcome('dst_a', true)
    const isForgotten = async () => {
      const { rows } = await database.pool.query('select * from destination_failures')
      return rows.length === 0
    }
    await waitFor(isForgotten, { ...TIMEOUT, what: 'the failures to be forgotten' })
    await failFor(one, 20)
    expect(kinds()).toEqual(['failing'])
  })

  it('is believed to have succeeded when only its deliveries know of it', async () => {
    const worker = startWorker()
    await failFor(worker, 20)
    await database.pool.query(
      `insert into deliveries (id, created_at, event_id, event_received_at, organization_id, destination_id, event_type,
         state, attempts, due_at, updated_at)
       values ('dlv_a', now(), 'evt_a', now(), 'org_a', 'dst_a', 'sms_received', 'delivered', 1, now(), $1)`,
      [new Date(clockMs)],
    )
    await failFor(worker, 4)
    clockMs += 2 * HOUR_MS
    const isForgotten = async () => {
      const { rows } = await database.pool.query('select * from destination_failures')
      return rows.length === 0
    }
    await waitFor(isForgotten, { ...TIMEOUT, what: 'the failures to be forgotten' })
    expect(kinds()).toEqual([])
  })

  it('starts anew after two days in which nothing was sent to it', async () => {
    const worker = startWorker()
    await failFor(worker, 30)
    await waitFor(() => told.length === 1, { ...TIMEOUT, what: 'the first warning' })
    clockMs += 49 * HOUR_MS
    await failFor(worker, 1)
    const { rows } = await database.pool.query('select * from destination_failures')
    expect(rows).toMatchObject([{ failing_since: new Date(clockMs), warnings: 0 }])
  })
})

describe('a destination that answers 410', () => {
  it('is disabled at once, once, and its owner told as soon as mail goes out', async () => {
    isMailServerUp = false
    const [one, other] = [startWorker(), startWorker()]
    const gone = { id: 'dst_a', url: 'https://a.example/' }
    await Promise.all([one.disableGone(gone), other.disableGone(gone), one.disableGone(gone)])
    expect(await statusOf()).toMatchObject({
      status: 'disabled',
      disabled_reason: 'It answered 410 Gone.',
    })
    expect(announced).toBe(1)
    isMailServerUp = true
    await waitFor(() => told.length > 0, { ...TIMEOUT, what: 'the mail' })
    expect(told).toMatchObject([{ kind: 'disabled', reason: 'It answered 410 Gone.' }])
    const { rows } = await database.pool.query('select * from destination_notices')
    expect(rows).toHaveLength(1)
    expect(await findAudited()).toEqual([auditedFor('It answered 410 Gone.')])
  })

  it('stays as it is when its owner has given it another URL meanwhile', async () => {
    const worker = startWorker()
    await worker.disableGone({ id: 'dst_a', url: 'https://before.example/' })
    expect(await statusOf()).toMatchObject({ status: 'active', disabled_reason: null })
    expect(await findAudited()).toEqual([])
    expect(announced).toBe(0)
  })
})
