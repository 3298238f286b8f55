import type { ProviderName } from '@switchhook/core/event'
import { eventId } from '@switchhook/core/ids'
import { adapterOf } from '@switchhook/core/providers/registry'
import { kudosityInbound, kudosityStatus } from '@switchhook/testing/kudosity-simulator'
import { createPbxPost } from '@switchhook/testing/pbx-simulator'
import { telnyxStatus } from '@switchhook/testing/telnyx-simulator'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { type ReadSideApp, startReadSideApp, type Tenant } from './read-side-app.ts'
import { store } from './stored-rows.ts'

const PEER = '+61491570006'

let app: ReadSideApp
let tenant: Tenant
let nextNumber = 61480000100

beforeAll(async () => {
  app = await startReadSideApp()
})
afterAll(() => app.close())

/** Every event that a payload makes, as the ingress stores them. */
async function take(provider: ProviderName, contentType: string, body: string): Promise<void> {
  const payload = Buffer.from(body)
  for (const content of adapterOf(provider).read(payload, contentType)) {
    const { type, phoneNumber, peerNumber, order } = content
    const id = eventId(tenant.organizationId, provider, content.dedupeKey)
    await store(app, tenant, {
      event: { id, provider, type, phoneNumber, peerNumber, order, contentType, payload },
    })
  }
}

async function listed() {
  return (await app.get(tenant, '/api/v1/sms-logs/')).body.items
}

it('Kudosity: a STOP once, though it is two events', async () => {
  tenant = await app.addTenant(`+${nextNumber++}`)
  const [sender, recipient] = [PEER.slice(1), tenant.phoneNumber.slice(1)]
  await take(
    'kudosity',
    'application/json',
    kudosityInbound({ sender, recipient, message: 'STOP' }),
  )
  expect(await listed()).toMatchObject([
    {
      provider: 'kudosity',
      direction: 'inbound',
      from_number: PEER,
      to_number: tenant.phoneNumber,
      body: 'STOP',
      status: 'received',
    },
  ])
})

it('Kudosity: one row for the statuses of a message', async () => {
  tenant = await app.addTenant(`+${nextNumber++}`)
  const message = { id: 'm-1', sender: tenant.phoneNumber.slice(1), recipient: PEER.slice(1) }
  for (const status of ['SENT', 'SOFT_BOUNCE', 'DELIVERED'] as const) {
    await take('kudosity', 'application/json', kudosityStatus({ ...message, status }))
  }
  expect(await listed()).toMatchObject([
    {
      provider_message_id: 'm-1',
      direction: 'outbound',
      from_number: tenant.phoneNumber,
      to_number: PEER,
      status: 'delivered',
      provider_status: 'DELIVERED',
    },
  ])
})

it('Telnyx: one row for the statuses of a message, with its text', async () => {
  tenant = await app.addTenant(`+${nextNumber++}`)
  const message = { from: tenant.phoneNumber, to: PEER, messageId: 'tx-1' }
  const sent = { ...message, eventType: 'message.sent', status: 'sent' } as const
  const failed = { ...message, eventType: 'message.finalized', status: 'delivery_failed' } as const
  for (const one of [sent, failed]) await take('telnyx', 'application/json', telnyxStatus(one))
  expect(await listed()).toMatchObject([
    { body: 'Hello', from_number: tenant.phoneNumber, to_number: PEER, status: 'failed' },
  ])
})

it('a PBX: its form', async () => {
  tenant = await app.addTenant(`+${nextNumber++}`)
  const post = createPbxPost({
    ...{ target: '/webhooks/pbx/t', from: PEER, smsNumber: tenant.phoneNumber, body: 'G’day' },
  })
  await take('pbx', 'application/x-www-form-urlencoded', String(post.body))
  expect(await listed()).toMatchObject([
    { provider: 'pbx', body: 'G’day', from_number: PEER, to_number: tenant.phoneNumber },
  ])
})
