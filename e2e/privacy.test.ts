import { randomBytes } from 'node:crypto'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createEvidence, newMessageSid } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 60_000
const plant = (what: string): string => `${what}-${randomBytes(8).toString('hex')}`
const PERSON = '+61491570156'
const OTHER = '+61491570157'
const TEXT = plant('text-of-person')
const OTHER_TEXT = plant('text-of-other')
const ANSWER = plant('answer-about-person')

type Erasure = {
  readonly id: string
  readonly state: 'running' | 'finished' | 'failed'
  readonly phase: string
  readonly events_erased: number
  readonly deliveries_cancelled: number
  readonly attempts_erased: number
}

let product: Product
let tenant: Tenant
let good: Line
let failing: Line
let waiting: Line

beforeAll(async () => {
  product = await startProduct({ workers: 2, env: { LOG_LEVEL: 'debug' } })
  tenant = await createTenant(product)
  good = await tenant.addLine({ path: '/good' })
  failing = await tenant.addLine({ path: '/failing', maxAttempts: 1 })
  waiting = await tenant.addLine({ path: '/waiting', maxAttempts: 3, delaysSeconds: [600, 600] })
  product.receiver.on('/good', { kind: 'answer', status: 200, body: `${ANSWER} ${PERSON}` })
  product.receiver.on('/failing', { kind: 'answer', status: 500 })
  product.receiver.on('/waiting', { kind: 'answer', status: 500 })
})

afterAll(async () => {
  await product?.stop()
})

/** Tables whose rows hold the text, also in a bytea, which Postgres prints in hex. */
async function tablesWith(text: string): Promise<string[]> {
  const { pool } = product.database
  const { rows } = await pool.query<{ name: string }>(
    `select quote_ident(relname) as name from pg_class
      where relnamespace = 'public'::regnamespace and relkind = 'r'`,
  )
  const hex = Buffer.from(text).toString('hex')
  const found: string[] = []
  for (const { name } of rows) {
    const sql = `select 1 from ${name} as t where t::text like $1 or t::text like $2 limit 1`
    if ((await pool.query(sql, [`%${text}%`, `%${hex}%`])).rows.length > 0) found.push(name)
  }
  return found.map((name) => name.replace(/_\d{8}$/, '')).sort()
}

/** Jobs in Redis, in whatever lane and state. */
async function countJobs(): Promise<number> {
  const counts = [...(await product.queues.counts()).values()]
  return counts.reduce((sum, one) => sum + one.waiting + one.active + one.delayed, 0)
}

/** An attempt is in the log before its job has ended. */
function waitForJobs(howMany: number): Promise<unknown> {
  return waitFor(async () => (await countJobs()) === howMany, {
    ...{ timeoutMs: TIMEOUT_MS, everyMs: 50, what: `${howMany} jobs` },
  })
}

async function send(line: Line, from: string, body: string): Promise<string> {
  const evidence = createEvidence(product, tenant)
  const messageSid = newMessageSid()
  return (await evidence.send(line, { messageSid, from, body })).eventId
}

function waitForAttempt(eventId: string): Promise<unknown> {
  return waitFor(
    async () => {
      const { rows } = await product.database.pool.query(
        'select 1 from webhook_logs where event_id = $1',
        [eventId],
      )
      return rows.length > 0
    },
    { timeoutMs: TIMEOUT_MS, what: 'the attempt to be logged' },
  )
}

const erase = (phoneNumber: string) =>
  tenant.api.call<Erasure>('POST', '/api/v1/privacy/erase', { phone_number: phoneNumber })
const show = (id: string) => tenant.api.call<Erasure>('GET', `/api/v1/privacy/erasures/${id}`)

function waitUntilFinished(id: string): Promise<unknown> {
  return waitFor(async () => (await show(id)).state === 'finished', {
    ...{ timeoutMs: TIMEOUT_MS, everyMs: 50, what: 'the erasure to be finished' },
  })
}

test('one person is erased everywhere, also from what waits, and everybody else stays', async () => {
  const theirs: string[] = []
  for (const line of [good, failing, waiting]) theirs.push(await send(line, PERSON, TEXT))
  const others: string[] = []
  for (const line of [good, waiting]) others.push(await send(line, OTHER, OTHER_TEXT))
  for (const eventId of [...theirs, ...others]) await waitForAttempt(eventId)
  const digits = PERSON.slice(1)
  // The controls: the search finds them, and their delivery waits in Redis.
  expect((await tablesWith(TEXT)).join()).toMatch(/events.*webhook_logs/)
  expect((await tablesWith(digits)).join()).toMatch(/events.*webhook_logs/)
  await waitForJobs(2)
  const otherTables = await tablesWith(OTHER.slice(1))

  const { id } = await erase(PERSON)
  await waitUntilFinished(id)
  const erased = await show(id)
  expect(erased).toMatchObject({ events_erased: 3, deliveries_cancelled: 1 })
  expect(erased.attempts_erased).toBeGreaterThanOrEqual(3)
  for (const text of [digits, TEXT]) expect([text, await tablesWith(text)]).toEqual([text, []])
  expect(await tablesWith(OTHER.slice(1))).toEqual(otherTables)
  expect((await tablesWith(OTHER_TEXT)).join()).toMatch(/events.*webhook_logs/)
  await waitForJobs(1)

  for (const eventId of theirs) {
    expect(await tenant.api.call('GET', `/api/v1/events/${eventId}`)).toMatchObject({
      ...{ peer_number: null, payload: '', erased_at: expect.any(String) },
    })
  }
  const messages = await tenant.api.call<{ items: { from_number: string }[] }>(
    'GET',
    '/api/v1/sms-logs/',
  )
  expect(messages.items.map(({ from_number }) => from_number)).toEqual([OTHER, OTHER])
})

test('an erasure goes on when the workers are killed in the middle of it', async () => {
  const person = '+61491570158'
  // More than one page of what is gone through.
  await product.database.pool.query(
    `insert into events (id, received_at, organization_id, provider, type, phone_number, peer_number, content_type,
       payload, delivery_count)
     select 'evt_many' || n, date_trunc('milliseconds', now()) - interval '1 minute', $1, 'twilio', 'sms_received',
            $2, $3, 'application/x-www-form-urlencoded', convert_to('From=' || $3 || repeat('x', 2000), 'UTF8'), 0
       from generate_series(1, 8000) n`,
    [tenant.organizationId, good.phoneNumber, person],
  )
  // It cannot get past the last of them before the workers are dead.
  const holder = await product.database.pool.connect()
  await holder.query('begin')
  await holder.query(`select from events where id = 'evt_many999' for update`)
  const { id } = await erase(person)
  await waitFor(async () => (await show(id)).events_erased > 0, {
    ...{ timeoutMs: TIMEOUT_MS, everyMs: 10, what: 'the erasure to have begun' },
  })
  const killed = [...product.workers]
  for (const worker of killed) worker.kill('SIGKILL')
  await Promise.all(killed.map((worker) => worker.exited))
  const before = await show(id)
  expect(before).toMatchObject({ state: 'running', phase: 'events' })
  expect(before.events_erased).toBeLessThan(8_000)
  await holder.query('rollback')
  holder.release()
  expect((await tablesWith(person.slice(1))).join()).toMatch(/events/)

  const worker = await product.startWorker()
  await worker.waitUntilReady()
  await waitUntilFinished(id)
  expect(await show(id)).toMatchObject({ events_erased: 8_000 })
  expect(await tablesWith(person.slice(1))).toEqual([])
})

test('no line of any process holds a number or a text, not even while they are erased or sent again', async () => {
  const eventId = await send(failing, OTHER, OTHER_TEXT)
  await waitForAttempt(eventId)
  const path = `/api/v1/destinations/${failing.destinationId}/replay`
  const { id } = await tenant.api.call<{ id: string }>('POST', path, {
    ...{ since: '2020-01-01T00:00:00Z', states: ['given_up'] },
  })
  await waitFor(
    async () =>
      (await tenant.api.call<Erasure>('GET', `/api/v1/replays/${id}`)).state === 'finished',
    { timeoutMs: TIMEOUT_MS, everyMs: 100, what: 'the replay to be finished' },
  )
  const refused = await tenant.api.send('POST', '/api/v1/privacy/erase', { phone_number: 'nobody' })
  const own = await tenant.api.send('POST', '/api/v1/privacy/erase', {
    phone_number: good.phoneNumber,
  })
  expect([refused.status, own.status]).toEqual([422, 409])

  for (const message of ['erasure.finished', 'replay.ended', 'delivery.attempted']) {
    await waitFor(() => product.lines.some(({ text }) => text.includes(`"${message}"`)), {
      ...{ timeoutMs: TIMEOUT_MS, what: `a line ${message}` },
    })
  }
  const lines = product.lines.map(({ text }) => text)
  const planted = [PERSON, OTHER, '+61491570158', good.phoneNumber, failing.phoneNumber]
    .map((number) => number.slice(1))
    .concat(TEXT, OTHER_TEXT, ANSWER)
  const found = lines.filter((line) => planted.some((text) => line.includes(text)))
  expect(found).toEqual([])
})
