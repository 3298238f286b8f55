import { mkdir, readdir, readFile, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { claimFolder } from '../src/claim-folder.ts'
import { makeTempFolder } from './temp-folder.ts'

test('of many claims at the same time one succeeds', async () => {
  const folder = await makeTempFolder()
  const attempts = Array.from({ length: 10 }, () => claimFolder(folder, 'Redis'))
  const results = await Promise.allSettled(attempts)
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(await readdir(folder)).toEqual(['owner.json'])
})

test('a released folder can be claimed again, and only the claimer can release it', async () => {
  const folder = await makeTempFolder()
  const first = await claimFolder(folder, 'Redis')
  await first.release()
  await claimFolder(folder, 'Redis')
  await first.release()
  await expect(claimFolder(folder, 'Redis')).rejects.toThrow(
    `Process ${process.pid} already runs Redis in ${folder}`,
  )
})

test('the claim of a dead process whose pid belongs to another by now is taken over', async () => {
  const folder = await makeTempFolder()
  const owner = join(folder, 'owner.json')
  await writeFile(owner, JSON.stringify({ pid: process.pid, startedAt: 'earlier', token: 'a' }))
  await claimFolder(folder, 'Redis')
  expect(JSON.parse(await readFile(owner, 'utf8'))).toMatchObject({ pid: process.pid })
})

test('of many that find the claim of a dead process one takes it over', async () => {
  const folder = await makeTempFolder()
  const owner = { pid: 2 ** 30, startedAt: '1', token: 'a' }
  await writeFile(join(folder, 'owner.json'), JSON.stringify(owner))
  const attempts = Array.from({ length: 10 }, () => claimFolder(folder, 'Redis'))
  const results = await Promise.allSettled(attempts)
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(await readdir(folder)).toEqual(['owner.json'])
})

test('who died while taking a claim over stands in nobody’s way for long', async () => {
  const folder = await makeTempFolder()
  const owner = { pid: 2 ** 30, startedAt: '1', token: 'a' }
  await writeFile(join(folder, 'owner.json'), JSON.stringify(owner))
  const lock = join(folder, 'owner.json.lock')
  await mkdir(lock)
  const longAgo = new Date(Date.now() - 60_000)
  await utimes(lock, longAgo, longAgo)
  await claimFolder(folder, 'Redis')
})

test('an unreadable claim, as after a full disk, is taken over', async () => {
  const folder = await makeTempFolder()
  await writeFile(join(folder, 'owner.json'), '')
  await claimFolder(folder, 'Redis')
})
