import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { spawnNode } from '../src/processes.ts'

const vitestEntry = createRequire(import.meta.url)
  .resolve('vitest/package.json')
  .replace(/package\.json$/, 'vitest.mjs')

test('embedded servers are started once for two projects and leave nothing behind', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'switchhook-setup-'))
  await using run = await spawnNode({
    entry: vitestEntry,
    name: 'vitest',
    cwd: fileURLToPath(new URL('../src/fixtures/stores', import.meta.url)),
    env: { SWITCHHOOK_TEST_STORES: 'embedded', TMPDIR: directory },
    args: ['run'],
  })
  const { code } = await run.exited
  const lines = run.lines.map((line) => line.text)
  expect(code, lines.join('\n')).toBe(0)
  expect(lines.filter((line) => line.startsWith('test stores: embedded servers'))).toHaveLength(1)
  const provided = lines.filter((line) => line.startsWith('provided'))
  expect(provided).toHaveLength(2)
  expect(new Set(provided).size).toBe(1)
  const left = await readdir(directory)
  expect(left.filter((name) => name.startsWith('switchhook-test-'))).toEqual([])
  await rm(directory, { recursive: true, force: true })
})
