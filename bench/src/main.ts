/**
 * `npm run bench [-- name…] [--quick] [--keep] [--cpu-prof folder]`: measures what quality is claimed, on real
 * processes and real stores, prints a table each, and writes bench/results/<name>.json. Exit code 1 when a bench could
 * not be measured or its ledger did not add up; a missed bar is printed, because a busy machine misses bars too.
 */
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { availableParallelism, loadavg } from 'node:os'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { benchAccept } from './accept.ts'
import type { BenchContext } from './bench-context.ts'
import { benchDead } from './dead.ts'
import { benchDeliver } from './deliver.ts'
import { benchDestinations } from './destinations.ts'
import { benchEndToEnd } from './end-to-end.ts'
import { benchIsolation } from './isolation.ts'
import { type BenchResult, formatResult, writeResult } from './result.ts'

const BENCHES: Readonly<Record<string, (context: BenchContext) => Promise<BenchResult>>> = {
  accept: benchAccept,
  deliver: benchDeliver,
  'end-to-end': benchEndToEnd,
  isolation: benchIsolation,
  dead: benchDead,
  destinations: benchDestinations,
}
const QUICK_SCALE = 0.25

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    'cpu-prof': { type: 'string' },
  },
})
const names = positionals.length > 0 ? positionals : Object.keys(BENCHES)
const unknown = names.filter((name) => !(name in BENCHES))
if (unknown.length > 0) {
  console.error(`no bench ${unknown.join(', ')}; there are ${Object.keys(BENCHES).join(', ')}`)
  process.exit(1)
}
if (process.platform !== 'linux') {
  console.error('The benches read CPU times from /proc, so they run on Linux only.')
  process.exit(1)
}
const profileDir = values['cpu-prof'] === undefined ? undefined : resolve(values['cpu-prof'])
if (profileDir !== undefined) await mkdir(profileDir, { recursive: true })
const stopped = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')]).then(() => {
  throw new Error('stopped')
})
stopped.catch(() => undefined)

console.log(
  `Node ${process.version}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(2)}: compare within one run, an absolute rate is a hint.`,
)
for (const name of names) {
  const bench = BENCHES[name]
  if (bench === undefined) continue
  await using resources = new AsyncDisposableStack()
  const running = bench({
    ...{ resources, profileDir, keepFolder: values.keep },
    scale: values.quick ? QUICK_SCALE : 1,
    say: (line) => console.log(`  … ${line}`),
  })
  try {
    const result = await Promise.race([running, stopped])
    console.log(formatResult(result))
    console.log(`  → ${await writeResult(result)}`)
  } catch (error) {
    running.catch(() => undefined) // Stopped in the middle, it fails as its processes end.
    console.error(`\n${name} failed:`, error)
    process.exitCode = 1
    if (error instanceof Error && error.message === 'stopped') break
  }
}
process.removeAllListeners('SIGINT')
