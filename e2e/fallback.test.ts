import type { Behaviour } from '@switchhook/testing/behaviour'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { type SinkMail, startSmtpSink } from '@switchhook/testing/smtp-sink'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import { createEvidence, type Evidence, SENDER } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 40_000
/** The first retry of a mail comes after 5 s, the second after 10 more. */
const MAIL_TIMEOUT_MS = 60_000

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

const FAILS: Behaviour = { kind: 'answer', status: 500 }
const TAKES: Behaviour = { kind: 'answer', status: 200 }

function requestsTo({ path }: Line): ReceivedRequest[] {
  return product.receiver.received.filter((one) => one.path === path)
}

function waitForRequests(line: Line, howMany: number): Promise<unknown> {
  return waitFor(() => requestsTo(line).length >= howMany, {
    timeoutMs: TIMEOUT_MS,
    what: `${howMany} requests to ${line.path}`,
  })
}

function mailsTo(address: string): SinkMail[] {
  return product.smtp.mails.filter(({ envelopeTo }) => envelopeTo.includes(address))
}

async function findDelivery(eventId: string): Promise<ApiDelivery & Record<string, unknown>> {
  const event = await tenant.api.call<{ deliveries: { id: string }[] }>(
    'GET',
    `/api/v1/events/${eventId}`,
  )
  return tenant.api.call('GET', `/api/v1/deliveries/${event.deliveries[0]?.id}`)
}

async function sendAndSettle(line: Line, timeoutMs = TIMEOUT_MS): Promise<[Evidence, string]> {
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await evidence.waitUntilSettled(timeoutMs)
  return [evidence, eventId]
}

test('a destination that answers 500 gets exactly ten attempts, and then exactly one mail with all that the PBX would have got', async () => {
  const fallbackEmail = 'ten@example.com'
  const line = await tenant.addLine({
    ...{ path: '/ten', format: 'pbx', serviceId: 'service-9', fallbackEmail },
  })
  product.receiver.on(line.path, FAILS)
  const evidence = createEvidence(product, tenant)
  const body = 'Call me <b>back</b> & bring 5 €'
  const { eventId, messageSid } = await evidence.send(line, { body })
  await evidence.waitUntilSettled(TIMEOUT_MS)

  expect(requestsTo(line)).toHaveLength(10)
  expect(new Set(requestsTo(line).map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  const delivery = await findDelivery(eventId)
  expect(delivery.state).toBe('emailed')
  expect(delivery.attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  for (const attempt of delivery.attempts) {
    expect(attempt).toMatchObject({ outcome: 'refused', response_status_code: 500 })
  }

  const [mail, ...others] = mailsTo(fallbackEmail)
  expect(others).toEqual([])
  expect(mail?.subject).toContain('sms_received')
  expect(mail?.subject).toContain(line.phoneNumber)
  const facts = {
    service_id: 'service-9',
    from: SENDER,
    sms_number: line.phoneNumber,
    message_id: messageSid,
    webhook_url: line.url,
    webhook_url_fallback: fallbackEmail,
    attempts: '10',
    last_error: 'The destination answered 500.',
  }
  for (const [name, value] of Object.entries(facts)) {
    expect(mail?.text).toContain(`${name}: ${value}`)
  }
  expect(mail?.text).toMatch(/^timestamp: \d{10}$/m)
  expect(mail?.text).toContain(body)
  expect(mail?.html).not.toContain('<b>back</b>')
  expect(mail?.html).toContain('&lt;b&gt;back&lt;/b&gt; &amp; bring')
  expect(mail?.attachments.map(({ filename }) => filename)).toEqual(['payload.json'])
  await evidence.check()
})

test('a mail server that is away when the mail is due gets it when it is back, once', async () => {
  const fallbackEmail = 'away@example.com'
  const line = await tenant.addLine({ path: '/smtp-away', fallbackEmail, maxAttempts: 1 })
  product.receiver.on(line.path, FAILS)
  await using proxied = await startSmtpSink()
  const { port, url } = proxied
  await proxied.stop()
  const first = product.worker()
  const worker = await product.startWorker({ SMTP_URL: url })
  await first.stop()

  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await worker.waitForLine(/fallback\.failed/, TIMEOUT_MS)
  expect(await findDelivery(eventId)).toMatchObject({ state: 'pending' })

  await using sink = await startSmtpSink({ port })
  await evidence.waitUntilSettled(MAIL_TIMEOUT_MS)
  expect(await findDelivery(eventId)).toMatchObject({ state: 'emailed' })
  expect(sink.mails.map(({ envelopeTo }) => envelopeTo)).toEqual([[fallbackEmail]])
  await product.startWorker()
  await worker.stop()
})

test('a mail that is put off with 451 is sent later, once', async () => {
  const fallbackEmail = 'greylisted@example.com'
  const line = await tenant.addLine({ path: '/smtp-451', fallbackEmail, maxAttempts: 1 })
  product.receiver.on(line.path, FAILS)
  product.smtp.mode({ rejectCode: 451, text: 'greylisted, try again' })
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await product.worker().waitForLine(/fallback\.failed/, TIMEOUT_MS)
  product.smtp.mode('accept')
  await evidence.waitUntilSettled(MAIL_TIMEOUT_MS)
  expect(await findDelivery(eventId)).toMatchObject({ state: 'emailed' })
  expect(mailsTo(fallbackEmail)).toHaveLength(1)
  await evidence.check()
})

test('a mail that is refused with 550 is given up at once, and the delivery shows why', async () => {
  const fallbackEmail = 'nobody@example.com'
  const line = await tenant.addLine({ path: '/smtp-550', fallbackEmail, maxAttempts: 1 })
  product.receiver.on(line.path, FAILS)
  product.smtp.mode({ rejectCode: 550, text: 'no such user' })
  const [evidence, eventId] = await sendAndSettle(line)
  const delivery = await findDelivery(eventId)
  expect(delivery.state).toBe('given_up')
  expect(JSON.stringify(delivery)).toContain('550')
  const listed = await tenant.api.list<ApiDelivery>('/api/v1/deliveries?state=given_up')
  expect(listed.map(({ event_id }) => event_id)).toContain(eventId)
  expect(mailsTo(fallbackEmail)).toEqual([])
  await evidence.check()
})

test('without a fallback address an exhausted delivery is given up, visibly and without a mail', async () => {
  const line = await tenant.addLine({ path: '/no-address', maxAttempts: 3 })
  product.receiver.on(line.path, FAILS)
  const mailsBefore = product.smtp.mails.length
  const [evidence, eventId] = await sendAndSettle(line)
  expect(await findDelivery(eventId)).toMatchObject({ state: 'given_up' })
  expect(requestsTo(line)).toHaveLength(3)
  expect(product.smtp.mails).toHaveLength(mailsBefore)
  await evidence.check()
})

test('a delivery that succeeds at its last attempt sends no mail', async () => {
  const fallbackEmail = 'late@example.com'
  const line = await tenant.addLine({ path: '/late', fallbackEmail, maxAttempts: 3 })
  product.receiver.on(line.path, { kind: 'sequence', answers: [FAILS, FAILS, TAKES] })
  const [evidence, eventId] = await sendAndSettle(line)
  expect(await findDelivery(eventId)).toMatchObject({ state: 'delivered' })
  expect(mailsTo(fallbackEmail)).toEqual([])
  await evidence.check()
})

function gapMs(line: Line): number {
  const [first, second] = requestsTo(line)
  return (second?.receivedAtMs ?? 0) - (first?.receivedAtMs ?? 0)
}

test('Retry-After of a 503 is waited for, that of a 500 is not', async () => {
  const asked = await tenant.addLine({ path: '/retry-after/503' })
  const plain = await tenant.addLine({ path: '/retry-after/500' })
  for (const [line, status, retryAfter] of [
    [asked, 503, '2'] as const,
    [plain, 500, '20'] as const,
  ]) {
    const headers = { 'retry-after': retryAfter }
    const answers: Behaviour[] = [{ kind: 'answer', status, headers }, TAKES]
    product.receiver.on(line.path, { kind: 'sequence', answers })
    const [evidence] = await sendAndSettle(line)
    await evidence.check()
  }
  expect(gapMs(asked)).toBeGreaterThanOrEqual(1_990)
  expect(gapMs(plain)).toBeLessThan(10_000)
})

test('a destination that hangs is timed out after its timeout_ms and tried again', async () => {
  const line = await tenant.addLine({ path: '/hangs', timeoutMs: 3_000 })
  product.receiver.on(line.path, { kind: 'sequence', answers: [{ kind: 'hang' }, TAKES] })
  const [evidence, eventId] = await sendAndSettle(line)
  const { state, attempts } = await findDelivery(eventId)
  expect(state).toBe('delivered')
  expect(attempts).toMatchObject([
    {
      ...{ attempt: 1, outcome: 'timed_out', response_status_code: null },
      error_message: 'No complete answer in 3000 ms.',
    },
    { attempt: 2, outcome: 'delivered', response_status_code: 200 },
  ])
  // Of the three seconds, what is left when this process is a second late in hearing of the first.
  expect(gapMs(line)).toBeGreaterThanOrEqual(1_500)
  await evidence.check()
})

test('workers killed in the ninth and in the tenth attempt cost no eleventh and no second mail', async () => {
  const fallbackEmail = 'killed@example.com'
  const line = await tenant.addLine({ path: '/killed', fallbackEmail, timeoutMs: 30_000 })
  const held: Behaviour[] = [{ kind: 'hold' }, { kind: 'hold' }]
  const eight = Array.from({ length: 8 }, () => FAILS)
  product.receiver.on(line.path, { kind: 'sequence', answers: [...eight, ...held, FAILS] })
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  for (const requests of [9, 10]) {
    await waitForRequests(line, requests)
    const worker = product.worker()
    worker.kill('SIGKILL')
    await worker.exited
    await product.startWorker()
  }
  await evidence.waitUntilSettled(60_000)

  expect(requestsTo(line)).toHaveLength(10)
  const { state, attempts } = await findDelivery(eventId)
  expect(state).toBe('emailed')
  expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  expect(attempts.slice(8)).toMatchObject([{ outcome: 'unreachable' }, { outcome: 'unreachable' }])
  expect(mailsTo(fallbackEmail)).toHaveLength(1)
  await evidence.check()
})
