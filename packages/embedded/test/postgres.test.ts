import { chown, mkdir, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Client } from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { findProcess } from '../src/find-process.ts'
import { findFreePort } from '../src/free-port.ts'
import { type EmbeddedPostgres, type PostgresOptions, startPostgres } from '../src/postgres.ts'
import { endChild, startChildServer } from './child-server.ts'
import { hasProc, readProcessGroup } from './process-group.ts'
import { makeTempFolder } from './temp-folder.ts'

const isRoot = process.getuid?.() === 0

async function start(options: PostgresOptions): Promise<EmbeddedPostgres> {
  const postgres = await startPostgres(options)
  onTestFinished(() => postgres.stop())
  return postgres
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    const result = await client.query(sql)
    return result.rows
  } finally {
    await client.end()
  }
}

async function writeRow(url: string): Promise<void> {
  await query(url, 'create table note (text text)')
  await query(url, `insert into note values ('kept')`)
}

async function readRows(url: string): Promise<unknown[]> {
  return await query(url, 'select text from note')
}

test('data and port survive a restart', async () => {
  const dataDir = await makeTempFolder()
  const first = await start({ dataDir })
  await writeRow(first.url)
  await first.stop()
  expect(await findProcess(first.pid)).toBeUndefined()

  const second = await start({ dataDir })
  expect(await readRows(second.url)).toEqual([{ text: 'kept' }])
  expect(second.port).toBe(first.port)
})

test('it is Postgres 17 with UTF8, locale C, UTC and fsync, on loopback only, and takes settings', async () => {
  const dataDir = await makeTempFolder()
  const expected = {
    fsync: 'on',
    listen_addresses: '127.0.0.1',
    max_connections: '17',
    server_encoding: 'UTF8',
    server_version: expect.stringMatching(/^17\./),
    TimeZone: 'UTC',
    unix_socket_directories: '',
    work_mem: String(9 * 1024),
  }
  const database = 'odd "name"'
  const settings = { work_mem: '9MB', max_connections: '17' }
  const { url } = await start({ dataDir, database, settings })

  const rows = await query(url, 'select name, setting from pg_settings')
  const actual = Object.fromEntries(rows.map((row) => [row.name, row.setting]))
  expect(actual).toMatchObject(expected)
  const sql = 'select datname, datcollate from pg_database where datname = current_database()'
  expect(await query(url, sql)).toEqual([{ datname: database, datcollate: 'C' }])
})

test('a server left over by a killed parent is stopped, and its data are there', async () => {
  const dataDir = await makeTempFolder()
  const orphan = await startChildServer('postgres', dataDir)
  await writeRow(orphan.url)
  await endChild(orphan.child, 'SIGKILL')
  expect(await findProcess(orphan.serverPid)).toBeDefined()

  const log: string[] = []
  const postgres = await start({ dataDir, onLog: (line) => log.push(line) })
  expect(await findProcess(orphan.serverPid)).toBeUndefined()
  expect(await readRows(postgres.url)).toEqual([{ text: 'kept' }])
  expect(log[0]).toContain(String(orphan.serverPid))
})

test('a data folder in use by a live process is refused with its pid, and its server keeps running', async () => {
  const dataDir = await makeTempFolder()
  const other = await startChildServer('postgres', dataDir)
  onTestFinished(() => endChild(other.child, 'SIGTERM'))
  await expect(startPostgres({ dataDir })).rejects.toThrow(
    `Process ${other.child.pid} already runs Postgres in ${dataDir}: stop it first (kill ${other.child.pid}), or use another data folder.`,
  )
  await writeRow(other.url)
})

test('after a SIGKILL of the server it starts again at once with everything committed', async () => {
  const dataDir = await makeTempFolder()
  const first = await start({ dataDir })
  await writeRow(first.url)
  process.kill(first.pid, 'SIGKILL')
  await first.exited

  const second = await start({ dataDir })
  expect(await readRows(second.url)).toEqual([{ text: 'kept' }])
})

test('a postmaster.pid whose number belongs to a stranger by now does not block the start', async () => {
  const dataDir = await makeTempFolder()
  const first = await start({ dataDir })
  await first.stop()
  // A child of ours: Postgres itself would excuse its own parent's pid.
  const stranger = await startChildServer('redis', await makeTempFolder())
  onTestFinished(() => endChild(stranger.child, 'SIGTERM'))
  const cluster = join(dataDir, 'cluster')
  const lines = [stranger.serverPid, cluster, 1, first.port, '', '127.0.0.1', '', 'ready', '']
  await writeFile(join(cluster, 'postmaster.pid'), lines.join('\n'))

  await start({ dataDir })
  expect(await findProcess(stranger.serverPid)).toBeDefined()
})

test.runIf(hasProc)(
  'it leads its own process group, so that Ctrl-C in the terminal does not reach it',
  async () => {
    const { pid } = await start({ dataDir: await makeTempFolder() })
    expect(await readProcessGroup(pid)).toBe(pid)
  },
)

test('the server stops when its parent ends by SIGTERM', async () => {
  const { child, serverPid } = await startChildServer('postgres', await makeTempFolder())
  await endChild(child, 'SIGTERM')
  expect(child.exitCode).toBe(0)
  expect(await findProcess(serverPid)).toBeUndefined()
})

test('a wanted port is used, and refused with its number when busy', async () => {
  const dataDir = await makeTempFolder()
  const port = await findFreePort()
  const blocker = createServer()
  await new Promise<void>((resolve) => {
    blocker.listen(port, '127.0.0.1', resolve)
  })
  await expect(startPostgres({ dataDir, port })).rejects.toThrow(
    `Port ${port} on 127.0.0.1 is busy`,
  )
  await new Promise((resolve) => {
    blocker.close(resolve)
  })
  expect((await start({ dataDir, port })).port).toBe(port)
})

test('when the port of the last start is busy another one is used', async () => {
  const dataDir = await makeTempFolder()
  const blocker = createServer()
  const port = await findFreePort()
  await new Promise<void>((resolve) => {
    blocker.listen(port, '127.0.0.1', resolve)
  })
  onTestFinished(() => void blocker.close())
  await writeFile(join(dataDir, 'port'), `${port}\n`)
  expect((await start({ dataDir })).port).not.toBe(port)
})

test('a server that cannot start is reported with its last log lines, and the folder is free again', async () => {
  const dataDir = await makeTempFolder()
  const settings = { work_mem: 'plenty' }
  await expect(startPostgres({ dataDir, settings })).rejects.toThrow(
    /ended while starting \(exit code 1\)[\s\S]*invalid value for parameter "work_mem": "plenty"/,
  )
  await start({ dataDir })
})

test('what a killed initdb left behind is cleared away and not taken for a cluster', async () => {
  const dataDir = await makeTempFolder()
  await mkdir(join(dataDir, 'cluster-new-x'))
  await writeFile(join(dataDir, 'cluster-new-x', 'PG_VERSION'), '17\n')
  await start({ dataDir })
  expect((await readdir(dataDir)).sort()).toEqual(['cluster', 'owner.json', 'port'])
})

test.runIf(isRoot)(
  'an ordinary user can start it although node_modules belongs to root',
  async () => {
    const dataDir = await makeTempFolder()
    await chown(dataDir, 65_534, 65_534)
    // The right to read everything, because this repository may lie in a folder closed to others.
    const wrapper = [
      ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
      ...['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search'],
      '--securebits=+no_setuid_fixup',
    ]
    const { child, url } = await startChildServer('postgres', dataDir, { wrapper })
    onTestFinished(() => endChild(child, 'SIGTERM'))
    await writeRow(url)
    expect(await readRows(url)).toHaveLength(1)
  },
)
