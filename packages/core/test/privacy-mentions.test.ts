import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesMention, isAboutNumber, textMentions } from '../src/store/privacy-mentions.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'
import { createEntry, createRecord } from './test-rows.ts'

const NUMBER = '+61400000001'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase('empty')
})
afterAll(() => database.drop())

async function isFound(bytes: Buffer): Promise<boolean> {
  const { rows } = await sql<{ is_found: boolean }>`
    select ${bytesMention('body', NUMBER)} as is_found from (select ${bytes}::bytea as body) as row`.execute(
    database.db,
  )
  return rows[0]?.is_found === true
}

async function isFoundInText(text: string): Promise<boolean> {
  const { rows } = await sql<{ is_found: boolean }>`
    select ${textMentions('body', NUMBER)} as is_found from (select ${text}::text as body) as row`.execute(
    database.db,
  )
  return rows[0]?.is_found === true
}

const NAMES_IT = [
  '61400000001',
  '+61400000001',
  'From=%2B61400000001&To=1',
  '{"from":"+61400000001"}',
  '{"from":61400000001}',
  'whatsapp:+61400000001',
  'call%2061400000001%20please',
  'call 0011 61400000001',
  'dial 001161400000001, or 0061400000001',
  'a\u00e961400000001\u00e9',
  '"caf\\u00e961400000001"',
  ...['0400000001', 'call 0400000001 back', 'From=%200400000001'],
  ...['+61 400 000 001', '(0400) 000-001', '0400.000.001', '61-400/000 001', '+61 (0)400 000 001'],
  ...['From=%2B61+400%20000+001', 'From=%280400%29+000-001', '{"from":"0400\\/000\\/001"}'],
  ...['+61\u00a0400\u2009000\u2011001', '"+61\\u00a0400000001"', '0011 61 400 000 001'],
]

/** Other numbers, and ids with the digits within. */
const DOES_NOT = [
  '',
  'nobody',
  '614000000012',
  '161400000001',
  '6140000000',
  'SM99961400000001777',
  '{"id":361400000001}',
  ...['04000000012', '10400000001', '+61 400 000 0012', '3+161 400 000 001', '(10400) 000-001'],
  ...['0400\n000001', '0400,000,001', '61 400 000', '400000001'],
]

describe('a person', () => {
  it.each(NAMES_IT)('is found in %s', async (text) => {
    expect(await isFound(Buffer.from(text))).toBe(true)
    expect(await isFoundInText(text)).toBe(true)
  })

  it.each(DOES_NOT)('is not found in %s', async (text) => {
    expect(await isFound(Buffer.from(text))).toBe(false)
    expect(await isFoundInText(text)).toBe(false)
  })

  it('is found between any bytes, NUL and broken UTF-8 among them', async () => {
    for (const byte of [0, 0x0a, 0x5c, 0x80, 0xff]) {
      const around = Buffer.from([byte])
      expect(await isFound(Buffer.concat([around, Buffer.from(NUMBER.slice(1)), around]))).toBe(
        true,
      )
    }
  })
})

describe('what Postgres refused', () => {
  const isAbout = (payload: string, facts: object = {}) => {
    const entry = createEntry({ peerNumber: null, payload: Buffer.from(payload), ...facts })
    return isAboutNumber({ kind: 'event', entry }, 'org_test', NUMBER)
  }

  it('names the person or not, as in Postgres', () => {
    for (const text of NAMES_IT) expect([text, isAbout(text)]).toEqual([text, true])
    for (const text of DOES_NOT) expect([text, isAbout(text)]).toEqual([text, false])
    expect(isAbout('nobody', { peerNumber: NUMBER })).toBe(true)
    expect(isAbout('nobody', { peerNumber: '0400 000 001' })).toBe(true)
    expect(isAbout('nobody', { callSid: `sip-${NUMBER}` })).toBe(true)
  })

  it("is only looked at where it is the organization's, or cannot be read", () => {
    expect(isAbout(NUMBER, { organizationId: 'org_other' })).toBe(false)
    const record = createRecord(createEntry())
    const attempt = record.attempt && { ...record.attempt, responseBody: `for ${NUMBER}` }
    const item = { kind: 'record', record: { ...record, attempt } } as const
    expect(isAboutNumber(item, 'org_test', NUMBER)).toBe(true)
    expect(isAboutNumber(item, 'org_other', NUMBER)).toBe(false)
    const text = `{"phone":"${NUMBER}"`
    expect(isAboutNumber({ kind: 'unreadable', text }, 'org_test', NUMBER)).toBe(true)
  })
})
