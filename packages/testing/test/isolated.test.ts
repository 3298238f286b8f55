import { existsSync } from 'node:fs'
import { Redis } from 'ioredis'
import { Client } from 'pg'
import { afterEach, describe, expect, test } from 'vitest'
import {
  createIsolatedDatabase,
  type OwnPostgres,
  type OwnRedis,
  startOwnPostgres,
  startOwnRedis,
} from '../src/isolated.ts'
import { findProcessTree } from '../src/process-tree.ts'
import { providedStores } from '../src/provided-stores.ts'
import { waitFor } from '../src/wait-for.ts'

const COMMAND_TIMEOUT_MS = 5_000
const FROZEN_TIMEOUT_MS = 300

const opened: { end(): Promise<void> }[] = []
afterEach(async () => {
  for (const client of opened.splice(0)) await client.end().catch(() => undefined)
})

async function openPostgres(url: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<Client> {
  const client = new Client({
    connectionString: url,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
  })
  client.on('error', () => undefined)
  await client.connect()
  opened.push(client)
  return client
}

function openRedis(url: string, timeoutMs = COMMAND_TIMEOUT_MS): Redis {
  const client = new Redis(url, { commandTimeout: timeoutMs, maxRetriesPerRequest: null })
  client.on('error', () => undefined)
  opened.push({ end: async () => client.disconnect() })
  return client
}

describe('an isolated database', () => {
  test('is fresh, apart from others, and dropped though somebody is connected', async () => {
    const { databaseUrl } = providedStores()
    const first = await createIsolatedDatabase(databaseUrl)
    const second = await createIsolatedDatabase(databaseUrl)
    const client = await openPostgres(first.url)
    await client.query('create table seen (n int)')
    const other = await openPostgres(second.url)
    await expect(other.query('select from seen')).rejects.toThrow(/does not exist/)
    await first.drop()
    await second.drop()
    await expect(openPostgres(first.url)).rejects.toThrow(/does not exist/)
    await first.drop()
  })

  test('copies a template, several at once', async () => {
    const { databaseUrl } = providedStores()
    await using template = await createIsolatedDatabase(databaseUrl)
    const client = await openPostgres(template.url)
    await client.query('create table seen (n int)')
    await client.end()
    const copies = await Promise.all(
      [1, 2, 3].map(() => createIsolatedDatabase(template.url, { template: template.name })),
    )
    for (const copy of copies) {
      const { rowCount } = await (await openPostgres(copy.url)).query('select from seen')
      expect(rowCount).toBe(0)
      await copy.drop()
    }
  })

  test('says at once what is wrong with a template that is not there', async () => {
    const { databaseUrl } = providedStores()
    const creating = createIsolatedDatabase(databaseUrl, { template: 'no_such_template' })
    await expect(creating).rejects.toThrow(/no_such_template.*does not exist/)
  })
})

describe('a Redis of one’s own', () => {
  let own: OwnRedis
  afterEach(() => own.stop())

  test('keeps what it acknowledged over kill -9, on the same port', async () => {
    own = await startOwnRedis()
    const { url, port, pid } = own
    await openRedis(url).set('key', 'value')
    await own.kill()
    await own.restart()
    expect([own.url, own.port]).toEqual([url, port])
    expect(own.pid).not.toBe(pid)
    expect(await openRedis(url).get('key')).toBe('value')
    await own.flushAll()
    expect(await openRedis(url).get('key')).toBeNull()
  })

  test('is silent while frozen and goes on after; stops though frozen', async () => {
    own = await startOwnRedis()
    const client = openRedis(own.url, FROZEN_TIMEOUT_MS)
    await client.set('key', 'value')
    await own.freeze()
    await expect(client.get('key')).rejects.toThrow(/timed out/)
    await own.thaw()
    expect(await openRedis(own.url).get('key')).toBe('value')
    await own.freeze()
    const { pid } = own
    await own.stop()
    expect(existsSync(`/proc/${pid}`)).toBe(false)
  })
})

describe('a Postgres of one’s own', () => {
  let own: OwnPostgres
  afterEach(() => own.stop())

  test.each(['fast', 'immediate', 'kill'] as const)(
    'keeps what it committed when stopped by %s and started again',
    async (mode) => {
      own = await startOwnPostgres()
      const { url, port } = own
      const client = await openPostgres(url)
      await client.query('create table seen as select 1 as n')
      await own.stopServer(mode)
      await expect(openPostgres(url)).rejects.toThrow(/ECONNREFUSED/)
      await own.start()
      expect([own.url, own.port]).toEqual([url, port])
      const { rows } = await (await openPostgres(url)).query('select n from seen')
      expect(rows).toEqual([{ n: 1 }])
    },
  )

  test('smart waits for its clients to leave', async () => {
    own = await startOwnPostgres()
    const client = await openPostgres(own.url)
    const stopping = own.stopServer('smart')
    // A server in smart shutdown refuses newcomers, which says that the signal has arrived.
    await waitFor(
      () =>
        openPostgres(own.url).then(
          () => false,
          (error) => /shutting/.test(error),
        ),
      {
        timeoutMs: COMMAND_TIMEOUT_MS,
        what: 'newcomers to be refused',
      },
    )
    await client.query('select 1')
    await client.end()
    await stopping
  })

  test('freezes the backends that are connected, not only the postmaster', async () => {
    own = await startOwnPostgres()
    const client = await openPostgres(own.url, FROZEN_TIMEOUT_MS)
    await client.query('select 1')
    expect((await findProcessTree(own.pid)).length).toBeGreaterThan(3)
    await own.freeze()
    await expect(client.query('select 1')).rejects.toThrow(/timeout/)
    await expect(openPostgres(own.url, FROZEN_TIMEOUT_MS)).rejects.toThrow(/timeout/)
    await own.thaw()
    const { rows } = await (await openPostgres(own.url)).query('select 1 as n')
    expect(rows).toEqual([{ n: 1 }])
    await own.freeze()
    await own.stopServer('kill')
  })
})
