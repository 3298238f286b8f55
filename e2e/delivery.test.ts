import { parse } from 'node:querystring'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { createTwilioSms } from '@switchhook/testing/twilio-simulator'
import { waitFor } from '@switchhook/testing/wait-for'
import { Webhook } from 'standardwebhooks'
import { request } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ApiDelivery } from './support/api.ts'
import {
  createEvidence,
  newMessageSid,
  SENDER,
  SMS_PATH,
  type SmsOptions,
  sendSms,
} from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { sendAgain } from './support/send-again.ts'
import { createTenant, type Line, type Tenant } from './support/tenant.ts'

const TIMEOUT_MS = 40_000

let product: Product
let tenant: Tenant

beforeAll(async () => {
  product = await startProduct()
  tenant = await createTenant(product)
})

afterAll(async () => {
  await product?.stop()
})

function requestsTo({ path }: Line): ReceivedRequest[] {
  return product.receiver.received.filter((one) => one.path === path)
}

function receive({ path }: Line): Promise<ReceivedRequest> {
  return product.receiver.waitFor((one) => one.path === path, { timeoutMs: TIMEOUT_MS })
}

/** Sends one message through the line and returns what its destination got. */
async function deliver(line: Line, options: SmsOptions): Promise<ReceivedRequest> {
  const evidence = createEvidence(product, tenant)
  await evidence.send(line, options)
  const received = await receive(line)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
  expect(requestsTo(line)).toHaveLength(1)
  return received
}

function jsonOf(
  received: ReceivedRequest,
): { data: Record<string, unknown> } & Record<string, unknown> {
  return JSON.parse(received.body.toString('utf8'))
}

test('a message signed by Twilio is answered with empty TwiML and delivered as Burki documents it', async () => {
  const line = await tenant.addLine({ path: '/burki' })
  const evidence = createEvidence(product, tenant)
  const sentAtMs = Date.now()
  const { answer, eventId, messageSid } = await evidence.send(line, { body: 'Hi there' })

  expect(answer.status).toBe(200)
  expect(answer.headers['content-type']).toMatch(/^text\/xml/)
  expect(answer.text).toBe('<?xml version="1.0" encoding="UTF-8"?><Response/>')

  const received = await receive(line)
  expect(received.method).toBe('POST')
  expect(received.headers['content-type']).toBe('application/json')
  expect(received.headers['user-agent']).toBe('Burki-SMS-Webhook/1.0')
  expect(received.headers['webhook-id']).toBe(eventId)
  const body = jsonOf(received)
  expect(body).toEqual({
    type: 'sms_received',
    timestamp: expect.any(String),
    data: {
      message_id: messageSid,
      from: SENDER,
      to: line.phoneNumber,
      body: 'Hi there',
      media_urls: [],
      provider: 'twilio',
    },
  })
  const takenAtMs = Date.parse(String(body.timestamp))
  expect(takenAtMs).toBeGreaterThanOrEqual(sentAtMs - 1_000)
  expect(takenAtMs).toBeLessThanOrEqual(received.receivedAtMs)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  await evidence.check()
})

test('the same message is delivered to a PBX as the form it documents, field for field', async () => {
  const line = await tenant.addLine({
    path: '/pbx',
    format: 'pbx',
    serviceId: 'service-7',
    fallbackEmail: 'pbx@example.com',
  })
  const messageSid = newMessageSid()
  const received = await deliver(line, { messageSid, body: 'two words & more' })

  expect(received.headers['content-type']).toBe('application/x-www-form-urlencoded')
  const form = parse(received.body.toString('utf8'))
  expect({ ...form }).toEqual({
    service_id: 'service-7',
    from: SENDER,
    sms_number: line.phoneNumber,
    body: 'two words & more',
    message_id: messageSid,
    timestamp: expect.stringMatching(/^\d{10}$/),
    webhook_url: line.url,
    webhook_url_fallback: 'pbx@example.com',
  })
})

test('a receiver verifies the signature with the standardwebhooks package, and a changed body fails', async () => {
  const line = await tenant.addLine({ path: '/signed' })
  const received = await deliver(line, {})

  const headers = {
    'webhook-id': String(received.headers['webhook-id']),
    'webhook-timestamp': String(received.headers['webhook-timestamp']),
    'webhook-signature': String(received.headers['webhook-signature']),
  }
  const webhook = new Webhook(line.secret)
  expect(webhook.verify(received.body.toString('utf8'), headers)).toEqual(jsonOf(received))
  expect(() => webhook.verify(`${received.body.toString('utf8')} `, headers)).toThrow()
})

test('every delivery and its attempt can be looked up in the API', async () => {
  const line = await tenant.addLine({ path: '/logged' })
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(line)
  await evidence.waitUntilSettled(TIMEOUT_MS)

  const { deliveries } = await tenant.api.call<{ deliveries: { id: string }[] }>(
    'GET',
    `/api/v1/events/${eventId}`,
  )
  expect(deliveries).toHaveLength(1)
  const delivery = await tenant.api.call<ApiDelivery>(
    'GET',
    `/api/v1/deliveries/${deliveries[0]?.id}`,
  )
  expect(delivery).toMatchObject({
    event_id: eventId,
    destination_id: line.destinationId,
    state: 'delivered',
    attempts: [{ attempt: 1, outcome: 'delivered', response_status_code: 200 }],
  })
  const logs = await tenant.api.list<{ webhook_url: string; request_payload: unknown }>(
    '/api/v1/webhook-logs',
  )
  const [row, ...others] = logs.filter(({ webhook_url }) => webhook_url === line.url)
  expect(others).toEqual([])
  expect(row).toMatchObject({
    webhook_type: 'sms_received',
    response_status_code: 200,
    request_payload: jsonOf(await receive(line)),
  })
})

test('a webhook that comes five times at once, and again after its delivery, is delivered once', async () => {
  const line = await tenant.addLine({ path: '/duplicate' })
  const evidence = createEvidence(product, tenant)
  const messageSid = newMessageSid()
  const same = { messageSid, body: 'only once' }
  await Promise.all(Array.from({ length: 5 }, () => evidence.send(line, same)))
  await evidence.waitUntilSettled(TIMEOUT_MS)
  // More often than all of those at once could be taken for new: one by Postgres and by Redis each, when both are slow.
  for (let again = 0; again < 5; again += 1) {
    const { answer } = await evidence.send(line, same)
    expect(answer.text).toContain('<Response/>')
  }

  // Something sent afterwards has come, so a second delivery would have come too.
  await evidence.send(line)
  await waitFor(() => requestsTo(line).length >= 2, { timeoutMs: TIMEOUT_MS, what: 'the next one' })
  await evidence.waitUntilSettled(TIMEOUT_MS)
  const ids = requestsTo(line).map(({ headers }) => headers['webhook-id'])
  expect(ids.filter((id) => id === tenant.eventIdOf(messageSid))).toHaveLength(1)
  await evidence.check()
  const outcome = 'switchhook_webhooks_received_total{provider="twilio",outcome="duplicate"}'
  expect(await product.ingress().metric(outcome)).toBeGreaterThanOrEqual(5)
})

test('the pictures of an MMS arrive as media_urls, in order', async () => {
  const line = await tenant.addLine({ path: '/mms' })
  const mediaUrls = ['https://api.example.com/media/1', 'https://api.example.com/media/2?a=b&c=d']
  const received = await deliver(line, { mediaUrls, body: '' })
  // Burki knows one kind of incoming message.
  expect(jsonOf(received)).toMatchObject({ type: 'sms_received', data: { media_urls: mediaUrls } })
})

const HOSTILE_BODIES = [
  ['emoji, Arabic and a combining accent', '👋🏽 مرحبا e\u0301 — ß'],
  ['brackets, ampersands and percent signs', 'a[b]=1&c%5B%5D=2 + 100% <b>"quoted"</b>'],
  ['line breaks, a tab and a NUL', 'one\r\ntwo\n\tthree\u0000four'],
  ['sixteen hundred characters', 'x'.repeat(1_600)],
] as const

test.each(HOSTILE_BODIES)('a message with %s arrives unchanged', async (name, body) => {
  const line = await tenant.addLine({ path: `/hostile/${name.length}` })
  expect(jsonOf(await deliver(line, { body })).data.body).toBe(body)
})

test('form fields named __proto__, with brackets or given twice neither break nor change a message', async () => {
  const line = await tenant.addLine({ path: '/fields' })
  const extra = [
    ['__proto__', 'polluted'],
    ['__proto__[polluted]', 'yes'],
    ['constructor', 'x'],
    ['a[b][c]', '1'],
    ['Tag', 'one'],
    ['Tag', 'two'],
    ['Tag', 'one'],
    ['', 'no name'],
    ['Empty', ''],
  ] as const
  const { data } = jsonOf(await deliver(line, { extra, body: 'still me' }))
  expect(data).toMatchObject({ body: 'still me', to: line.phoneNumber })
})

test('a forged webhook is answered 403 and delivered to nobody', async () => {
  const line = await tenant.addLine({ path: '/forged' })
  const wrongToken = { ...tenant, authToken: 'f'.repeat(32) }
  const stranger = { ...tenant, accountSid: `AC${'0'.repeat(32)}` }
  for (const sender of [wrongToken, stranger]) {
    const answer = await sendSms(product, sender, line.phoneNumber)
    expect(answer.status).toBe(403)
    expect(JSON.parse(answer.text)).toEqual({ detail: expect.any(String) })
  }
  // Genuine, but its text was changed on the way.
  const sms = createTwilioSms({ ...tenant, from: SENDER, to: line.phoneNumber, body: 'pay Alice' })
  const changed = await request(product.ingress().url + SMS_PATH, {
    method: 'POST',
    headers: sms.headersFor(product.publicBaseUrl + SMS_PATH),
    body: sms.body.replace('Alice', 'Mallory'),
  })
  expect(changed.statusCode).toBe(403)
  await changed.body.dump()

  const evidence = createEvidence(product, tenant)
  await evidence.send(line, { body: 'genuine' })
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(requestsTo(line).map((one) => jsonOf(one).data.body)).toEqual(['genuine'])
})

test('a genuine message for a number that the tenant does not own is held back and delivered to nobody', async () => {
  const foreign = '+12025550199'
  const other = await createTenant(product)
  const line = await other.addLine({ path: '/foreign' })
  for (const to of [foreign, line.phoneNumber]) {
    const messageSid = newMessageSid()
    const answer = await sendAgain(() => sendSms(product, tenant, to, { messageSid }))
    expect(answer.status).toBe(200)
    const path = `/api/v1/events/${tenant.eventIdOf(messageSid)}`
    for (const { api } of [tenant, other]) expect((await api.send('GET', path)).status).toBe(404)
  }
  const held = (owner: typeof tenant) =>
    owner.api.call<{ items: { reason: string }[] }>('GET', '/api/v1/quarantine')
  const { items } = await held(tenant)
  const foreignOnes = items.filter(({ reason }) => reason === 'unknown_number')
  expect(foreignOnes).toHaveLength(2)
  expect(await held(other)).toMatchObject({ items: [] })
  expect(requestsTo(line)).toEqual([])
})

test('a destination gets its configured headers and nothing of the provider', async () => {
  const headers = { authorization: 'Bearer its-own', 'x-team': 'blue' }
  const line = await tenant.addLine({ path: '/headers', headers })
  const received = await deliver(line, {})
  expect(received.headers).toMatchObject(headers)
  const names = Object.keys(received.headers)
  const allowed = new Set([
    ...['authorization', 'x-team', 'host', 'connection', 'content-length', 'content-type'],
    ...['user-agent', 'webhook-id', 'webhook-timestamp', 'webhook-signature'],
  ])
  expect(names.filter((name) => !allowed.has(name))).toEqual([])
})

test('two destinations of one number each get the message once, and one failing does not hold the other', async () => {
  const failing = await tenant.addLine({ path: '/pair/failing', maxAttempts: 2 })
  const healthy = await tenant.addDestination(failing.phoneNumber, { path: '/pair/healthy' })
  product.receiver.on(failing.path, { kind: 'answer', status: 500 })
  const evidence = createEvidence(product, tenant)
  const { eventId } = await evidence.send(failing)
  await evidence.waitUntilSettled(TIMEOUT_MS)
  expect(requestsTo(healthy)).toHaveLength(1)
  expect(requestsTo(failing)).toHaveLength(2)
  const event = await tenant.api.call<{ deliveries: { state: string }[] }>(
    'GET',
    `/api/v1/events/${eventId}`,
  )
  expect(event.deliveries.map(({ state }) => state).sort()).toEqual(['delivered', 'given_up'])
})
