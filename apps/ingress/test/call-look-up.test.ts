import type { AcceptedEvent } from '@switchhook/core/event'
import { silentLogger } from '@switchhook/core/log'
import { telnyx } from '@switchhook/core/providers/telnyx'
import { parseTelnyxPublicKey } from '@switchhook/core/providers/telnyx-key'
import { createSnapshot } from '@switchhook/core/routing/snapshot'
import { type DatabaseHandle, openDatabase } from '@switchhook/core/store/database'
import { writeJournal } from '@switchhook/core/store/journal'
import { migrate } from '@switchhook/core/store/migrate'
import { createIsolatedDatabase, type IsolatedDatabase } from '@switchhook/testing/isolated'
import { providedStores } from '@switchhook/testing/provided-stores'
import { createTelnyxKey, createTelnyxWebhook } from '@switchhook/testing/telnyx-simulator'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type AcceptWebhookDeps, acceptWebhook } from '../src/accept-webhook.ts'
import { createCallLookUp } from '../src/call-look-up.ts'

let isolated: IsolatedDatabase
let database: DatabaseHandle
beforeAll(async () => {
  // A machine that stands still must not end the look-up's 200 ms.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  isolated = await createIsolatedDatabase(providedStores().databaseUrl)
  const options = { url: isolated.url, applicationName: 'test', maxConnections: 4 }
  database = openDatabase({ ...options, queryTimeoutMs: 5_000 }, silentLogger)
  await migrate(database)
})
afterAll(async () => {
  vi.useRealTimers()
  await database.close()
  await isolated.drop()
})

const TARGET = '/telnyx-webhook'
const OWN = '+14155551234'
const key = createTelnyxKey()
const publicKey = parseTelnyxPublicKey(key.publicKey)
if (publicKey === undefined) throw new Error('no key')

const ids = { call_leg_id: 'leg-1', call_session_id: 'session-1' }
const event = (event_type: string, id: string, payload: object) =>
  JSON.stringify({
    data: { record_type: 'event', event_type, id, occurred_at: '2026-11-21T01:00:00Z', payload },
  })
const started = event('call.initiated', 'one', {
  ...{ ...ids, call_control_id: 'v3:one', direction: 'outgoing', from: OWN, to: '+17035550630' },
})
/** As documented: neither numbers nor the control id. */
const saved = event('call.recording.saved', 'two', {
  ...{ ...ids, recording_id: 'rec-1', recording_urls: { mp3: 'https://telnyx.example/1.mp3' } },
})

function createRig() {
  const snapshot = createSnapshot()
  const versioned = { version: 1, isDeleted: false }
  snapshot.apply({
    ...{ organizations: [], apiKeys: [], assistants: [], destinations: [] },
    providerAccounts: ['org_1', 'org_2'].map((organizationId, index) => ({
      ...{ id: `pac_${index}`, organizationId, provider: 'telnyx', accountSid: null },
      verifyKeys: [index === 0 ? publicKey : parseTelnyxPublicKey(createTelnyxKey().publicKey)],
      ...{ createdAtMs: 1, basicSha256: null, allowedCidrs: [], tokenHashes: [], ...versioned },
    })) as never,
    phoneNumbers: [
      {
        id: 1,
        organizationId: 'org_1',
        phoneNumber: OWN,
        assistantId: 7,
        serviceId: null,
        ...versioned,
      },
    ],
  })
  const events: AcceptedEvent[] = []
  const deps: AcceptWebhookDeps = {
    ...{ snapshot, isReady: () => true, nowMs: Date.now, mayFail: () => true },
    calls: createCallLookUp(database),
    async accept(accepted) {
      events.push(accepted)
      await writeJournal(database.pool, [{ event: accepted, deliveries: [] }])
      return { kind: 'accepted', deliveryIds: [] }
    },
    quarantine: { hold: async () => undefined, holdAuthentic: async () => true },
  }
  const post = (body: string) => {
    const { headers } = createTelnyxWebhook({ key, target: TARGET, body })
    const url = `https://hooks.example${TARGET}`
    const sent = { method: 'POST', url, headers, body: Buffer.from(body) }
    const sender = { clientIp: null, account: undefined, tenantsOfCall: [], checkBasic: true }
    return acceptWebhook(deps, telnyx, { ...sent, ...sender }, TARGET)
  }
  return { events, post }
}

describe('a recording that names neither number nor call', () => {
  it('belongs to the call whose leg or session it names, and to its number and assistant', async () => {
    const { events, post } = createRig()
    expect((await post(started)).kind).toBe('accepted')
    expect((await post(saved)).kind).toBe('accepted')
    expect(events[1]).toMatchObject({
      ...{ type: 'recording_completed', callSid: 'v3:one', organizationId: 'org_1' },
      ...{ phoneNumber: OWN, peerNumber: '+17035550630', assistantId: 7 },
    })
    const { rows } = await database.pool.query('select call_sid from calls')
    expect(rows).toEqual([{ call_sid: 'v3:one' }])
  })

  it('is refused when nobody has such a call', async () => {
    const { post } = createRig()
    const strange = saved.replaceAll('leg-1', 'leg-9').replaceAll('session-1', 'session-9')
    expect(await post(strange)).toMatchObject({ kind: 'forged', reason: 'unknown_number' })
  })

  it('is nobody’s as far as Postgres does not say so in 200 ms', async () => {
    await createRig().post(started)
    const { findOwner, findTenants } = createCallLookUp(database)
    const client = await database.pool.connect()
    await client.query('begin')
    await client.query('lock table calls, call_aliases in access exclusive mode')
    const answers = Promise.all([findOwner('org_1', ['v3:one']), findTenants(['v3:one'])])
    await vi.advanceTimersByTimeAsync(199)
    expect(await Promise.race([answers, 'waiting'])).toBe('waiting')
    await vi.advanceTimersByTimeAsync(1)
    expect(await answers).toEqual([undefined, []])
    await client.query('rollback')
    client.release()
    expect(await findOwner('org_1', ['v3:one'])).toMatchObject({ phoneNumber: OWN })
  })
})
