import { createSecretKey } from 'node:crypto'
import type { AcceptedEvent } from '@switchhook/core/event'
import {
  createSnapshot,
  type PhoneNumber,
  type ProviderAccount,
} from '@switchhook/core/routing/snapshot'
import { createTwilioSms } from '@switchhook/testing/twilio-simulator'
import { describe, expect, it } from 'vitest'
import { type AcceptWebhookDeps, acceptTwilioWebhook } from './accept-webhook.ts'

const URL = 'https://hooks.example.com/twilio-sms-webhook'
const SID = `AC${'0'.repeat(32)}`

function account(organizationId: string, ...tokens: string[]): ProviderAccount {
  return {
    id: `pac_${organizationId}`,
    organizationId,
    provider: 'twilio',
    accountSid: SID,
    verifyKeys: tokens.map((token) => createSecretKey(token, 'utf8')),
    version: 1,
    isDeleted: false,
  }
}

function number(organizationId: string, phoneNumber: string): PhoneNumber {
  return {
    id: 7,
    ...{ organizationId, phoneNumber, assistantId: 42, serviceId: null },
    ...{ version: 1, isDeleted: false },
  }
}

function createRig(accounts: ProviderAccount[], numbers: PhoneNumber[]) {
  const events: AcceptedEvent[] = []
  const snapshot = createSnapshot()
  snapshot.apply({
    ...{ organizations: [], apiKeys: [], assistants: [], destinations: [] },
    providerAccounts: accounts,
    phoneNumbers: numbers,
  })
  const deps: AcceptWebhookDeps = {
    snapshot,
    isReady: () => true,
    nowMs: () => 1_795_222_800_000,
    async accept(event) {
      events.push(event)
      return { kind: 'accepted', deliveryIds: [] }
    },
  }
  return { deps, events }
}

function webhook(authToken: string, extra: [string, string][] = [], to = '+14155550100') {
  const sms = createTwilioSms({
    ...{ authToken, accountSid: SID, from: '+14155550101', to, body: 'Hi', extra },
  })
  return { method: 'POST', url: URL, headers: sms.headersFor(URL), body: Buffer.from(sms.body) }
}

describe('acceptTwilioWebhook', () => {
  it('takes a request signed by the official SDK, for the tenant that owns the number', async () => {
    const { deps, events } = createRig(
      [account('org_1', 'token')],
      [number('org_1', '+14155550100')],
    )
    const request = webhook('token')
    const result = await acceptTwilioWebhook(deps, request)
    expect(result.kind).toBe('accepted')
    expect(events[0]).toMatchObject({
      ...{ organizationId: 'org_1', type: 'sms_received', assistantId: 42 },
      ...{ phoneNumber: '+14155550100', peerNumber: '+14155550101' },
    })
    expect(events[0]?.payload.equals(request.body)).toBe(true)
  })

  it('takes the secondary token during a rotation, and no third', async () => {
    const { deps } = createRig([account('org_1', 'new', 'old')], [])
    expect((await acceptTwilioWebhook(deps, webhook('old'))).kind).toBe('accepted')
    const other = await acceptTwilioWebhook(deps, webhook('older'))
    expect(other).toEqual({ kind: 'forged', reason: 'wrong_signature' })
  })

  it('gives the event to the tenant whose token signed it, whoever else registered the account', async () => {
    const { deps, events } = createRig(
      [account('org_squatter', 'guess'), account('org_owner', 'token')],
      [number('org_squatter', '+14155550100'), number('org_owner', '+14155550100')],
    )
    await acceptTwilioWebhook(deps, webhook('token'))
    expect(events.map(({ organizationId }) => organizationId)).toEqual(['org_owner'])
  })

  it('keeps a genuine webhook for a number that the tenant does not own', async () => {
    const { deps, events } = createRig(
      [account('org_1', 'token')],
      [number('org_2', '+14155550100')],
    )
    expect((await acceptTwilioWebhook(deps, webhook('token'))).kind).toBe('accepted')
    expect(events[0]).toMatchObject({ organizationId: 'org_1', assistantId: null })
  })

  it('says why it does not believe', async () => {
    const { deps } = createRig([account('org_1', 'token')], [])
    const good = webhook('token')
    const variants = {
      missing_signature: { ...good, headers: { ...good.headers, 'x-twilio-signature': '' } },
      malformed_signature: { ...good, headers: { ...good.headers, 'x-twilio-signature': 'x' } },
      wrong_signature: { ...good, url: `${URL}?changed` },
      unknown_account: { ...good, body: Buffer.from('AccountSid=AC1&To=1') },
    }
    for (const [reason, request] of Object.entries(variants)) {
      expect(await acceptTwilioWebhook(deps, request)).toEqual({ kind: 'forged', reason })
    }
  })

  it('is never fooled by NUL and lone surrogates in what it files', async () => {
    const { deps, events } = createRig([account('org_1', 'token')], [])
    await acceptTwilioWebhook(deps, webhook('token', [['Note', 'a\0b']], `+1\0${'9'.repeat(400)}`))
    expect(events[0]?.phoneNumber).not.toContain('\0')
    expect(events[0]?.phoneNumber?.length).toBeLessThanOrEqual(256)
  })

  it('refuses floods of parameters before it sorts them', async () => {
    const { deps } = createRig([account('org_1', 'token')], [])
    const body = Buffer.from('a=1&'.repeat(100_000))
    const result = await acceptTwilioWebhook(deps, { ...webhook('token'), body })
    expect(result.kind).toBe('too_many_parameters')
  })

  it('answers unavailable, never forged, when the token cannot be opened: that is our own fault', async () => {
    const unreadable = { ...account('org_1'), isUnreadable: true }
    const { deps } = createRig([unreadable], [])
    expect((await acceptTwilioWebhook(deps, webhook('token'))).kind).toBe('unavailable')
  })

  it('answers unavailable, never forged, while its snapshot is not loaded', async () => {
    const { deps } = createRig([], [])
    const result = await acceptTwilioWebhook({ ...deps, isReady: () => false }, webhook('token'))
    expect(result.kind).toBe('unavailable')
  })
})
