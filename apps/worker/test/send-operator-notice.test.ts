import { silentLogger } from '@switchhook/core/log'
import { writeDeliveryLog } from '@switchhook/core/store/delivery-log'
import { writeJournal } from '@switchhook/core/store/journal'
import { type SmtpSink, startSmtpSink } from '@switchhook/testing/smtp-sink'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { createMailSender, type MailSender } from '../src/send-mail.ts'
import { sendOperatorNotice } from '../src/send-operator-notice.ts'
import {
  ACCEPTED_AT_MS,
  entryOf,
  openTestStores,
  recordOf,
  type TestStores,
} from './test-stores.ts'

let stores: TestStores
let sink: SmtpSink
let sender: MailSender

beforeAll(async () => {
  stores = await openTestStores()
})
beforeEach(async () => {
  await stores.clear()
  await stores.pool.query('truncate operator_notices')
  sink = await startSmtpSink()
  sender = createMailSender(sink.url, 'switchhook@hooks.example')
})
afterEach(async () => {
  sender.close()
  await sink.stop()
})
afterAll(() => stores.close())

const look = () =>
  sendOperatorNotice({
    ...{ pool: stores.pool, sender, to: 'operator@hooks.example' },
    ...{ retentionDays: 30, log: silentLogger },
  })

/** Deliveries that were given up; `fallbackAtMs` is set when a mail was owed. */
async function giveUp(
  ids: readonly number[],
  fallbackAtMs: number | null,
  ago = '2 minutes',
): Promise<void> {
  const entries = ids.map((id) => entryOf(id))
  await writeJournal(stores.pool, entries)
  const records = entries.map((entry) =>
    recordOf(entry, {
      state: 'given_up',
      fallbackAtMs,
      reason: 'The fallback <b>mail</b> failed.',
    }),
  )
  await writeDeliveryLog(stores.pool, records, () => undefined)
  await stores.pool.query(
    `update deliveries set updated_at = now() - $1::interval where id = any($2)`,
    [ago, records.map(({ deliveryId }) => deliveryId)],
  )
}

/** As if it had gone out so long ago. */
async function makeOld(ago: string): Promise<void> {
  await stores.pool.query(
    `update operator_notices set day = '2026-01-01', sent_at = now() - $1::interval`,
    [ago],
  )
}

it('tells the operator once a day how many mails failed, and of which destinations', async () => {
  await giveUp([1, 2, 3], ACCEPTED_AT_MS)
  await Promise.all([look(), look(), look()])
  await look()
  expect(sink.mails).toHaveLength(1)
  const [mail] = sink.mails
  expect(mail).toMatchObject({
    envelopeTo: ['operator@hooks.example'],
    subject: '[Switchhook] 3 deliveries were given up',
    attachments: [],
  })
  expect(mail?.text).toContain('3  dst_sample of org_a: The fallback <b>mail</b> failed.')
  expect(mail?.html).not.toContain('<b>')
  expect(mail?.messageId).toMatch(/^<operator-\d{4}-\d\d-\d\d@switchhook>$/)
  await makeOld('1 hour')
  await look()
  expect(sink.mails).toHaveLength(2)
})

it('tells nothing when no mail failed: a destination without an address is its owner’s choice', async () => {
  await giveUp([1], null)
  await look()
  expect(sink.mails).toEqual([])
  await giveUp([2], ACCEPTED_AT_MS)
  await look()
  expect(sink.mails).toHaveLength(1)
})

it('tells it when the mail server is back, and never counts a day as told before', async () => {
  await giveUp([1], ACCEPTED_AT_MS)
  sink.mode({ rejectCode: 451, text: 'busy' })
  await look()
  sink.mode('accept')
  await look()
  expect(sink.mails).toHaveLength(1)
})

it('tells all that was lost since the last notice, however long the mail server was away, and nothing twice', async () => {
  await giveUp([1], ACCEPTED_AT_MS, '73 hours')
  await look()
  expect(sink.mails[0]?.subject).toContain(' 1 deliveries')
  await makeOld('72 hours')
  await giveUp([2], ACCEPTED_AT_MS, '71 hours')
  sink.mode({ rejectCode: 451, text: 'busy' })
  await look()
  sink.mode('accept')
  await giveUp([3], ACCEPTED_AT_MS)
  await look()
  expect(sink.mails[1]?.subject).toContain(' 2 deliveries')
  await stores.pool.query(`update operator_notices set day = '2026-01-02' where day > '2026-01-01'`)
  await look()
  expect(sink.mails).toHaveLength(2)
})

it('leaves what was given up just now for the next one: more of that moment may come', async () => {
  await giveUp([1], ACCEPTED_AT_MS)
  await giveUp([2], ACCEPTED_AT_MS, '0 minutes')
  await look()
  expect(sink.mails[0]?.subject).toContain(' 1 deliveries')
  await stores.pool.query(
    `update operator_notices set day = '2026-01-02', sent_at = sent_at - interval '70 s'`,
  )
  await stores.pool.query(`update deliveries set updated_at = updated_at - interval '70 s'`)
  await look()
  expect(sink.mails[1]?.subject).toContain(' 1 deliveries')
})
