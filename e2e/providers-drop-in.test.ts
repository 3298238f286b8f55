import { randomUUID } from 'node:crypto'
import { kudosityInbound, kudosityStatus } from '@switchhook/testing/kudosity-simulator'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { telnyxCall, telnyxMessage } from '@switchhook/testing/telnyx-simulator'
import { twilioCallStatus, twilioMessageStatus } from '@switchhook/testing/twilio-simulator'
import {
  checkBurkiMessage,
  checkBurkiVoice,
  checkKudosity,
  checkPbxForm,
  type Delivered,
} from '@switchhook/testing/vendor-shapes'
import { request } from 'undici'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { newMessageSid } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import { createProviderTenant, type ProviderTenant } from './support/provider-tenant.ts'
import { bare, createWebhooks, PERSON, type ProviderWebhooks } from './support/provider-webhooks.ts'
import { readSeeds, toRequest } from './support/seeds.ts'

const VOICE_PATH = '/twilio-voice-webhook'
const PBX_NUMBER = '+61491570158'

type Prepared = { readonly tenant: ProviderTenant; readonly webhooks: ProviderWebhooks }

let product: Product
/** Made first, so that the worker knows its retries when its test comes. */
let pbx: Prepared

beforeAll(async () => {
  product = await startProduct()
  pbx = await preparePbx()
})

afterAll(async () => {
  await product?.stop()
})

async function prepare(): Promise<Prepared> {
  const tenant = await createProviderTenant(product)
  return { tenant, webhooks: createWebhooks(product, tenant) }
}

async function preparePbx(): Promise<Prepared> {
  const { tenant, webhooks } = await prepare()
  await tenant.addNumber(PBX_NUMBER, 'pbx', {
    service_id: 'SVC-1',
    webhook_url: `${product.receiver.url}/pbx`,
    webhook_url_fallback: 'ops@example.com',
  })
  const implied = await tenant.api.list<{ id: string }>('/api/v1/destinations')
  const retry = { max_attempts: 10, delays_seconds: [0.05], jitter: false }
  await tenant.api.call('PATCH', `/api/v1/destinations/${implied[0]?.id}`, { retry })
  return { tenant, webhooks }
}

const at = (path: string): ReceivedRequest[] =>
  product.receiver.received.filter((one) => one.path === path)

test('a customer of Burki gets messages at sms_webhook_url and calls at webhook_url, of Twilio and of Telnyx', async () => {
  const { tenant, webhooks } = await prepare()
  const { id: assistant_id } = await tenant.api.call<{ id: number }>('POST', '/api/v1/assistants', {
    name: 'Support',
    webhook_url: `${product.receiver.url}/burki/voice`,
    sms_webhook_url: `${product.receiver.url}/burki/sms`,
  })
  const [twilio, telnyx] = ['+12015550110', '+12015550111']
  await tenant.addNumber(twilio, 'twilio', { assistant_id })
  await tenant.addNumber(telnyx, 'telnyx', { assistant_id })
  const twilioCall = { accountSid: tenant.accountSid, callSid: `CA${'5'.repeat(32)}` }
  const ofTwilio = (
    status: 'initiated' | 'ringing' | 'in-progress' | 'completed',
    sequence: number,
  ) =>
    webhooks.twilio(
      twilioCallStatus({
        ...{ ...twilioCall, from: PERSON, to: twilio, status, sequenceNumber: sequence },
        ...(status === 'completed' ? { durationSeconds: 61 } : {}),
      }),
      { path: VOICE_PATH },
    )
  const telnyxLine = { from: PERSON, to: telnyx, callControlId: 'v3:call' }
  await tenant.sendAll([
    webhooks.twilioMessage(twilio, [
      ['NumMedia', '1'],
      ['MediaUrl0', 'https://media.example.com/0'],
    ]),
    webhooks.telnyx(telnyxMessage({ from: PERSON, to: [telnyx], text: 'Olá 👋' })),
    ofTwilio('initiated', 0),
    ofTwilio('ringing', 1),
    ofTwilio('in-progress', 2),
    ofTwilio('completed', 3),
    webhooks.telnyx(telnyxCall({ ...telnyxLine, eventType: 'call.initiated' })),
    webhooks.telnyx(
      telnyxCall({
        ...telnyxLine,
        eventType: 'call.hangup',
        payload: {
          start_time: '2026-11-21T00:59:50.000Z',
          end_time: '2026-11-21T01:00:32.400Z',
          hangup_cause: 'normal_clearing',
        },
      }),
    ),
  ])
  const messages = at('/burki/sms').map((one) => checkBurkiMessage(one).data)
  expect(messages.map(({ provider, to }) => [provider, to]).sort()).toEqual([
    ['telnyx', telnyx],
    ['twilio', twilio],
  ])
  const calls = at('/burki/voice').map((one) => checkBurkiVoice(one))
  expect(calls.map(({ event, call_sid }) => `${call_sid} ${event}`).sort()).toEqual(
    [
      ...['call_started', 'call_answered', 'call_ended'].map(
        (one) => `${twilioCall.callSid} ${one}`,
      ),
      ...['call_started', 'call_ended'].map((one) => `v3:call ${one}`),
    ].sort(),
  )
  expect(calls.filter(({ event }) => event === 'call_started')).toMatchObject(
    [PERSON, PERSON].map((customer_phone_number) => ({ customer_phone_number, assistant_id })),
  )
  const ended = calls.filter(({ event }) => event === 'call_ended')
  expect(ended.map(({ duration }) => duration).sort()).toEqual([42, 61])
})

/** Kudosity's own API, with the organization's key. */
async function kudosityApi<T>(
  tenant: ProviderTenant,
  method: 'POST' | 'PUT' | 'DELETE',
  path: string,
  json?: object,
): Promise<T> {
  const { statusCode, body } = await request(product.ingress().url + path, {
    method,
    headers: { 'x-api-key': tenant.apiKey, 'content-type': 'application/json' },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  })
  const text = await body.text()
  if (statusCode > 299) throw new Error(`${method} ${path} answered ${statusCode}: ${text}`)
  return JSON.parse(text) as T
}

test('a subscriber of Kudosity subscribes with its API and gets all six events in its shape, whoever sent them', async () => {
  const { tenant, webhooks } = await prepare()
  const number = '+61491570017'
  await tenant.addNumber(number, 'twilio')
  const names = ['SMS_INBOUND', 'SMS_STATUS', 'MMS_INBOUND', 'MMS_STATUS', 'LINK_HIT', 'OPT_OUT']
  const subscription = { name: 'gateway-prod', url: `${product.receiver.url}/subscriber` }
  const { id } = await kudosityApi<{ id: string }>(tenant, 'POST', '/v2/webhook', {
    ...subscription,
    ...{ rate_limit: 50, filter: { event_type: names, sender: [bare(number)] } },
  })
  const message = { accountSid: tenant.accountSid, from: number, to: PERSON }
  const ofKudosity = readSeeds('kudosity').filter((seed) => 'json' in seed)
  await tenant.sendAll([
    ...ofKudosity.map((seed) => toRequest(product, tenant, 'kudosity', seed)),
    webhooks.twilioMessage(number, [['OptOutType', 'STOP']]),
    webhooks.twilio(
      twilioMessageStatus({ ...message, messageSid: newMessageSid(), status: 'delivered' }),
    ),
    webhooks.pbx({ from: 'ACME', smsNumber: '0491 570 017', body: 'Hello' }),
  ])
  const events = at('/subscriber').map((one) => checkKudosity(one))
  expect(events.every((event) => event.webhook_id === id)).toBe(true)
  expect(events.every((event) => event.webhook_name === 'gateway-prod')).toBe(true)
  const expected = [...names, 'SMS_INBOUND', 'SMS_INBOUND', 'OPT_OUT', 'SMS_STATUS']
  expect(events.map(({ event_type }) => event_type).sort()).toEqual(expected.sort())

  const status = (sender: string) =>
    webhooks.kudosity(
      kudosityStatus({ ...{ id: randomUUID(), status: 'SENT', sender }, recipient: bare(PERSON) }),
    )
  const other = '+61491570156'
  await tenant.addNumber(other, 'kudosity')
  await tenant.sendAll([status(bare(other))])
  expect(at('/subscriber')).toHaveLength(expected.length)
  // What a PUT leaves out is reset: every sender and type from now on.
  await kudosityApi(tenant, 'PUT', `/v2/webhook/${id}`, subscription)
  await tenant.sendAll([status(bare(other))])
  expect(at('/subscriber')).toHaveLength(expected.length + 1)
  await kudosityApi(tenant, 'DELETE', `/v2/webhook/${id}`)
  await tenant.sendAll([status(bare(other))])
  expect(at('/subscriber')).toHaveLength(expected.length + 1)
})

test('a customer of the PBX gets its form from every provider, and no address of a form is ever used', async () => {
  const { tenant, webhooks } = pbx
  const attacker = 'somebody-else@example.net'
  product.receiver.on('/pbx', {
    kind: 'sequence',
    answers: [
      { kind: 'answer', status: 202 },
      { kind: 'answer', status: 200 },
    ],
  })
  const forms = [
    webhooks.pbx({
      ...{ from: '0491 570 006', smsNumber: '0491570158', body: 'of a PBX' },
      ...{ webhookUrl: `${product.receiver.url}/attacker`, webhookUrlFallback: attacker },
    }),
    webhooks.twilioMessage(PBX_NUMBER),
    webhooks.telnyx(telnyxMessage({ from: PERSON, to: [PBX_NUMBER] })),
    webhooks.kudosity(kudosityInbound({ sender: bare(PERSON), recipient: bare(PBX_NUMBER) })),
  ]
  await tenant.sendAll(forms)

  const delivered: readonly Delivered[] = at('/pbx')
  // 202 is no success for a PBX: one of them came twice.
  expect(delivered).toHaveLength(forms.length + 1)
  for (const form of delivered.map((one) => checkPbxForm(one))) {
    expect(form).toMatchObject({
      service_id: 'SVC-1',
      webhook_url: `${product.receiver.url}/pbx`,
      webhook_url_fallback: 'ops@example.com',
    })
  }
  expect(at('/attacker')).toEqual([])
  expect(JSON.stringify(product.smtp.mails)).not.toContain(attacker)
})

test('a number that two tenants registered belongs to whose key the signature holds with', async () => {
  const [ours, theirs] = [await prepare(), await prepare()]
  const number = '+12015550112'
  for (const [index, { tenant }] of [ours, theirs].entries()) {
    await tenant.addNumber(number, 'telnyx')
    await tenant.addDestination(`/shared/${index}`)
  }
  const textsAt = (index: number) =>
    at(`/shared/${index}`).map(({ body }) => JSON.parse(body.toString('utf8')).data.body)
  const message = (text: string) => telnyxMessage({ from: PERSON, to: [number], text })
  await theirs.tenant.sendAll([theirs.webhooks.telnyx(message('theirs'))])
  await ours.tenant.sendAll([ours.webhooks.telnyx(message('ours'))])
  await theirs.tenant.settle()
  expect([textsAt(0), textsAt(1)]).toEqual([['ours'], ['theirs']])
})

test('without an API secret, Kudosity’s V1 callbacks are believed for their token', async () => {
  const { tenant } = await prepare()
  await tenant.addDestination('/v1', { format: 'kudosity' })
  const token = tenant.pathOf(tenant.accounts.kudosity, '/webhooks/kudosity/').split('/').at(-1)
  const query = 'message_id=331694668&mobile=61400000001&status=hard-bounce&user_id=1'
  const target = `/webhooks/kudosity-v1/${token}?${query}`
  await tenant.sendAll([{ method: 'GET', target, headers: {} }])
  expect(at('/v1').map((one) => checkKudosity(one))).toMatchObject([
    { event_type: 'SMS_STATUS', status: { status: 'HARD_BOUNCE', recipient: '61400000001' } },
  ])
})
