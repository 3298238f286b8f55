import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { findProcessTree } from './process-tree.ts'
import { type RunningProcess, type SpawnNodeOptions, spawnNode } from './processes.ts'

// Each starts Node, once or twice.
vi.setConfig({ testTimeout: 60_000 })

const START_TIMEOUT_MS = 30_000
const entry = new URL('./fixtures/chatty.ts', import.meta.url)
let started: RunningProcess[]

beforeEach(() => {
  started = []
})
afterEach(async () => {
  for (const one of started) await one[Symbol.asyncDispose]()
})

async function run(options: Partial<SpawnNodeOptions> = {}): Promise<RunningProcess> {
  const one = await spawnNode({ entry, env: {}, name: 'chatty', ...options })
  started.push(one)
  return one
}

test('runs a file with the given environment and nothing of ours but PATH, HOME and TMPDIR', async () => {
  process.env.SECRET_OF_PARENT = 'leaked'
  try {
    const chatty = await run({ env: { MARK: 'x' }, args: ['a', 'b'] })
    const line = await chatty.waitForLine(/^mark/, START_TIMEOUT_MS)
    expect(line).toBe(`mark x home ${Boolean(process.env.HOME)} secret absent`)
    await chatty.waitForLine((text) => text === 'args a,b', START_TIMEOUT_MS)
  } finally {
    delete process.env.SECRET_OF_PARENT
  }
})

test('tells how it ended, with all its lines', async () => {
  const seen: string[] = []
  const chatty = await run({ args: ['exit'], onLine: ({ text }) => seen.push(text) })
  expect(await chatty.exited).toEqual({ code: 3, signal: null })
  expect(chatty.lines).toContainEqual({ stream: 'stderr', text: 'args exit' })
  expect(chatty.lines).toContainEqual({ stream: 'stdout', text: 'half a line' })
  expect(seen).toHaveLength(3)
})

test('waiting for a line fails at once when the process ends, and shows its last lines', async () => {
  const chatty = await run({ args: ['exit'] })
  const waiting = chatty.waitForLine(/never/, 60_000)
  await expect(waiting).rejects.toThrow(/chatty ended \(exit code 3\) before .*never.*half a line/s)
})

test('waiting for a line fails after its time', async () => {
  const chatty = await run()
  await chatty.waitForLine(/ready/, START_TIMEOUT_MS)
  await expect(chatty.waitForLine(/never/, 20)).rejects.toThrow(/went on for 20 ms/)
})

test('stop asks with SIGTERM and insists with SIGKILL', async () => {
  const [polite, stubborn] = [await run(), await run({ args: ['stubborn'] })]
  await polite.waitForLine(/ready/, START_TIMEOUT_MS)
  await stubborn.waitForLine(/ready/, START_TIMEOUT_MS)
  expect(await polite.stop()).toEqual({ code: null, signal: 'SIGTERM' })
  // Time for the other process to say that it will not.
  expect(await stubborn.stop({ timeoutMs: 3_000 })).toEqual({ code: null, signal: 'SIGKILL' })
  expect(stubborn.lines).toContainEqual({ stream: 'stdout', text: 'no' })
  expect(await polite.stop()).toEqual({ code: null, signal: 'SIGTERM' })
})

test('disposal ends a frozen process', async () => {
  const chatty = await run()
  await chatty.waitForLine(/ready/, START_TIMEOUT_MS)
  chatty.kill('SIGSTOP')
  await chatty[Symbol.asyncDispose]()
  expect(await chatty.exited).toEqual({ code: null, signal: 'SIGKILL' })
})

test('a process is found under the one that started it', async () => {
  const chatty = await run()
  expect(await findProcessTree(process.pid)).toContain(chatty.pid)
  expect(await findProcessTree(chatty.pid)).toEqual([chatty.pid])
})
