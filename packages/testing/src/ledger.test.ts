import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import {
  appendLedgerLine,
  assertNoLoss,
  createLedger,
  openLedgerFile,
  readLedgerFile,
} from './ledger.ts'

const directory = mkdtempSync(join(tmpdir(), 'switchhook-ledger-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const noDuplicates = { allowDuplicates: () => 0 }

describe('loss', () => {
  test('an acked event that nobody saw again is lost', () => {
    const ledger = createLedger()
    ledger.acked('a')
    ledger.acked('b')
    ledger.delivered('b', 'b')
    const report = ledger.check(noDuplicates)
    expect(report).toMatchObject({ acked: 2, delivered: 1, lost: ['a'] })
    expect(() => assertNoLoss(report)).toThrow(/1 acked and lost: a\n/)
  })

  test.each(['pending', 'given_up', 'expired', 'cancelled'] as const)(
    'an acked event that the API shows as %s is not lost',
    (state) => {
      const ledger = createLedger()
      ledger.acked('a')
      ledger.terminal('a', state)
      expect(ledger.check(noDuplicates).lost).toEqual([])
    },
  )

  test.each(['delivered', 'emailed'] as const)(
    'an event that the API shows as %s and nobody received is lost',
    (state) => {
      const ledger = createLedger()
      ledger.acked('a')
      ledger.terminal('a', state)
      expect(ledger.check(noDuplicates).lost).toEqual(['a'])
    },
  )

  test('an event of unknown fate cannot be lost, and may arrive', () => {
    const ledger = createLedger()
    ledger.unknown('never arrived')
    ledger.unknown('arrived')
    ledger.delivered('arrived', 'arrived')
    const report = ledger.check(noDuplicates)
    expect(report).toMatchObject({ unknown: 2, lost: [], unexpected: [] })
    expect(() => assertNoLoss(report)).not.toThrow()
  })

  test('an unanswered attempt delivers nothing', () => {
    const ledger = createLedger()
    ledger.acked('a')
    ledger.attempted('a')
    expect(ledger.check(noDuplicates)).toMatchObject({ attempted: 1, lost: ['a'] })
  })
})

describe('duplicates', () => {
  test('more deliveries than faults allow are reported with both numbers', () => {
    const ledger = createLedger()
    for (const id of ['hit', 'hit', 'spared', 'spared']) ledger.delivered(id, id)
    const report = ledger.check({ allowDuplicates: (id) => (id === 'hit' ? 1 : 0) })
    expect(report.duplicates).toBe(2)
    expect(report.tooManyDeliveries).toEqual([{ id: 'spared', delivered: 2, allowed: 1 }])
    expect(() => assertNoLoss(report)).toThrow(/delivered too often: spared \(2, allowed 1\)/)
  })

  test('a duplicate with another webhook-id is a violation though duplicates are allowed', () => {
    const ledger = createLedger()
    ledger.delivered('a', 'evt_1')
    ledger.delivered('a', 'evt_2')
    const report = ledger.check({ allowDuplicates: () => 5 })
    expect(report.changedWebhookId).toEqual([{ id: 'a', webhookIds: ['evt_1', 'evt_2'] }])
    expect(() => assertNoLoss(report)).toThrow(/changing webhook-ids: a \(evt_1, evt_2\)/)
  })
})

test('a second mail and a mail for a delivered event are violations', () => {
  const ledger = createLedger()
  ledger.emailed('twice')
  ledger.emailed('twice')
  ledger.delivered('both', 'both')
  ledger.emailed('both')
  const report = ledger.check(noDuplicates)
  expect(report).toMatchObject({ mailedTwice: ['twice'], mailedThoughDelivered: ['both'] })
  expect(() => assertNoLoss(report)).toThrow(/mailed twice: twice\n1 mailed though delivered: both/)
})

test('a long list of lost events is cut in the summary', () => {
  const ledger = createLedger()
  for (let n = 0; n < 12; n += 1) ledger.acked(`e${n}`)
  expect(() => assertNoLoss(ledger.check(noDuplicates))).toThrow(/12 acked .* e9, … and 2 more/)
})

describe('files', () => {
  test('what several writers append is read back and adds up', () => {
    const file = join(directory, 'shared.jsonl')
    const other = openLedgerFile(file)
    appendLedgerLine(file, { kind: 'acked', id: 'a' })
    other.append({ kind: 'delivered', id: 'a', webhookId: 'a' })
    appendLedgerLine(file, { kind: 'acked', id: 'b' })
    other.append({ kind: 'terminal', id: 'b', state: 'given_up' })
    other.close()
    const ledger = createLedger()
    for (const entry of readLedgerFile(file)) ledger.record(entry)
    expect(ledger.check(noDuplicates)).toMatchObject({ acked: 2, delivered: 1, lost: [] })
  })

  test('a line cut short by the death of its writer is left out', () => {
    const file = join(directory, 'cut.jsonl')
    appendLedgerLine(file, { kind: 'acked', id: 'a' })
    appendFileSync(file, '{"kind":"ack')
    expect(readLedgerFile(file)).toEqual([{ kind: 'acked', id: 'a' }])
  })

  test('a broken line in the middle is an error that names it', () => {
    const file = join(directory, 'broken.jsonl')
    appendFileSync(file, '{"kind":"ack\n{"kind":"acked","id":"a"}\n')
    expect(() => readLedgerFile(file)).toThrow(/broken\.jsonl:1 is not a ledger line/)
  })
})
