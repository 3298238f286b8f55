import type { AcceptedEvent } from '@switchhook/core/event'
import { deliveryId, randomId } from '@switchhook/core/ids'
import { writeJournal } from '@switchhook/core/store/journal'
import { insertQuarantined } from '@switchhook/core/store/quarantine'
import { insertWebhookChange } from '@switchhook/core/store/webhook-changes'
import type { Route } from '../src/api/define-route.ts'
import type { ApiTestApp, Tenant } from './api-test-app.ts'

const NUMBER = '+61400000001'

/** What an organization has of everything that a path can name. */
export type Ids = {
  readonly apiKey: string
  readonly apiKeyNumber: string
  readonly account: string
  readonly assistant: string
  readonly number: string
  readonly destination: string
  readonly event: string
  readonly delivery: string
  readonly change: string
  readonly e164: string
  readonly quarantined: string
  readonly webhook: string
  readonly call: string
  readonly callSid: string
  readonly replay: string
  readonly erasure: string
}

/** What nobody has, in the form of what somebody has. */
export const UNKNOWN: Ids = {
  apiKey: 'a'.repeat(12),
  apiKeyNumber: '999999',
  account: `pac_${'a'.repeat(26)}`,
  assistant: '999999',
  number: '999999',
  destination: `dst_${'a'.repeat(26)}`,
  event: `evt_${'a'.repeat(26)}`,
  delivery: `dlv_${'a'.repeat(26)}`,
  quarantined: `qua_${'a'.repeat(26)}`,
  webhook: `dst_${'a'.repeat(26)}`,
  call: '999999',
  change: `chg_${'a'.repeat(26)}`,
  e164: '+61400009999',
  callSid: 'CA-unknown',
  replay: `rpl_${'a'.repeat(26)}`,
  erasure: `era_${'a'.repeat(26)}`,
}

/** Which id stands in a route's path; a route that is not here fails the test. */
const NAMED: readonly (readonly [prefix: string, name: keyof Ids])[] = [
  ['/api/v1/api-keys/', 'apiKey'],
  ['/api/v1/users/me/api-keys/', 'apiKeyNumber'],
  ['/api/v1/provider-accounts/', 'account'],
  ['/api/v1/assistants/', 'assistant'],
  ['/api/v1/phone-numbers/{phone_number}', 'e164'],
  ['/api/v1/phone-numbers/', 'number'],
  ['/api/v1/webhook-changes/', 'change'],
  ['/api/v1/destinations/', 'destination'],
  ['/api/v1/events/', 'event'],
  ['/api/v1/deliveries/', 'delivery'],
  ['/api/v1/quarantine/', 'quarantined'],
  ['/api/v1/replays/', 'replay'],
  ['/api/v1/privacy/erasures/', 'erasure'],
  ['/v2/webhook/', 'webhook'],
  ['/api/v1/calls/sid/', 'callSid'],
  ['/api/v1/calls/', 'call'],
]

export function fill({ path }: Route, ids: Ids): { path: string; id: string } {
  const named = NAMED.find(([prefix]) => path.startsWith(prefix))
  if (named === undefined) throw new Error(`say in NAMED which id is in ${path}`)
  const id = ids[named[1]]
  return { path: path.replace(/\{\w+\}/, id), id }
}

async function addQuarantined(app: ApiTestApp, owner: Tenant): Promise<string> {
  const id = `qua_${'b'.repeat(26)}`
  const receivedAtMs = Date.now()
  await insertQuarantined(app.deps.database.pool, {
    ...{ id, organizationId: owner.id, provider: 'twilio', providerAccountId: null },
    ...{ claimedAccountSid: null, claimedNumbers: [], reason: 'wrong_signature', detail: 'No.' },
    ...{ isAuthentic: false, method: 'POST', target: '/twilio-sms-webhook', headers: {} },
    ...{ clientIp: null, body: Buffer.from('Body=hello'), receivedAtMs },
    expiresAtMs: receivedAtMs + 60_000,
  })
  return id
}

/** One of each, made through the API where it can be. */
export async function addEverything(app: ApiTestApp, owner: Tenant): Promise<Ids> {
  const { id: apiKey } = await owner.create('/api/v1/api-keys', {})
  const [{ id: apiKeyNumber }] = (await owner.call('GET', '/api/v1/users/me/api-keys')).body
  const { id: account } = await owner.create('/api/v1/provider-accounts', {
    provider: 'twilio',
    account_sid: `AC${'1'.repeat(32)}`,
    auth_token: 'x',
  })
  const { id: assistant } = await owner.create('/api/v1/assistants', { name: 'Theirs' })
  const { id: number } = await owner.create('/api/v1/phone-numbers', {
    phone_number: NUMBER,
    provider: 'twilio',
  })
  const { id: destination } = await owner.create('/api/v1/destinations', {
    url: 'https://example.com/',
  })
  const { id: webhook } = await owner.create('/v2/webhook', {
    name: 'Theirs',
    url: 'https://example.com/kudosity',
  })
  const quarantined = await addQuarantined(app, owner)
  const event: AcceptedEvent = {
    id: randomId('evt_'),
    organizationId: owner.id,
    provider: 'twilio',
    type: 'call_started',
    receivedAtMs: Date.now(),
    phoneNumber: NUMBER,
    peerNumber: null,
    callSid: 'CA-theirs',
    assistantId: null,
    order: null,
    isStale: false,
    contentType: 'application/json',
    payload: Buffer.from('{}'),
  }
  const delivery = deliveryId(event.id, destination)
  const { db, pool } = app.deps.database
  const change = await insertWebhookChange(db, {
    ...{ organizationId: owner.id, phoneNumber: NUMBER, provider: 'twilio', requested: {} },
    ...{ requestedBy: apiKey, state: 'pending' },
  })
  await writeJournal(pool, [
    { event, deliveries: [{ deliveryId: delivery, destinationId: destination }] },
  ])
  const replay = await owner.call('POST', `/api/v1/destinations/${destination}/replay`, {
    since: '2026-01-31T00:00:00Z',
  })
  const person = { phone_number: '+14155550199' }
  const erasure = await owner.call('POST', '/api/v1/privacy/erase', person)
  const call = await db.selectFrom('calls').select('id').executeTakeFirstOrThrow()
  return {
    ...{ apiKey, account, destination, delivery, event: event.id, callSid: 'CA-theirs' },
    ...{ quarantined, webhook, change: change.id, e164: NUMBER },
    ...{ replay: replay.body.id, erasure: erasure.body.id },
    ...{
      apiKeyNumber: String(apiKeyNumber),
      assistant: String(assistant),
      number: String(number),
      call: String(call.id),
    },
  }
}
