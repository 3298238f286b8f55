import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { silentLogger } from '../src/log.ts'
import { type ConfigChanges, createSnapshot } from '../src/routing/snapshot.ts'
import { encryptSecret, parseKeyRing } from '../src/secrets.ts'
import { findConfigChanges, sealOf } from '../src/store/config-changes.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'

const newRing = () => parseKeyRing(`k1:${randomBytes(32).toString('base64')}`)
const ring = newRing()
let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase('migrated')
  await database.pool.query(`insert into organizations (id, name) values ('org_1', 'One')`)
})
afterAll(() => database.drop())

const findSince = (version: number): Promise<ConfigChanges> =>
  findConfigChanges(database.db, version, ring, silentLogger)

async function currentVersion(): Promise<number> {
  const snapshot = createSnapshot()
  snapshot.apply(await findSince(0))
  return snapshot.version()
}

async function addNumber(phoneNumber: string): Promise<number> {
  const { rows } = await database.pool.query(
    `insert into phone_numbers (organization_id, phone_number, provider) values ('org_1', $1, 'twilio') returning id`,
    [phoneNumber],
  )
  return rows[0]?.id
}

describe('findConfigChanges', () => {
  it('finds what was added, changed or deleted since a version, and nothing else', async () => {
    await addNumber('+14155550001')
    const before = await currentVersion()
    const id = await addNumber('+14155550002')
    const added = await findSince(before)
    expect(added.phoneNumbers).toMatchObject([
      { id, phoneNumber: '+14155550002', isDeleted: false },
    ])
    expect(added.organizations).toEqual([])

    const afterAdding = await currentVersion()
    await database.pool.query('update phone_numbers set service_id = $2 where id = $1', [id, 's1'])
    expect((await findSince(afterAdding)).phoneNumbers).toMatchObject([{ id, serviceId: 's1' }])

    const afterChange = await currentVersion()
    await database.pool.query('update phone_numbers set deleted_at = now() where id = $1', [id])
    expect((await findSince(afterChange)).phoneNumbers).toMatchObject([{ id, isDeleted: true }])
    expect(await findSince(await currentVersion())).toMatchObject({ phoneNumbers: [] })
  })

  it('finds every row once, however many pages they take', async () => {
    const before = await currentVersion()
    const { rowCount } = await database.pool.query(
      `insert into phone_numbers (organization_id, phone_number, provider)
       select 'org_1', '+1650' || (5000000 + n), 'twilio' from generate_series(1, 2500) as n`,
    )
    const { phoneNumbers } = await findSince(before)
    expect(phoneNumbers).toHaveLength(rowCount ?? 0)
    expect(new Set(phoneNumbers.map(({ id }) => id)).size).toBe(2_500)
    expect(phoneNumbers.at(-1)?.version).toBe(await currentVersion())
  })

  it('takes a deleted row out of the snapshot, and a number that was made again stays in', async () => {
    const snapshot = createSnapshot()
    const id = await addNumber('+14155550003')
    snapshot.apply(await findSince(0))
    expect(snapshot.findPhoneNumber('org_1', '+14155550003')).toMatchObject({ id })
    await database.pool.query('update phone_numbers set deleted_at = now() where id = $1', [id])
    snapshot.apply(await findSince(snapshot.version()))
    expect(snapshot.findPhoneNumber('org_1', '+14155550003')).toBeUndefined()
    const again = await addNumber('+14155550003')
    snapshot.apply(await findSince(0))
    expect(snapshot.findPhoneNumber('org_1', '+14155550003')).toMatchObject({ id: again })
  })

  it('never misses a row of a transaction that commits late', async () => {
    const [early, late] = await Promise.all([database.pool.connect(), database.pool.connect()])
    await early.query('begin')
    await early.query(`update organizations set name = 'Early' where id = 'org_1'`)
    const waiting = late.query(
      `insert into assistants (organization_id, name) values ('org_1', 'Late') returning version`,
    )
    const seen = await currentVersion()
    await early.query('commit')
    await waiting
    const changes = await findSince(seen)
    expect([changes.organizations.length, changes.assistants.length]).toEqual([1, 1])
    early.release()
    late.release()
  })

  it('loads an account without the token that no key opens, and tells the log', async () => {
    const seal = (id: string, column: string) => encryptSecret(ring, 'token', sealOf(id, column))
    await database.pool.query(
      `insert into provider_accounts (id, organization_id, provider, account_sid, auth_token, secondary_auth_token)
       values ('pac_1', 'org_1', 'twilio', 'AC1', $1, $2)`,
      [seal('pac_1', 'auth_token'), seal('pac_2', 'secondary_auth_token')],
    )
    const errors: object[] = []
    const log = { ...silentLogger, error: (fields: object) => errors.push(fields) }
    const { providerAccounts } = await findConfigChanges(database.db, 0, ring, log)
    expect(providerAccounts[0]?.verifyKeys.map((key) => key.export().toString())).toEqual(['token'])
    expect(errors).toMatchObject([{ provider_account_id: 'pac_1', column: 'secondary_auth_token' }])
    const lost = await findConfigChanges(database.db, 0, newRing(), log)
    expect(lost.providerAccounts).toMatchObject([{ accountSid: 'AC1', verifyKeys: [] }])
  })
})
