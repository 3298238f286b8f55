import { once } from 'node:events'
import { connect } from 'node:net'
import type { Behaviour } from '@switchhook/testing/behaviour'
import { startChaosProxy } from '@switchhook/testing/chaos-proxy'
import type { SinkMail } from '@switchhook/testing/smtp-sink'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import type { AppProcess } from './support/app-process.ts'
import { createEvidence } from './support/evidence.ts'
import { createFanOut, isSettled } from './support/fan-out.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const FAILS: Behaviour = { kind: 'answer', status: 500 }
/** A mail is tried again after 5 s; a lost worker is noticed after as many. */
const TIMEOUT_MS = 60_000

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct()
  tenant = await createTenant(product)
})

afterEach(() => product.smtp.mode('accept'))

afterAll(async () => {
  await product?.stop()
})

function addLine(path: string, fallbackEmail: string, behaviour = FAILS): Promise<Line> {
  product.receiver.on(path, behaviour)
  return tenant.addLine({ path, fallbackEmail, maxAttempts: 1 })
}

const mailsTo = (address: string): SinkMail[] =>
  product.smtp.mails.filter(({ envelopeTo }) => envelopeTo.includes(address))

async function stateOf({ destinationId }: Line): Promise<string | undefined> {
  const path = `/api/v1/deliveries?destination=${destinationId}`
  return (await tenant.api.list<ApiDelivery>(path))[0]?.state
}

/** One that has no connection to a mail server yet, and reads everything anew. */
async function replaceWorker(env: Readonly<Record<string, string>> = {}): Promise<AppProcess> {
  const [old] = product.workers
  const fresh = await product.startWorker(env)
  await fresh.waitUntilReady()
  await old?.stop()
  return fresh
}

function waitUntil(condition: () => unknown, what: string): Promise<unknown> {
  return waitFor(condition, { timeoutMs: TIMEOUT_MS, everyMs: 50, what })
}

test('a mail whose 250 is cut off on the way comes again, and is the same mail (F4)', async () => {
  const address = 'cut@example.com'
  const line = await addLine('/cut', address)
  product.smtp.mode('cut_after_data')
  const evidence = createEvidence(product, tenant)
  await evidence.send(line)
  // Positive control: it has arrived, and its sender cannot know.
  await waitUntil(() => mailsTo(address).length === 1, 'the mail')
  expect(await stateOf(line)).toBe('pending')
  product.smtp.mode('accept')
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(await stateOf(line)).toBe('emailed')
  const ids = mailsTo(address).map(({ messageId }) => messageId)
  expect(ids).toHaveLength(2)
  expect(new Set(ids).size).toBe(1)
}, 180_000)

test('a mail server that says nothing is left after ten seconds, holds no delivery up, and is tried again (F5)', async () => {
  const address = 'silent@example.com'
  const line = await addLine('/silent', address)
  const healthy = await tenant.addLine({ path: '/healthy' })
  await replaceWorker()
  product.smtp.mode('hang')
  const patient = connect(product.smtp.port, '127.0.0.1')
  let heard = 0
  patient.on('data', ({ length }) => {
    heard += length
  })
  await once(patient, 'connect')
  const evidence = createEvidence(product, tenant)
  try {
    const hadFailed = failures().length
    await evidence.send(line)
    await evidence.send(healthy)
    await product.receiver.waitFor(({ path }) => path === healthy.path, { timeoutMs: 8_000 })
    await waitUntil(() => failures().length > hadFailed, 'the mail to have failed')
    // Positive control: whoever is patient is still there, and has heard nothing.
    expect([heard, patient.destroyed]).toEqual([0, false])
    expect(await stateOf(line)).toBe('pending')
  } finally {
    patient.destroy()
  }
  product.smtp.mode('accept')
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(await stateOf(line)).toBe('emailed')
  expect(mailsTo(address)).toHaveLength(1)
}, 180_000)

const failures = () => product.lines.filter(({ text }) => text.includes('fallback.failed'))

const LISTS = [
  'a@b.example, evil@z.example',
  'group: a@b.example, evil@z.example;',
  'a@b.example\r\nBcc: evil@z.example',
  '"x, evil@z.example" <a@b.example>',
]

test('an address, a message or a name from outside adds no recipient and no header, and names no file (F7)', async () => {
  for (const address of LISTS) {
    const body = { url: `${product.receiver.url}/x`, fallback_email: address }
    const answer = await tenant.api.send('POST', '/api/v1/destinations', body)
    expect([address, answer.status]).toEqual([address, 422])
  }
  const paths = [...LISTS, 'good'].map((_, index) => `/lists/${index}`)
  product.receiver.on('/lists', FAILS)
  const fallbackEmail = 'alone@example.com'
  const { lines, meet } = await createFanOut(
    product,
    tenant,
    paths.map((path) => ({ path, fallbackEmail, maxAttempts: 1 })),
  )
  // As if they had been taken when they were set: past the check of the API.
  for (const [index, address] of LISTS.entries()) {
    await product.database.pool.query('update destinations set fallback_email = $2 where id = $1', [
      lines[index]?.destinationId,
      address,
    ])
  }
  await replaceWorker()

  const before = product.smtp.mails.length
  const body = 'Hi\r\nBcc: evil@z.example\r\n\r\n{"path":"/etc/hostname"}'
  const from = '+61400000001'
  const deliveries = await meet(isSettled, TIMEOUT_MS, { body, from })
  expect(deliveries.at(-1)?.state).toBe('emailed')
  const mails = product.smtp.mails.slice(before)
  const evil = ({ envelopeTo }: SinkMail) => envelopeTo.some((to) => to.includes('evil'))
  expect(mails.filter(evil)).toEqual([])
  for (const { envelopeTo, headers, attachments, text } of mails) {
    expect(envelopeTo).toHaveLength(1)
    expect(headers.has('bcc') || headers.has('cc')).toBe(false)
    expect(attachments.map(({ filename }) => filename)).toEqual(['payload.json'])
    expect(text).toContain('{"path":"/etc/hostname"}')
  }
  expect(mailsTo(fallbackEmail)).toHaveLength(1)

  // Positive control: the sink takes a mail to whom it must not go.
  const line = await addLine('/evil', 'evil@z.example')
  await createEvidence(product, tenant).send(line)
  await waitUntil(() => product.smtp.mails.some(evil), 'a mail that was meant')
}, 180_000)

test('a worker killed between the record of the last attempt and the job of its mail: the mail goes out, once (F10)', async () => {
  const address = 'between@example.com'
  const line = await addLine('/between', address, { ...FAILS, delayMs: 1_500 })
  const redisUrl = new URL(product.redis.url)
  await using proxy = await startChaosProxy({ targetPort: Number(redisUrl.port) })
  redisUrl.port = String(proxy.port)
  const victim = await replaceWorker({ REDIS_URL: redisUrl.href })

  const evidence = createEvidence(product, tenant)
  await evidence.send(line)
  const isIt = ({ path }: { path: string }) => path === line.path
  await product.receiver.waitFor(isIt, { timeoutMs: TIMEOUT_MS })
  // From here on nothing that the worker says reaches Redis; Postgres it reaches.
  proxy.mode('blackhole')
  const isOwed = async () => {
    const { rows } = await product.database.pool.query<{ owed: boolean }>(
      'select fallback_at is not null as owed from deliveries where destination_id = $1',
      [line.destinationId],
    )
    return rows[0]?.owed === true
  }
  await waitUntil(isOwed, 'the mail to be owed')
  victim.kill('SIGKILL')
  await victim.exited
  // Positive control: owed it is, and nobody has it in hand.
  for (const [name, counts] of await product.queues.counts()) {
    if (name.startsWith('fallback'))
      expect(counts).toMatchObject({ waiting: 0, active: 0, delayed: 0 })
  }
  expect(mailsTo(address)).toEqual([])
  expect(await stateOf(line)).toBe('pending')

  await product.startWorker()
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(await stateOf(line)).toBe('emailed')
  expect(mailsTo(address)).toHaveLength(1)
  expect(product.receiver.received.filter(isIt)).toHaveLength(1)
  await evidence.check()
}, 180_000)
