import { createSecretKey, hash } from 'node:crypto'
import type { AcceptedEvent } from '@switchhook/core/event'
import { pbx } from '@switchhook/core/providers/pbx'
import { twilio } from '@switchhook/core/providers/twilio'
import {
  createSnapshot,
  type PhoneNumber,
  type ProviderAccount,
} from '@switchhook/core/routing/snapshot'
import { createTwilioCallback, createTwilioSms } from '@switchhook/testing/twilio-simulator'
import { describe, expect, it } from 'vitest'
import { type AcceptWebhookDeps, acceptWebhook } from './accept-webhook.ts'
import type { Refused } from './quarantine.ts'
import type { SentWebhook } from './verify-webhook.ts'

const URL = 'https://hooks.example.com/twilio-sms-webhook'
const SID = `AC${'0'.repeat(32)}`
const NUMBER = '+14155550100'

function account(organizationId: string, ...tokens: string[]): ProviderAccount {
  return {
    id: `pac_${organizationId}`,
    organizationId,
    provider: 'twilio',
    accountSid: SID,
    verifyKeys: tokens.map((token) => createSecretKey(token, 'utf8')),
    basicSha256: null,
    createdAtMs: 1,
    allowedCidrs: [],
    tokenHashes: [],
    version: 1,
    isDeleted: false,
  }
}

function number(organizationId: string, phoneNumber = NUMBER): PhoneNumber {
  return {
    id: Number(organizationId.at(-1)) || 7,
    ...{ organizationId, phoneNumber, assistantId: 42, serviceId: null },
    ...{ version: 1, isDeleted: false },
  }
}

function createRig(accounts: ProviderAccount[], numbers: PhoneNumber[]) {
  const events: AcceptedEvent[] = []
  const held: Refused[] = []
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
    calls: {
      findOwner: async () => ({
        ...{ callSid: 'CA1', phoneNumber: NUMBER, peerNumber: '+14155550101', assistantId: 42 },
      }),
      findTenants: async () => ['org_1'],
    },
    mayFail: () => true,
    quarantine: {
      hold: async (refused) => void held.push(refused),
      holdAuthentic: async (refused) => held.push(refused) > 0,
    },
  }
  return { deps, events, held }
}

function webhook(authToken: string, extra: [string, string][] = [], to = NUMBER): SentWebhook {
  const sms = createTwilioSms({
    ...{ authToken, accountSid: SID, from: '+14155550101', to, body: 'Hi', extra },
  })
  return {
    ...{ method: 'POST', url: URL, headers: sms.headersFor(URL), body: Buffer.from(sms.body) },
    ...{ clientIp: '192.0.2.1', account: undefined, tenantsOfCall: [], checkBasic: true },
  }
}

const take = (deps: AcceptWebhookDeps, request: SentWebhook) =>
  acceptWebhook(deps, twilio, request, '/twilio-sms-webhook')

describe('a signed webhook', () => {
  it('of the official SDK is taken for the tenant that owns the number', async () => {
    const { deps, events } = createRig([account('org_1', 'token')], [number('org_1')])
    const request = webhook('token')
    expect((await take(deps, request)).kind).toBe('accepted')
    expect(events[0]).toMatchObject({
      ...{ organizationId: 'org_1', type: 'sms_received', assistantId: 42 },
      ...{ phoneNumber: NUMBER, peerNumber: '+14155550101' },
    })
    expect(events[0]?.payload.equals(request.body)).toBe(true)
  })

  it('holds with the secondary token during a rotation, and with no third', async () => {
    const { deps } = createRig([account('org_1', 'new', 'old')], [number('org_1')])
    expect((await take(deps, webhook('old'))).kind).toBe('accepted')
    expect(await take(deps, webhook('older'))).toMatchObject({
      ...{ kind: 'forged', reason: 'wrong_signature' },
    })
  })

  it('is given to the tenant whose token signed it, whoever else registered the account', async () => {
    const { deps, events } = createRig(
      [account('org_1', 'guess'), account('org_2', 'token')],
      [number('org_1'), number('org_2')],
    )
    await take(deps, webhook('token'))
    expect(events.map(({ organizationId }) => organizationId)).toEqual(['org_2'])
  })

  it('is given to the tenant that registered its key first, when two have the key and the number', async () => {
    const [first, second] = [account('org_1', 'token'), account('org_2', 'token')]
    for (const accounts of [
      [first, second],
      [second, first],
    ]) {
      const older = accounts.map((one) => ({ ...one, createdAtMs: one === first ? 1 : 2 }))
      const { deps, events } = createRig(older, [number('org_2'), number('org_1')])
      await take(deps, webhook('token'))
      expect(events.map(({ organizationId }) => organizationId)).toEqual(['org_1'])
    }
  })

  it('makes an event of each thing it says: a STOP is a message and an opt-out', async () => {
    const { deps, events } = createRig([account('org_1', 'token')], [number('org_1')])
    await take(deps, webhook('token', [['OptOutType', 'STOP']]))
    expect(events.map(({ type }) => type)).toEqual(['sms_received', 'opt_out'])
    expect(new Set(events.map(({ id }) => id)).size).toBe(2)
  })

  it('is answered 503 when one of its events was not stored', async () => {
    const { deps } = createRig([account('org_1', 'token')], [number('org_1')])
    const accept: AcceptWebhookDeps['accept'] = async ({ type }) =>
      type === 'opt_out' ? { kind: 'unavailable' } : { kind: 'accepted', deliveryIds: [] }
    const result = await take({ ...deps, accept }, webhook('token', [['OptOutType', 'STOP']]))
    expect(result.kind).toBe('unavailable')
  })

  it('without a number belongs to the number and assistant of its call', async () => {
    const { deps, events } = createRig([account('org_1', 'token')], [number('org_1')])
    const recording = createTwilioCallback({
      authToken: 'token',
      publicBaseUrl: 'https://hooks.example.com',
      path: '/recording-status',
      fields: [
        ['AccountSid', SID],
        ['CallSid', 'CA1'],
        ['RecordingSid', 'RE1'],
        ['RecordingStatus', 'completed'],
      ],
    })
    const request = {
      ...webhook('token'),
      url: `https://hooks.example.com${recording.target}`,
      headers: recording.headers,
      body: Buffer.from(recording.body ?? ''),
    }
    expect((await take(deps, request)).kind).toBe('accepted')
    expect(events[0]).toMatchObject({ phoneNumber: NUMBER, assistantId: 42, callSid: 'CA1' })
  })
})

describe('an authentic webhook for a number that the tenant does not own', () => {
  it('is held back and answered as if it were taken', async () => {
    const { deps, events, held } = createRig([account('org_1', 'token')], [number('org_2')])
    const result = await take(deps, webhook('token'))
    expect(result).toMatchObject({ kind: 'quarantined', answer: { status: 200 } })
    expect(events).toEqual([])
    expect(held).toMatchObject([{ reason: 'unknown_number' }])
  })

  it('is answered 503 when no store took it', async () => {
    const { deps } = createRig([account('org_1', 'token')], [])
    const quarantine = { ...deps.quarantine, holdAuthentic: async () => false }
    expect((await take({ ...deps, quarantine }, webhook('token'))).kind).toBe('unavailable')
  })
})

describe('what is not believed', () => {
  it('is told why, and held back', async () => {
    const { deps, held } = createRig([account('org_1', 'token')], [])
    const good = webhook('token')
    const variants = {
      missing_signature: { ...good, headers: { ...good.headers, 'x-twilio-signature': '' } },
      malformed_signature: { ...good, headers: { ...good.headers, 'x-twilio-signature': 'x' } },
      wrong_signature: { ...good, url: `${URL}?changed` },
      unknown_account: { ...good, body: Buffer.from('AccountSid=AC1&To=1') },
    }
    for (const [reason, request] of Object.entries(variants)) {
      expect(await take(deps, request)).toMatchObject({ kind: 'forged', reason })
    }
    expect(held.map(({ reason }) => reason)).toEqual(Object.keys(variants))
  })

  it('is not even held back once its sender has failed too often; what verifies still is taken', async () => {
    const { deps, held } = createRig([account('org_1', 'token')], [number('org_1')])
    const tired = { ...deps, mayFail: () => false }
    expect((await take(tired, webhook('wrong'))).kind).toBe('failing_too_often')
    expect(held).toEqual([])
    expect((await take(tired, webhook('token'))).kind).toBe('accepted')
  })

  it('is never said to be forged for a token that cannot be opened: that is our own fault', async () => {
    const { deps } = createRig([{ ...account('org_1'), isUnreadable: true }], [])
    expect((await take(deps, webhook('token'))).kind).toBe('unavailable')
  })

  it('is never said to be forged while the snapshot is not loaded', async () => {
    const { deps } = createRig([], [])
    expect((await take({ ...deps, isReady: () => false }, webhook('token'))).kind).toBe(
      'unavailable',
    )
  })
})

describe('an unsigned webhook', () => {
  const open: ProviderAccount = {
    ...{ ...account('org_1'), provider: 'pbx', accountSid: null },
    basicSha256: hash('sha256', 'desk:secret', 'buffer'),
    allowedCidrs: ['192.0.2.0/24'],
  }
  const form = {
    ...{ service_id: 'SVC', from: 'ACME', sms_number: NUMBER, body: 'Hi' },
    ...{ message_id: '297abf7f-99d9-4b7d-9c46-1d7c13687b11', timestamp: '1576391654' },
  }
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
  const sent = (changes: Partial<SentWebhook> = {}, authorization = basic('desk:secret')) => ({
    ...webhook(''),
    url: 'https://hooks.example.com/webhooks/pbx/token',
    headers: { 'content-type': 'application/x-www-form-urlencoded', authorization },
    body: Buffer.from(new URLSearchParams(form).toString()),
    account: open,
    ...changes,
  })
  const post = (deps: AcceptWebhookDeps, request: SentWebhook) =>
    acceptWebhook(deps, pbx, request, '/webhooks/pbx/{token}')

  it('is taken from an allowed address with the right password only', async () => {
    const { deps, events } = createRig([open], [number('org_1')])
    expect((await post(deps, sent())).kind).toBe('accepted')
    expect(events[0]).toMatchObject({ provider: 'pbx', phoneNumber: NUMBER })
    for (const wrong of ['', 'Basic', basic('desk:wrong'), basic('desk'), 'Bearer x']) {
      expect(await post(deps, sent({}, wrong))).toMatchObject({ reason: 'wrong_credentials' })
    }
    for (const clientIp of ['198.51.100.1', null, '']) {
      expect(await post(deps, sent({ clientIp }))).toMatchObject({ reason: 'address_not_allowed' })
    }
    expect(events).toHaveLength(1)
  })
})

describe('what a request holds', () => {
  it('never puts NUL or endless text into a column', async () => {
    const { deps, events } = createRig([account('org_1', 'token')], [number('org_1')])
    await take(deps, webhook('token', [['From', `\0${'9'.repeat(400)}`]]))
    expect(events[0]?.peerNumber).not.toContain('\0')
    expect(events[0]?.peerNumber?.length).toBeLessThanOrEqual(256)
  })

  it('is refused when it is a flood of parameters, before they are sorted', async () => {
    const { deps } = createRig([account('org_1', 'token')], [])
    const body = Buffer.from('a=1&'.repeat(100_000))
    expect((await take(deps, { ...webhook('token'), body })).kind).toBe('too_many_parameters')
  })

  it('is refused when it is of another media type', async () => {
    const { deps } = createRig([account('org_1', 'token')], [])
    const headers = { ...webhook('token').headers, 'content-type': 'text/plain' }
    expect((await take(deps, { ...webhook('token'), headers })).kind).toBe('unsupported_media_type')
  })
})
