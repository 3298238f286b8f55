import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { findProcess } from '../src/find-process.ts'
import { type EmbeddedRedis, type RedisOptions, startRedis } from '../src/redis.ts'
import { waitUntil } from '../src/wait-until.ts'
import { endChild, startChildServer } from './child-server.ts'
import { hasProc, readProcessGroup } from './process-group.ts'
import { makeTempFolder } from './temp-folder.ts'

async function start(options: RedisOptions): Promise<EmbeddedRedis> {
  const redis = await startRedis(options)
  onTestFinished(() => redis.stop())
  return redis
}

async function send<T>(url: string, command: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return await command(client)
  } finally {
    client.disconnect()
  }
}

test('data and port survive a restart', async () => {
  const dataDir = await makeTempFolder()
  const first = await start({ dataDir })
  await send(first.url, (client) => client.set('note', 'kept'))
  await first.stop()
  expect(await findProcess(first.pid)).toBeUndefined()

  const second = await start({ dataDir })
  expect(await send(second.url, (client) => client.get('note'))).toBe('kept')
  expect(second.port).toBe(first.port)
})

test('every answered write survives a SIGKILL of the server', async () => {
  const dataDir = await makeTempFolder()
  const first = await start({ dataDir })
  await send(first.url, async (client) => {
    for (let n = 0; n < 100; n += 1) await client.rpush('notes', n)
  })
  process.kill(first.pid, 'SIGKILL')
  await first.exited

  const second = await start({ dataDir })
  expect(await send(second.url, (client) => client.llen('notes'))).toBe(100)
})

test('it writes every change to disk before it answers, evicts nothing, and takes settings', async () => {
  const dataDir = join(await makeTempFolder(), 'with "quotes" and space')
  await mkdir(dataDir)
  const { url } = await start({ dataDir, settings: { maxmemory: '64mb' } })
  const config = await send(url, (client) => client.config('GET', '*'))
  if (!Array.isArray(config)) throw new Error('CONFIG GET answered no list')
  const actual: Record<string, unknown> = {}
  for (let n = 0; n < config.length; n += 2) actual[String(config[n])] = config[n + 1]
  expect(actual).toMatchObject({
    appendonly: 'yes',
    appendfsync: 'always',
    'maxmemory-policy': 'noeviction',
    maxmemory: String(64 * 1024 * 1024),
    save: '',
    bind: '127.0.0.1',
    dir: dataDir,
  })
})

test('a server left over by a killed parent is stopped, and its data are there', async () => {
  const dataDir = await makeTempFolder()
  const orphan = await startChildServer('redis', dataDir)
  await send(orphan.url, (client) => client.set('note', 'kept'))
  await endChild(orphan.child, 'SIGKILL')
  expect(await findProcess(orphan.serverPid)).toBeDefined()

  const log: string[] = []
  const redis = await start({ dataDir, onLog: (line) => log.push(line) })
  expect(await findProcess(orphan.serverPid)).toBeUndefined()
  expect(await send(redis.url, (client) => client.get('note'))).toBe('kept')
  expect(log[0]).toContain(String(orphan.serverPid))
})

test('a data folder in use by a live process is refused with its pid, and its server keeps running', async () => {
  const dataDir = await makeTempFolder()
  const other = await startChildServer('redis', dataDir)
  onTestFinished(() => endChild(other.child, 'SIGTERM'))
  await expect(startRedis({ dataDir })).rejects.toThrow(
    `Process ${other.child.pid} already runs Redis in ${dataDir}: stop it first (kill ${other.child.pid})`,
  )
  expect(await send(other.url, (client) => client.ping())).toBe('PONG')
})

test.runIf(hasProc)(
  'it leads its own process group, so that Ctrl-C in the terminal does not reach it',
  async () => {
    const { pid } = await start({ dataDir: await makeTempFolder() })
    expect(await readProcessGroup(pid)).toBe(pid)
  },
)

test('the server stops by itself when its parent exits without stopping it', async () => {
  const { child, serverPid } = await startChildServer('redis', await makeTempFolder())
  await endChild(child, 'SIGHUP')
  const isGone = async () => (await findProcess(serverPid)) === undefined
  expect(await waitUntil(isGone, 10_000)).toBe(true)
})

test('many start at the same time, each on a port of its own', async () => {
  const folders = await Promise.all(Array.from({ length: 4 }, makeTempFolder))
  const servers = await Promise.all(folders.map((dataDir) => start({ dataDir })))
  expect(new Set(servers.map((server) => server.url)).size).toBe(4)
})

test('a server that cannot start is reported with its last log lines, and the folder is free again', async () => {
  const dataDir = await makeTempFolder()
  await expect(startRedis({ dataDir, settings: { appendfsync: 'maybe' } })).rejects.toThrow(
    /Redis ended while starting \(exit code 1\)[\s\S]*appendfsync/,
  )
  await start({ dataDir })
})
