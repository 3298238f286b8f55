import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { insertQuarantined, type QuarantinedWebhook } from '@switchhook/core/store/quarantine'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  digits,
  type Erasing,
  messageOf,
  ORGANIZATION,
  OTHER,
  openErasing,
  PERSON,
} from './erasing.ts'
import { entryOf, recordOf } from './test-stores.ts'

let erasing: Erasing

beforeAll(async () => {
  erasing = await openErasing()
})
beforeEach(() => erasing.clear())
afterAll(() => erasing.close())

describe('the erasure of a person', () => {
  it('takes number, text and bodies out of all tables, and leaves everybody else alone', async () => {
    const [theirs, others] = [messageOf('theirs', PERSON), messageOf('others', OTHER)]
    await erasing.journal(theirs, others)
    for (const entry of [theirs, others]) {
      const peer = entry.event.peerNumber
      await erasing.attempt(entry, { state: 'given_up', reason: `refused ${peer}` })
    }
    // The control: all of it is found before.
    const held = ['events', 'deliveries', 'webhook_logs']
    expect(await erasing.tablesWith(digits(PERSON))).toEqual(held)
    expect(await erasing.tablesWith('text+of+theirs')).toEqual(['events', 'webhook_logs'])
    const before = [await erasing.tablesWith(digits(OTHER)), await erasing.rowOf('others')]

    const id = await erasing.ask()
    expect(await erasing.tablesWith(digits(PERSON))).toContain('erasures')
    expect(await erasing.finish(id)).toMatchObject({
      ...{ state: 'finished', eventsErased: 1, deliveriesCancelled: 0, attemptsErased: 1 },
    })
    expect(await erasing.tablesWith(digits(PERSON))).toEqual([])
    expect(await erasing.tablesWith('text+of+theirs')).toEqual([])
    expect([await erasing.tablesWith(digits(OTHER)), await erasing.rowOf('others')]).toEqual(before)
    expect(await erasing.rowOf('theirs')).toMatchObject({
      ...{ peer_number: null, phone_number: '+14155551234', erased_at: expect.any(Date) },
      payload: Buffer.alloc(0),
    })
  })

  it('finds them where only the payload names them, and in all events of their calls', async () => {
    await erasing.journal(
      entryOf('group', { peerNumber: OTHER, payload: Buffer.from(`to=${digits(PERSON)}`) }),
      messageOf('call', PERSON, { type: 'call_started', callSid: 'CA1' }),
      entryOf('transcript', {
        ...{ type: 'transcript', callSid: 'CA1', peerNumber: null },
        payload: Buffer.from('what was said'),
      }),
      entryOf('elsewhere', {
        ...{ type: 'transcript', callSid: 'CA2', peerNumber: null },
        payload: Buffer.from('said by others'),
      }),
    )
    expect(await erasing.tablesWith(digits(PERSON))).toEqual(['events', 'calls'])
    const done = await erasing.finish(await erasing.ask())
    expect(done).toMatchObject({ state: 'finished', eventsErased: 3, callsErased: 1 })
    expect(await erasing.tablesWith(digits(PERSON))).toEqual([])
    expect(await erasing.tablesWith('what was said')).toEqual([])
    expect(await erasing.tablesWith('said by others')).toEqual(['events'])
  })

  it('finds other spellings of the number, and takes it out of the names of calls', async () => {
    // PERSON is +1 703 555 0630.
    const [spaced, national, longer] = ['+1 (703) 555-0630', '07035550630', '+1 703 555 06309']
    const nobody = { type: 'transcript' as const, peerNumber: null, payload: Buffer.from('said') }
    const entries = [
      messageOf('spaced', OTHER, { payload: Buffer.from(`ring ${spaced}`) }),
      messageOf('national', OTHER, { payload: Buffer.from(`Body=ring+${national}`) }),
      messageOf('peer', OTHER, { peerNumber: spaced, payload: Buffer.from('x') }),
      messageOf('longer', OTHER, { payload: Buffer.from(`ring ${longer}`) }),
      entryOf('sip1', { ...nobody, callSid: `sip-${PERSON}` }),
      entryOf('sip2', { ...nobody, callSid: `sip-${national}` }),
      messageOf('call', OTHER, { type: 'call_started', callSid: `sip-${national}` }),
      entryOf('other', { ...nobody, callSid: `sip-${digits(PERSON)}9` }),
    ]
    await erasing.journal(...entries)
    for (const entry of entries) await erasing.attempt(entry, { state: 'given_up' })
    await erasing.pool.query(
      `insert into calls (organization_id, call_sid, to_phone_number, status)
       values ($1, $2, $3, 'ended')`,
      [ORGANIZATION, `pbx/${spaced}`, spaced],
    )
    const count = await erasing.pool.query('select 1 from calls')
    expect(await erasing.finish(await erasing.ask())).toMatchObject({
      ...{ state: 'finished', eventsErased: 6 },
    })
    expect(await erasing.tablesWith('03 555 0630')).toEqual(['events', 'webhook_logs'])
    const held = ['events', 'deliveries', 'webhook_logs', 'calls']
    expect(await erasing.tablesWith(digits(PERSON))).toEqual(held)
    expect((await erasing.pool.query('select 1 from calls')).rowCount).toBe(count.rowCount)
    for (const table of ['events', 'deliveries', 'webhook_logs', 'calls']) {
      await erasing.pool.query(`delete from ${table} where call_sid = $1`, [
        `sip-${digits(PERSON)}9`,
      ])
    }
    await erasing.pool.query("delete from events where id = 'evt_longer'")
    await erasing.pool.query("delete from webhook_logs where event_id = 'evt_longer'")
    for (const text of [digits(PERSON), national, spaced]) {
      expect([text, await erasing.tablesWith(text)]).toEqual([text, []])
    }
    // One name in all tables, and one for each call.
    const { rows } = await erasing.pool.query(
      `select event.id, event.call_sid from events event
         join deliveries using (call_sid) join webhook_logs using (call_sid)
        where deliveries.event_id = event.id and webhook_logs.event_id = event.id order by 1`,
    )
    const [call, sip1, sip2] = rows.map(({ call_sid }) => call_sid)
    expect(call).toMatch(/^sip-erased-[a-z2-7]{16}$/)
    expect([sip2 === call, sip1 === call]).toEqual([true, false])
  })

  it('leaves other organizations and longer numbers alone', async () => {
    await erasing.journal(
      messageOf('elsewhere', PERSON, { organizationId: 'org_b' }),
      messageOf('longer', `${PERSON}7`),
    )
    expect(await erasing.finish(await erasing.ask())).toMatchObject({
      state: 'finished',
      eventsErased: 0,
    })
    expect((await erasing.rowOf('elsewhere')).peer_number).toBe(PERSON)
    expect((await erasing.rowOf('longer')).peer_number).toBe(`${PERSON}7`)
  })

  it('forgets what waits in quarantine and what was set aside', async () => {
    const held = {
      ...{ provider: 'twilio' as const, providerAccountId: null, claimedAccountSid: null },
      ...{ claimedNumbers: ['+14155551234'], reason: 'r', detail: 'd', isAuthentic: true },
      ...{
        method: 'POST',
        target: '/x',
        headers: {},
        clientIp: null,
        organizationId: ORGANIZATION,
      },
      ...{ receivedAtMs: Date.now(), expiresAtMs: Date.now() + 60_000 },
    } satisfies Partial<QuarantinedWebhook>
    const bodyOf = (number: string) => Buffer.from(`From=%2B${digits(number)}`)
    await insertQuarantined(erasing.pool, { ...held, id: 'qua_1', body: bodyOf(PERSON) })
    await insertQuarantined(erasing.pool, { ...held, id: 'qua_2', body: bodyOf(OTHER) })
    for (const from of [PERSON, OTHER]) {
      await erasing.spool.setAside({
        kind: 'event',
        entry: messageOf(`aside ${digits(from)}`, from),
      })
    }
    const aside = () => erasing.stores.connection.lrange('{switchhook:control}:spool-poison', 0, -1)
    expect(await aside()).toHaveLength(2)
    expect(await erasing.finish(await erasing.ask())).toMatchObject({ quarantinedDeleted: 1 })
    const { rows } = await erasing.pool.query('select id from quarantine')
    expect(rows).toEqual([{ id: 'qua_2' }])
    expect(await aside()).toEqual([expect.stringContaining(digits(OTHER))])
  })

  it('finds answers that name them in the log of other events', async () => {
    const other = messageOf('others', OTHER)
    await erasing.journal(other)
    const record = recordOf(other, { state: 'delivered' })
    const answer = `{"last_caller":"${PERSON}"}`
    const told = {
      ...record,
      attempt: record.attempt && { ...record.attempt, responseBody: answer },
    }
    await writeDeliveryLog(erasing.pool, [told], () => undefined)
    expect(await erasing.finish(await erasing.ask())).toMatchObject({
      eventsErased: 0,
      attemptsErased: 1,
    })
    expect(await erasing.tablesWith(digits(PERSON))).toEqual([])
  })
})
