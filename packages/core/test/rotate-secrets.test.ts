import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { randomId } from '../src/ids.ts'
import { decryptSecret, encryptSecret, parseKeyRing } from '../src/secrets.ts'
import { sealOf } from '../src/store/config-changes.ts'
import { openHeaders, sealHeaders } from '../src/store/destination-headers.ts'
import { rotateSecrets } from '../src/store/rotate-secrets.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'

const key = (id: string) => `${id}:${randomBytes(32).toString('base64')}`
const [old, fresh, lost] = [key('old'), key('new'), key('lost')]
const oldRing = parseKeyRing(old)
const bothRing = parseKeyRing(`${fresh},${old}`)
const newRing = parseKeyRing(fresh)

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase('migrated')
  await database.pool.query(`insert into organizations (id, name) values ('org_a', 'A')`)
})
afterAll(() => database.drop())

async function insertAccount(ring: typeof oldRing): Promise<string> {
  const id = randomId('pac_')
  const seal = (column: string) => encryptSecret(ring, `${column} of it`, sealOf(id, column))
  await database.pool.query(
    `insert into provider_accounts (id, organization_id, provider, auth_token, basic)
     values ($1, 'org_a', 'twilio', $2, $3)`,
    [id, seal('auth_token'), seal('basic')],
  )
  return id
}

async function insertDestination(): Promise<string> {
  const id = randomId('dst_')
  const seal = (text: string) => encryptSecret(oldRing, text, sealOf(id, 'secret'))
  await database.pool.query(
    `insert into destinations (id, organization_id, name, url, format, event_types, success_rule, timeout_ms,
       max_attempts, delays_seconds, jitter, max_concurrency, status, secret, previous_secret)
     values ($1, 'org_a', 'n', 'https://a.example/', 'burki', '{*}', '2xx', 1000, 1, '{}', false, 1, 'active', $2, $3)`,
    [id, seal('whsec_now'), seal('whsec_before')],
  )
  return id
}

describe('rotateSecrets', () => {
  it('puts every secret under the first key, so that the old one is not needed any more', async () => {
    // More than a batch.
    const ids = await Promise.all(Array.from({ length: 250 }, () => insertAccount(oldRing)))
    const destination = await insertDestination()
    expect(await rotateSecrets(database.db, bothRing)).toEqual({ rotated: 502, unreadable: [] })

    const { rows } = await database.pool.query(
      'select id, auth_token, basic from provider_accounts',
    )
    expect(rows).toHaveLength(ids.length)
    for (const row of rows) {
      const open = (column: string) => decryptSecret(newRing, row[column], sealOf(row.id, column))
      expect([open('auth_token'), open('basic')]).toEqual(['auth_token of it', 'basic of it'])
    }
    const [kept] = (await database.pool.query('select * from destinations')).rows
    const openSigning = (envelope: string) =>
      decryptSecret(newRing, envelope, sealOf(destination, 'secret'))
    expect(openSigning(kept.secret)).toBe('whsec_now')
    expect(openSigning(kept.previous_secret)).toBe('whsec_before')
  })

  it('covers the pairs and the headers of destinations, those from before they were sealed included', async () => {
    const [sealed, clear] = [await insertDestination(), await insertDestination()]
    const pair = encryptSecret(oldRing, 'whsk_now', sealOf(sealed, 'ed25519_key'))
    await database.pool.query(
      'update destinations set sealed_headers = $2, ed25519_key = $3, previous_ed25519_key = $3 where id = $1',
      [sealed, sealHeaders(oldRing, sealed, { authorization: 'Bearer a' }), pair],
    )
    await database.pool.query(
      `update destinations set headers = '{"authorization": "Bearer b"}' where id = $1`,
      [clear],
    )
    expect(await rotateSecrets(database.db, bothRing)).toEqual({ rotated: 8, unreadable: [] })
    const { rows } = await database.pool.query('select * from destinations')
    const rowOf = (id: string) => rows.find((row) => row.id === id)
    const headersOf = (id: string) =>
      openHeaders(newRing, { id, headers: {}, sealedHeaders: rowOf(id).sealed_headers })
    expect(headersOf(sealed)).toEqual({ authorization: 'Bearer a' })
    expect(headersOf(clear)).toEqual({ authorization: 'Bearer b' })
    expect(JSON.stringify(rows)).not.toContain('Bearer')
    for (const column of ['ed25519_key', 'previous_ed25519_key']) {
      const seal = sealOf(sealed, 'ed25519_key')
      expect(decryptSecret(newRing, rowOf(sealed)[column], seal)).toBe('whsk_now')
    }
  })

  it('changes nothing a second time', async () => {
    const before = await database.pool.query('select max(version) from provider_accounts')
    expect(await rotateSecrets(database.db, bothRing)).toEqual({ rotated: 0, unreadable: [] })
    const after = await database.pool.query('select max(version) from provider_accounts')
    expect(after.rows).toEqual(before.rows)
  })

  it('leaves what no key opens, and names it', async () => {
    const id = await insertAccount(parseKeyRing(lost))
    const { rotated, unreadable } = await rotateSecrets(database.db, bothRing)
    expect({ rotated, unreadable }).toEqual({
      rotated: 0,
      unreadable: [`${id}.auth_token`, `${id}.basic`],
    })
  })
})
