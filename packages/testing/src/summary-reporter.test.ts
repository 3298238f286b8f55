import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { spawnNode } from './processes.ts'

const vitestEntry = createRequire(import.meta.url)
  .resolve('vitest/package.json')
  .replace(/package\.json$/, 'vitest.mjs')
const fixtures = fileURLToPath(new URL('./fixtures/summary', import.meta.url))

/** Runs vitest as a process of its own, with one project for each of these fixture files. */
async function runVitest(files: string[], setup = 'good') {
  await using run = await spawnNode({
    entry: vitestEntry,
    name: 'vitest',
    cwd: fixtures,
    env: { FILES: files.join(','), SETUP: setup },
    args: ['run'],
  })
  const { code } = await run.exited
  const stdout = run.lines.filter((line) => line.stream === 'stdout').map((line) => line.text)
  return { code, lastLine: stdout.at(-1), before: stdout.slice(0, -1).join('\n') }
}

describe('the last line of a run', { timeout: 180_000, concurrent: true }, () => {
  test('counts the tests, after the default summary and the teardowns', async () => {
    const { code, lastLine, before } = await runVitest(['good'])
    expect(lastLine).toBe('1 passed, 0 failed')
    expect(before).toMatch(/Tests .*1 passed.*the teardown speaks/s)
    expect(code).toBe(0)
  })

  test('counts over all projects, with failed hooks, files and skipped tests', async () => {
    const { code, lastLine } = await runVitest(['good', 'mixed', 'broken'])
    // Failed: a test, a hook (whose test is skipped) and a file that does not load.
    expect(lastLine).toBe('3 passed, 3 failed, 3 skipped')
    expect(code).toBe(1)
  })

  test('counts an unhandled error as one more that failed', async () => {
    const { code, lastLine } = await runVitest(['unhandled', 'mixed'])
    expect(lastLine).toBe('3 passed, 3 failed, 3 skipped')
    expect(code).toBe(1)
  })

  test('says that something failed when no test could run', async () => {
    const { code, lastLine } = await runVitest(['good'], 'failing')
    expect(lastLine).toBe('0 passed, 1 failed')
    expect(code).toBe(1)
  })

  test('says that something failed when there is no test', async () => {
    const { code, lastLine } = await runVitest(['missing'])
    expect(lastLine).toBe('0 passed, 1 failed')
    expect(code).toBe(1)
  })
})
