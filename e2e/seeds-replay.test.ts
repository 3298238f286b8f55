import { FORMATS, type FormatName } from '@switchhook/core/event'
import { standardPayloadSchema } from '@switchhook/core/formats/standard'
import type { ReceivedRequest } from '@switchhook/testing/receiver'
import { type ProviderAnswer, sendWebhook } from '@switchhook/testing/send-webhook'
import {
  checkBurkiMessage,
  checkBurkiVoice,
  checkKudosity,
  checkPbxForm,
  checkSignature,
  checkStandard,
} from '@switchhook/testing/vendor-shapes'
import { waitFor } from '@switchhook/testing/wait-for'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Product, startProduct } from './support/product.ts'
import {
  createProviderTenant,
  type MadeDestination,
  type ProviderTenant,
} from './support/provider-tenant.ts'
import {
  payloadOf,
  readSeeds,
  SEED_VENDORS,
  type Seed,
  type SeedVendor,
  toRequest,
} from './support/seeds.ts'
import { sendAgain } from './support/send-again.ts'

const TIMEOUT_MS = 60_000
const KUDOSITY_SECRET = 'test_api_secret_0123456789'
const MESSAGES = ['sms_received', 'mms_received']
const ABOUT_MESSAGES = ['sms_status', 'mms_status', 'link_hit', 'opt_out']

type LogRow = {
  readonly webhook_url: string
  readonly webhook_type: string
  readonly success: boolean
  readonly request_payload: unknown
  readonly webhook_metadata: { readonly event_id: string }
}

let product: Product
let tenant: ProviderTenant
let assistantId: number
let logs: LogRow[]
const destinations = new Map<FormatName, MadeDestination>()
const answers = new Map<Seed, ProviderAnswer>()
const seeds = new Map<SeedVendor, readonly Seed[]>(
  SEED_VENDORS.map((vendor) => [vendor, readSeeds(vendor)]),
)

/** Everything once, in order; then each test looks at what came of one example. */
beforeAll(async () => {
  product = await startProduct()
  tenant = await createProviderTenant(product, {
    accountSid: 'AC0123456789abcdef0123456789abcdef',
    authToken: '0123456789abcdef0123456789abcdef',
    kudosity: { api_secret: KUDOSITY_SECRET },
  })
  const assistant = await tenant.api.call<{ id: number }>('POST', '/api/v1/assistants', {
    name: 'Seeds',
  })
  assistantId = assistant.id
  const owned = { assistant_id: assistantId }
  await tenant.addNumber('+14155551234', 'twilio', owned)
  await tenant.addNumber('+14155551235', 'telnyx', owned)
  await tenant.addNumber('+61491570017', 'pbx', { ...owned, service_id: 'SVC777' })
  await tenant.addNumber('+61429997672', 'kudosity', owned)
  for (const format of FORMATS) {
    destinations.set(format, await tenant.addDestination(`/${format}`, { format }))
  }
  const events = [...seeds].flatMap(([vendor, all]) => all.map((seed) => ({ vendor, seed })))
  for (const { vendor, seed } of events) {
    const request = toRequest(product, tenant, vendor, withAssistant(seed))
    answers.set(seed, await sendAgain(() => sendWebhook(product.ingress().url, request)))
  }
  const expected = FORMATS.length * events.flatMap(({ seed }) => seed.types).length
  await waitFor(() => product.receiver.count >= expected, {
    ...{ timeoutMs: TIMEOUT_MS, what: `${expected} deliveries` },
  }).catch(() => undefined)
  await tenant.settle()
  logs = await tenant.api.list<LogRow>('/api/v1/webhook-logs')
})

afterAll(async () => {
  await product?.stop()
})

/** What the voice engine publishes is of an assistant. */
function withAssistant(seed: Seed): Seed {
  if (!('publish' in seed) || !('call_sid' in seed.publish)) return seed
  return { ...seed, publish: { ...seed.publish, assistant_id: assistantId } }
}

/** The events that came of it, told by its own bytes in the raw format; in the order of their types. */
function eventIdsOf(seed: Seed): string[] {
  const payload = payloadOf(seed)
  if (payload === undefined) return [JSON.parse(answers.get(seed)?.text ?? '').id]
  const copies = product.receiver.received.filter(
    ({ path, body }) => path === '/raw' && body.equals(Buffer.from(payload)),
  )
  const ids = copies.map(({ headers }) => String(headers['webhook-id']))
  const typeOf = (id: string) =>
    logs.find(({ webhook_metadata }) => webhook_metadata.event_id === id)?.webhook_type ?? ''
  return ids.sort((a, b) => seed.types.indexOf(typeOf(a)) - seed.types.indexOf(typeOf(b)))
}

function deliveryOf(format: FormatName, eventId: string): ReceivedRequest {
  const all = product.receiver.received.filter(
    ({ path, headers }) => path === `/${format}` && headers['webhook-id'] === eventId,
  )
  const [only, ...others] = all
  if (only === undefined || others.length > 0) throw new Error(`${all.length} in ${format}`)
  return only
}

const jsonOf = ({ body }: ReceivedRequest): Record<string, unknown> =>
  JSON.parse(body.toString('utf8'))

/** In the shape that the vendor of the format documents; what no vendor documents only has an envelope. */
function checkShape(format: FormatName, type: string, delivered: ReceivedRequest): void {
  const isMessage = MESSAGES.includes(type)
  const isAbout = ABOUT_MESSAGES.includes(type)
  switch (format) {
    case 'burki':
      if (isMessage) checkBurkiMessage(delivered)
      else if (isAbout || type === 'unknown') expect(checkStandard(delivered).type).toBe(type)
      else expect(checkBurkiVoice(delivered).event).toBe(type)
      return
    case 'kudosity':
      if (isMessage || isAbout) checkKudosity(delivered)
      else expect(jsonOf(delivered).event_type).toEqual(expect.stringMatching(/^[A-Z_]+$/))
      return
    case 'pbx':
      checkPbxForm(delivered)
      return
    case 'standard':
      expect(checkStandard(delivered).type).toBe(type)
      standardPayloadSchema.parse(jsonOf(delivered))
      return
    case 'raw':
      return
  }
}

describe.each(SEED_VENDORS)('%s’s example', (vendor) => {
  test.each(seeds.get(vendor) ?? [])(
    '$name is answered $answer and delivered in every format',
    (seed) => {
      const answer = answers.get(seed)
      expect(answer?.status, answer?.text).toBe(seed.answer)
      const ids = eventIdsOf(seed)
      expect(ids).toHaveLength(seed.types.length)
      for (const [index, type] of seed.types.entries()) {
        const eventId = ids[index] ?? ''
        for (const [format, { secret }] of destinations) {
          const delivered = deliveryOf(format, eventId)
          checkSignature(delivered, secret)
          checkShape(format, type, delivered)
        }
      }
    },
  )

  test.each(seeds.get(vendor) ?? [])('$name is logged once for each destination', (seed) => {
    for (const [index, eventId] of eventIdsOf(seed).entries()) {
      const rows = logs.filter(({ webhook_metadata }) => webhook_metadata.event_id === eventId)
      expect(rows.map(({ webhook_url }) => new URL(webhook_url).pathname.slice(1)).sort()).toEqual(
        [...FORMATS].sort(),
      )
      expect(rows.every(({ success }) => success)).toBe(true)
      const burki = rows.find(({ webhook_url }) => webhook_url.endsWith('/burki'))
      const type = seed.types[index] ?? ''
      // Burki knows one kind of incoming message.
      expect(burki?.webhook_type).toBe(MESSAGES.includes(type) ? 'sms_received' : type)
      expect(burki?.request_payload).toEqual(jsonOf(deliveryOf('burki', eventId)))
    }
  })
})

const raw = [...seeds.values()].flat().filter((seed) => !('publish' in seed))

test.each(raw)('$name is byte for byte the same in raw, under its own content type', (seed) => {
  for (const eventId of eventIdsOf(seed)) {
    const { body, headers } = deliveryOf('raw', eventId)
    expect(body.toString('utf8')).toBe(payloadOf(seed))
    const form = 'application/x-www-form-urlencoded'
    expect(headers['content-type']).toBe('contentType' in seed ? seed.contentType : form)
  }
})

const documented = [...seeds.values()].flat().filter(({ burki }) => burki !== undefined)

test.each(documented)('$name is for a customer of Burki what Burki documents', (seed) => {
  const [eventId = ''] = eventIdsOf(seed)
  const expected =
    'publish' in seed && 'call_sid' in seed.publish
      ? { ...seed.burki, assistant_id: assistantId }
      : { timestamp: expect.any(String), ...seed.burki }
  expect(jsonOf(deliveryOf('burki', eventId))).toEqual(expected)
})

test('what Kudosity sent goes on to its own subscribers as it came', () => {
  const { id, path } = destinations.get('kudosity') ?? { id: '', path: '' }
  for (const seed of (seeds.get('kudosity') ?? []).filter((one) => 'json' in one)) {
    const [eventId = ''] = eventIdsOf(seed)
    const own = 'json' in seed ? { ...(seed.json as object) } : {}
    expect(jsonOf(deliveryOf('kudosity', eventId))).toEqual({
      ...own,
      webhook_id: id,
      webhook_name: path,
    })
  }
})

test('a PBX’s form goes on with its own message, time and sender, and our number’s service', () => {
  const [article] = seeds.get('pbx') ?? []
  if (article === undefined) throw new Error('no seed')
  const [eventId = ''] = eventIdsOf(article)
  expect(checkPbxForm(deliveryOf('pbx', eventId))).toEqual({
    ...{ service_id: 'SVC777', from: '61491570006', sms_number: '61491570017' },
    ...{ body: 'Test Message & more', message_id: '297abf7f-99d9-4b7d-9c46-1d7c13687b11' },
    ...{ timestamp: '1576391654', webhook_url: `${product.receiver.url}/pbx` },
    webhook_url_fallback: '',
  })
})

type CallRow = LogRow & { readonly call_id: number; readonly assistant_id: number }

test.each([
  ['published by the voice engine', 'CA77777777777777777777777777777777', 5],
  ['of Twilio', 'CA1234567890abcdef1234567890abcdef', 5],
])('the webhooks of a call %s are found by the call', async (_name, callSid, events) => {
  const { id } = await tenant.api.call<{ id: number }>('GET', `/api/v1/calls/sid/${callSid}`)
  const rows = await tenant.api.call<CallRow[]>('GET', `/api/v1/calls/${id}/webhook-logs`)
  expect(rows).toHaveLength(events * FORMATS.length)
  for (const row of rows) expect(row).toMatchObject({ call_id: id, assistant_id: assistantId })
  const started = await tenant.api.call<CallRow[]>(
    'GET',
    `/api/v1/calls/${id}/webhook-logs?webhook_type=call_started`,
  )
  expect(started).toHaveLength(FORMATS.length)
})

test('every example is posted to the URL that its account shows', () => {
  const { accounts, telnyxKey } = tenant
  expect(accounts.kudosity.webhook_urls).toHaveLength(2)
  expect(telnyxKey.publicKey).toMatch(/^[A-Za-z0-9+/]{43}=$/)
  for (const { webhook_urls } of Object.values(accounts)) {
    for (const url of webhook_urls) expect(url.startsWith(product.publicBaseUrl)).toBe(true)
  }
})
