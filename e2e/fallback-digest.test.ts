import type { SinkMail } from '@switchhook/testing/smtp-sink'
import { waitFor } from '@switchhook/testing/wait-for'
import { request } from 'undici'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence, type Evidence, eventIdsOf } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

/** All that is to share a digest fails within it, though workers are killed and the machine is slow. */
const WINDOW_MS = 30_000
const TIMEOUT_MS = 100_000
const EXHAUSTED = 45
const SINGLE_MAILS = 20

vi.setConfig({ testTimeout: 300_000 })

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct({
    workers: 2,
    // An open circuit holds a delivery back no longer than its window of mails.
    env: {
      ...{ MAIL_DIGEST_WINDOW_MS: String(WINDOW_MS) },
      ...{ CIRCUIT_FIRST_PAUSE_MS: '100', CIRCUIT_MAX_PAUSE_MS: '100' },
    },
  })
  tenant = await createTenant(product)
})
afterEach(() => product.smtp.mode('accept'))
afterAll(async () => {
  await product?.stop()
})

const mailsTo = (address: string): SinkMail[] =>
  product.smtp.mails.filter(({ envelopeTo }) => envelopeTo.includes(address))
const isDigest = ({ messageId }: SinkMail): boolean => messageId?.startsWith('<dig_') === true

async function addFailing(path: string, fallbackEmail: string): Promise<Line> {
  const line = await tenant.addLine({ path, fallbackEmail, maxAttempts: 1 })
  product.receiver.on(path, { kind: 'answer', status: 500 })
  return line
}

/** Many messages whose one attempt fails. */
async function exhaust(evidence: Evidence, line: Line, count = EXHAUSTED): Promise<void> {
  for (let sent = 0; sent < count; sent += 10) {
    await Promise.all(Array.from({ length: Math.min(10, count - sent) }, () => evidence.send(line)))
  }
}

/** Every event in one mail or one line of one digest; a mail that came twice is the same mail. */
function namesEachOnce(mails: readonly SinkMail[], evidence: Evidence): void {
  const distinct = new Map(mails.map((mail) => [mail.messageId, mail]))
  const named = [...distinct.values()].flatMap(eventIdsOf)
  expect(named).toHaveLength(evidence.acked.size)
  expect(new Set(named)).toEqual(evidence.acked)
}

async function deliveriesTo(line: Line, state: string): Promise<ApiDelivery[]> {
  const query = `destination=${line.destinationId}&state=${state}`
  return await tenant.api.list<ApiDelivery>(`/api/v1/deliveries?${query}`)
}

/** The public page of the link, by way of an ingress of the fleet. */
async function useLink(mail: SinkMail | undefined, method: 'GET' | 'POST') {
  const path = /https:\/\/hooks\.switchhook\.example(\/replay\/\S+)/.exec(mail?.text ?? '')?.[1]
  const response = await request(`${product.ingress().url}${path}`, { method })
  return { status: response.statusCode, text: await response.body.text() }
}

test('of many deliveries that fail together twenty are mailed at once and the others share one digest, whose link sends them again', async () => {
  const address = 'many@example.com'
  const line = await addFailing('/many', address)
  const evidence = createEvidence(product, tenant)
  await exhaust(evidence, line)
  await evidence.waitUntilSettled(TIMEOUT_MS)

  const mails = mailsTo(address)
  const digests = mails.filter(isDigest)
  expect(mails.length - digests.length).toBe(SINGLE_MAILS)
  expect(digests).toHaveLength(1)
  expect(digests[0]?.subject).toContain(`${EXHAUSTED - SINGLE_MAILS} deliveries`)
  namesEachOnce(mails, evidence)
  expect(await deliveriesTo(line, 'emailed')).toHaveLength(EXHAUSTED)
  await evidence.check()

  // The destination is back: the links of both kinds of mail.
  product.receiver.on(line.path, { kind: 'answer', status: 200 })
  const single = mails.find((mail) => !isDigest(mail))
  for (const mail of [single, digests[0]]) expect((await useLink(mail, 'GET')).status).toBe(200)
  expect(await deliveriesTo(line, 'delivered')).toEqual([])
  for (const mail of [single, digests[0]]) {
    expect(await useLink(mail, 'POST')).toMatchObject({ status: 200 })
    expect((await useLink(mail, 'POST')).status).toBe(410)
  }
  const expected = EXHAUSTED - SINGLE_MAILS + 1
  await waitFor(async () => (await deliveriesTo(line, 'delivered')).length === expected, {
    timeoutMs: TIMEOUT_MS,
    everyMs: 500,
    what: 'what the links sent again',
  })
  const again = await deliveriesTo(line, 'delivered')
  expect(again.every(({ event_id }) => evidence.acked.has(event_id))).toBe(true)
})

/** Ends a worker as a crash does, and starts another. */
async function crash(): Promise<void> {
  const victim = product.worker()
  await product.startWorker()
  victim.kill('SIGKILL')
  await victim.exited
}

test('workers killed while mails and a digest are on their way lose none, and mail none twice but under its own Message-ID', async () => {
  const address = 'killed@example.com'
  const line = await addFailing('/digest-killed', address)
  const evidence = createEvidence(product, tenant)
  const sending = exhaust(evidence, line)
  // Between a mail and its record, in a claim, in an attempt: wherever they are when a few more mails are out.
  for (const mails of [3, 8, 14]) {
    await waitFor(() => mailsTo(address).length >= mails, {
      ...{ timeoutMs: TIMEOUT_MS, everyMs: 5, what: `${mails} mails` },
    })
    await crash()
  }
  await sending
  await waitFor(() => mailsTo(address).length >= SINGLE_MAILS, {
    ...{ timeoutMs: TIMEOUT_MS, what: 'the single mails' },
  })
  product.smtp.mode('hang')
  const isBeingSent = async () => {
    const { rows } = await product.database.pool.query(
      `select from mail_digests where recipient = $1 and state = 'sending'`,
      [address],
    )
    return rows.length > 0
  }
  await waitFor(isBeingSent, { timeoutMs: TIMEOUT_MS, what: 'the digest to be on its way' })
  await crash()
  await crash()
  product.smtp.mode('accept')
  await evidence.waitUntilSettled(TIMEOUT_MS)

  const mails = mailsTo(address)
  namesEachOnce(mails, evidence)
  expect(new Set(mails.filter(isDigest).map(({ messageId }) => messageId)).size).toBe(1)
  expect(await deliveriesTo(line, 'emailed')).toHaveLength(EXHAUSTED)
})

test('a digest that the mail server puts off is sent later, once, and until then its deliveries are pending', async () => {
  const address = 'later@example.com'
  const line = await addFailing('/digest-later', address)
  const evidence = createEvidence(product, tenant)
  await exhaust(evidence, line, SINGLE_MAILS + 5)
  await waitFor(() => mailsTo(address).length === SINGLE_MAILS, {
    timeoutMs: TIMEOUT_MS,
    what: 'the single mails',
  })
  product.smtp.mode({ rejectCode: 421, text: 'busy' })
  // Other digests failed before.
  const printed = product.lines.length
  const isPutOff = () =>
    product.lines
      .slice(printed)
      .some(({ text }) => /fallback\.failed.*dig_|dig_.*fallback\.failed/.test(text))
  await waitFor(isPutOff, { timeoutMs: TIMEOUT_MS, what: 'the digest to be put off' })
  expect(await deliveriesTo(line, 'pending')).toHaveLength(5)
  product.smtp.mode('accept')
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(mailsTo(address).filter(isDigest)).toHaveLength(1)
  namesEachOnce(mailsTo(address), evidence)
  await evidence.check()
})
