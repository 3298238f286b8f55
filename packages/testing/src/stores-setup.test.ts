import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { spawnNode } from './processes.ts'

const vitestEntry = createRequire(import.meta.url)
  .resolve('vitest/package.json')
  .replace(/package\.json$/, 'vitest.mjs')

test('two projects of one run are given the servers of the environment, said once', async () => {
  const given = { databaseUrl: 'postgres://given/db', redisUrl: 'redis://given' }
  await using run = await spawnNode({
    entry: vitestEntry,
    name: 'vitest',
    cwd: fileURLToPath(new URL('./fixtures/stores', import.meta.url)),
    env: { TEST_DATABASE_URL: given.databaseUrl, TEST_REDIS_URL: given.redisUrl },
    args: ['run'],
  })
  expect(await run.exited).toEqual({ code: 0, signal: null })
  const lines = run.lines.map((line) => line.text)
  expect(lines.filter((line) => line.startsWith('test stores:'))).toEqual([
    'test stores: the servers of TEST_DATABASE_URL and TEST_REDIS_URL',
  ])
  const provided = lines.filter((line) => line.startsWith('provided'))
  expect(provided).toEqual([1, 2].map(() => `provided ${JSON.stringify(given)}`))
}, 180_000)
