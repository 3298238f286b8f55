import { randomUUID } from 'node:crypto'
import { kudosityInbound, kudosityStatus } from '@switchhook/testing/kudosity-simulator'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import type { ProviderRequest } from '@switchhook/testing/send-webhook'
import { telnyxCall, telnyxMessage, telnyxStatus } from '@switchhook/testing/telnyx-simulator'
import { twilioCallStatus, twilioMessageStatus } from '@switchhook/testing/twilio-simulator'
import { checkKudosity } from '@switchhook/testing/vendor-shapes'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newMessageSid } from './support/evidence.ts'
import { type Product, startProduct } from './support/product.ts'
import {
  createProviderTenant,
  type MadeDestination,
  type ProviderTenant,
} from './support/provider-tenant.ts'
import { bare, createWebhooks, PERSON, type ProviderWebhooks } from './support/provider-webhooks.ts'

type ApiEvent = {
  readonly id: string
  readonly type: string
  readonly delivery_count: number
  readonly is_stale: boolean
}

let product: Product

beforeAll(async () => {
  product = await startProduct()
})

afterAll(async () => {
  await product?.stop()
})

let numbersMade = 0
/** E.164, from the range that is reserved for fiction. */
function newNumber(): string {
  numbersMade += 1
  return `+1${String(200 + numbersMade)}5550177`
}

function received({ path }: MadeDestination): ReceivedRequest[] {
  return product.receiver.received.filter((one) => one.path === path)
}

function typesAt(destination: MadeDestination): string[] {
  return received(destination).map(({ body }) => JSON.parse(body.toString('utf8')).type)
}

async function prepare(): Promise<{ tenant: ProviderTenant; webhooks: ProviderWebhooks }> {
  const tenant = await createProviderTenant(product)
  return { tenant, webhooks: createWebhooks(product, tenant) }
}

test('one event goes to its number’s, its assistant’s and its organization’s destination, a delivery each', async () => {
  const { tenant, webhooks } = await prepare()
  const [number, other] = [newNumber(), newNumber()]
  const { id: assistant_id } = await tenant.api.call<{ id: number }>('POST', '/api/v1/assistants', {
    name: 'Fan',
  })
  await tenant.addNumber(number, 'twilio', { assistant_id })
  await tenant.addNumber(other, 'twilio')
  const wanted = [
    await tenant.addDestination('/fan/number', { phone_number: number }),
    await tenant.addDestination('/fan/assistant', { assistant_id }),
    await tenant.addDestination('/fan/organization'),
    await tenant.addDestination('/fan/types', { event_types: ['sms_received', 'opt_out'] }),
    await tenant.addDestination('/fan/sender', { filter: { sender: [bare(number), bare(other)] } }),
  ]
  const unwanted = [
    await tenant.addDestination('/fan/other-number', { phone_number: other }),
    await tenant.addDestination('/fan/other-type', { event_types: ['sms_status'] }),
    await tenant.addDestination('/fan/other-sender', { filter: { sender: [bare(other)] } }),
    await tenant.addDestination('/fan/disabled'),
  ]
  const disabled = unwanted.at(-1)?.id
  await tenant.api.call('PATCH', `/api/v1/destinations/${disabled}`, { status: 'disabled' })
  await tenant.sendAll([webhooks.twilioMessage(number)])

  expect(wanted.map((one) => received(one).length)).toEqual(wanted.map(() => 1))
  expect(unwanted.map((one) => received(one).length)).toEqual(unwanted.map(() => 0))
  const ids = wanted.map((one) => received(one)[0]?.headers['webhook-id'])
  expect(new Set(ids).size).toBe(1)
  const event = await tenant.api.call<{ deliveries: { id: string; destination_id: string }[] }>(
    'GET',
    `/api/v1/events/${String(ids[0])}`,
  )
  expect(event.deliveries.map(({ destination_id }) => destination_id).sort()).toEqual(
    wanted.map(({ id }) => id).sort(),
  )
  expect(new Set(event.deliveries.map(({ id }) => id)).size).toBe(wanted.length)
})

test('a subscription in Kudosity’s words gets only what its filter names, in Kudosity’s shape', async () => {
  const { tenant, webhooks } = await prepare()
  const number = newNumber()
  await tenant.addNumber(number, 'kudosity')
  const subscribe = (path: string, filter: object) =>
    tenant.addDestination(path, { format: 'kudosity', filter, event_types: undefined })
  const delivered = await subscribe('/filter/delivered', {
    ...{ event_type: ['SMS_STATUS'], status: ['DELIVERED'], sender: [bare(number)] },
    message_ref: ['order-1', 'order-2'],
  })
  const inbound = await subscribe('/filter/inbound', { event_type: ['SMS_INBOUND', 'OPT_OUT'] })
  const none = await subscribe('/filter/none', { sender: ['61400000000'] })
  const status = { id: randomUUID(), sender: bare(number), recipient: bare(PERSON) }
  await tenant.sendAll(
    [
      kudosityStatus({ ...status, status: 'SENT', messageRef: 'order-1' }),
      kudosityStatus({ ...status, status: 'DELIVERED', messageRef: 'order-1' }),
      kudosityStatus({ ...status, id: randomUUID(), status: 'DELIVERED', messageRef: 'order-3' }),
      kudosityInbound({ sender: bare(PERSON), recipient: bare(number) }),
    ].map((body) => webhooks.kudosity(body)),
  )
  expect(received(delivered).map((one) => checkKudosity(one))).toMatchObject([
    { event_type: 'SMS_STATUS', status: { status: 'DELIVERED', message_ref: 'order-1' } },
  ])
  expect(received(inbound).map((one) => checkKudosity(one).event_type)).toEqual(['SMS_INBOUND'])
  expect(received(none)).toEqual([])
})

test('an event nobody wants is kept, listed as unrouted, and goes out when it is replayed', async () => {
  const { tenant, webhooks } = await prepare()
  const number = newNumber()
  await tenant.addNumber(number, 'twilio')
  await tenant.sendAll([webhooks.twilioMessage(number)])
  const unrouted = () => tenant.api.list<ApiEvent>('/api/v1/events?routed=false')
  const [event, ...others] = await unrouted()
  expect(others).toEqual([])
  expect(event).toMatchObject({ type: 'sms_received', delivery_count: 0 })

  const late = await tenant.addDestination('/unrouted/late')
  expect(received(late)).toEqual([])
  const answer = await tenant.api.send('POST', `/api/v1/events/${event?.id}/replay`)
  expect(answer.status, answer.text).toBe(202)
  await tenant.settle()
  expect(received(late).map(({ headers }) => headers['webhook-id'])).toEqual([event?.id])
  expect(await unrouted()).toEqual([])
  const routed = await tenant.api.list<ApiEvent>('/api/v1/events?routed=true')
  expect(routed).toMatchObject([{ id: event?.id, delivery_count: 1 }])
})

type Statuses = (
  webhooks: ProviderWebhooks,
  number: string,
  tenant: ProviderTenant,
) => readonly ProviderRequest[]

/** The last word first. */
const LATE_STATUSES: readonly (readonly [string, Statuses])[] = [
  [
    'a message of Twilio',
    (webhooks, number, { accountSid }) => {
      const message = { accountSid, messageSid: newMessageSid(), from: number, to: PERSON }
      return (['delivered', 'sent'] as const).map((status) =>
        webhooks.twilio(twilioMessageStatus({ ...message, status })),
      )
    },
  ],
  [
    'a message of Telnyx',
    (webhooks, number) => {
      const message = { messageId: randomUUID(), from: number, to: PERSON }
      return [
        telnyxStatus({ ...message, eventType: 'message.finalized', status: 'delivered' }),
        telnyxStatus({ ...message, eventType: 'message.sent', status: 'sent' }),
      ].map((body) => webhooks.telnyx(body))
    },
  ],
  [
    'a message of Kudosity',
    (webhooks, number) => {
      const message = { id: randomUUID(), sender: bare(number), recipient: bare(PERSON) }
      return (['DELIVERED', 'SENT'] as const).map((status) =>
        webhooks.kudosity(kudosityStatus({ ...message, status })),
      )
    },
  ],
  [
    'a call of Twilio',
    (webhooks, number, { accountSid }) => {
      const call = { accountSid, callSid: `CA${number.slice(1)}`, from: PERSON, to: number }
      return [
        twilioCallStatus({ ...call, status: 'completed', sequenceNumber: 2, durationSeconds: 5 }),
        twilioCallStatus({ ...call, status: 'in-progress', sequenceNumber: 1 }),
      ].map((fields) => webhooks.twilio(fields, { path: '/twilio-voice-webhook' }))
    },
  ],
  [
    'a call of Telnyx',
    (webhooks, number) => {
      const call = { callControlId: randomUUID(), from: PERSON, to: number }
      return [
        telnyxCall({
          ...call,
          eventType: 'call.hangup',
          payload: { hangup_cause: 'normal_clearing' },
        }),
        telnyxCall({ ...call, eventType: 'call.initiated' }),
      ].map((body) => webhooks.telnyx(body))
    },
  ],
]

describe.each(LATE_STATUSES)('of %s', (name, statusesOf) => {
  test('a status that comes after a later one is marked, and left out where stale ones are skipped', async () => {
    const { tenant, webhooks } = await prepare()
    const number = newNumber()
    await tenant.addNumber(number, 'twilio')
    const path = name.replaceAll(' ', '-')
    const all = await tenant.addDestination(`/stale/${path}/all`)
    const fresh = await tenant.addDestination(`/stale/${path}/fresh`, { skip_stale: true })
    // One after the other has come to Postgres, which tells what is late.
    for (const one of statusesOf(webhooks, number, tenant)) await tenant.sendAll([one])

    const marks = received(all).map(({ headers }) => headers['switchhook-stale'])
    expect(marks.sort()).toEqual(['true', undefined])
    expect(received(fresh).map(({ headers }) => headers['switchhook-stale'])).toEqual([undefined])
    const events = await tenant.api.list<ApiEvent>('/api/v1/events')
    // The newest first.
    expect(events.map(({ is_stale }) => is_stale)).toEqual([true, false])
    const [stale] = events
    const staleDelivery = received(all).find(({ headers }) => headers['webhook-id'] === stale?.id)
    expect(JSON.parse(String(staleDelivery?.body))).toMatchObject({ data: { stale: true } })
  })
})

test('a group message goes to each number that is the tenant’s, and to nobody for the others', async () => {
  const { tenant, webhooks } = await prepare()
  const [first, second, foreign] = [newNumber(), newNumber(), newNumber()]
  await tenant.addNumber(first, 'telnyx')
  await tenant.addNumber(second, 'telnyx')
  const atFirst = await tenant.addDestination('/group/first', { phone_number: first })
  const atSecond = await tenant.addDestination('/group/second', { phone_number: second })
  const atBoth = await tenant.addDestination('/group/both')
  const body = telnyxMessage({
    ...{ from: PERSON, to: [foreign, first], cc: [second], text: 'Hello all' },
    mediaUrls: ['https://media.example.com/1.png'],
  })
  await tenant.sendAll([webhooks.telnyx(body)])

  const ownOf = (destination: MadeDestination): string[] =>
    received(destination).map((one) => JSON.parse(one.body.toString('utf8')).data.phone_number)
  expect(ownOf(atFirst)).toEqual([first])
  expect(ownOf(atSecond)).toEqual([second])
  expect(ownOf(atBoth).sort()).toEqual([first, second].sort())
  expect(new Set(received(atBoth).map(({ headers }) => headers['webhook-id'])).size).toBe(2)
})

test('a STOP is a message and an opt-out, each to those who want it', async () => {
  const { tenant, webhooks } = await prepare()
  const [ours, theirs] = [newNumber(), newNumber()]
  await tenant.addNumber(ours, 'twilio')
  await tenant.addNumber(theirs, 'telnyx')
  const messages = await tenant.addDestination('/stop/messages', { event_types: ['sms_received'] })
  const optOuts = await tenant.addDestination('/stop/opt-outs', { event_types: ['opt_out'] })
  const stop = telnyxMessage({ from: PERSON, to: [theirs], text: 'STOP', autoresponseType: 'STOP' })
  await tenant.sendAll([
    webhooks.twilioMessage(ours, [['OptOutType', 'STOP']]),
    webhooks.telnyx(stop),
    webhooks.twilioMessage(ours, [['OptOutType', 'HELP']]),
  ])
  expect(typesAt(messages)).toEqual(['sms_received', 'sms_received', 'sms_received'])
  expect(typesAt(optOuts)).toEqual(['opt_out', 'opt_out'])
})

test('a webhook of any provider that comes three times at once, and again later, is delivered once', async () => {
  const { tenant, webhooks } = await prepare()
  const number = newNumber()
  await tenant.addNumber(number, 'twilio')
  const destination = await tenant.addDestination('/twice')
  const each = [
    webhooks.twilioMessage(number),
    webhooks.telnyx(telnyxMessage({ from: PERSON, to: [number] })),
    webhooks.kudosity(kudosityInbound({ sender: bare(PERSON), recipient: bare(number) })),
    webhooks.pbx({ from: 'ACME', smsNumber: bare(number), body: 'Hi' }),
  ]
  const atOnce = await Promise.all([...each, ...each, ...each].map((one) => tenant.send(one)))
  expect(new Set(atOnce.map(({ status }) => status))).toEqual(new Set([200]))
  await tenant.settle()
  expect(new Set(await tenant.sendAll(each))).toEqual(new Set([200]))
  const ids = received(destination).map(({ headers }) => headers['webhook-id'])
  expect(ids).toHaveLength(each.length)
  expect(new Set(ids).size).toBe(each.length)
})
