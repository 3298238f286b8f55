import type { Reporter, SerializedError, TestCollection, TestModule, Vitest } from 'vitest/node'

type Counts = { passed: number; failed: number; skipped: number }

/**
 * Prints `N passed, N failed` (and `, N skipped` if there are any) as the last line of a run, over
 * all projects. What fails outside a test (a file that does not load, a hook, a global setup, an
 * unhandled error) counts as a failed test, so that "0 failed" always means a good run.
 */
// biome-ignore lint/style/noDefaultExport: vitest loads a reporter by its file's default export
export default class SummaryReporter implements Reporter {
  #vitest: Vitest | undefined
  #counts: Counts | undefined

  onInit(vitest: Vitest): void {
    this.#vitest = vitest
    if (vitest.config.watch) return
    // Global teardowns and vitest's own errors come after onTestRunEnd; nothing comes after this.
    process.once('exit', (exitCode) => {
      const counts = this.#counts ?? { passed: 0, failed: 0, skipped: 0 }
      if (exitCode !== 0 && counts.failed === 0) counts.failed = 1
      if (this.#counts !== undefined || exitCode !== 0) print(counts)
    })
  }

  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const counts = countTests(modules)
    counts.failed += unhandledErrors.length
    this.#counts = counts
    if (this.#vitest?.config.watch) print(counts)
  }
}

function countTests(modules: readonly TestModule[]): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 }
  for (const module of modules) {
    const failedBefore = counts.failed
    if (module.errors().length > 0) counts.failed += 1
    countCollection(module.children, counts)
    if (!module.ok() && counts.failed === failedBefore) counts.failed += 1
  }
  return counts
}

function countCollection(collection: TestCollection, counts: Counts): void {
  for (const suite of collection.allSuites()) {
    if (suite.errors().length > 0) counts.failed += 1
  }
  for (const test of collection.allTests()) {
    const { state } = test.result()
    // A test that was collected and never ended (a worker that died) has not passed.
    counts[state === 'pending' ? 'failed' : state] += 1
  }
}

function print({ passed, failed, skipped }: Counts): void {
  const tail = skipped > 0 ? `, ${skipped} skipped` : ''
  process.stdout.write(`${passed} passed, ${failed} failed${tail}\n`)
}
